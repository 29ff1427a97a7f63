"""The numbers that a step computes with: float32, or bfloat16 by autocast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .optim import OptimConfig


@contextmanager
def autocast(config: OptimConfig, device: torch.device) -> Iterator[None]:
    """The context of the forward pass: bfloat16 where the recipe wants it, or as it is.

    bfloat16 has float32's range, so no loss is scaled. It pays on a GPU, and on a CPU with AMX; on a CPU without
    bfloat16 units it halves the speed.
    """
    if config.precision == "float32":
        yield
    elif device.type == "cpu":
        with torch.autocast("cpu", dtype=torch.bfloat16), OneColumn():
            yield
    else:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield


class OneColumn(TorchFunctionMode):
    """Convolutions whose output is one column wide take no step along the width.

    On a CPU with AMX, the bfloat16 kernels of torch 2.11 (oneDNN) read memory that nobody wrote when a convolution
    with a stride along its width gives one column: results and gradients are wrong now and then, or no numbers.
    Where there is one column, its stride means nothing: the columns of input and kernel that meet are all there is,
    and without a stride the same sum goes through a kernel that is right.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return one_column(*args, **(kwargs or {})) if func is F.conv2d else func(*args, **(kwargs or {}))


def one_column(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    """`F.conv2d`, by the columns that meet where its output is one column wide and its stride is not 1."""
    if not isinstance(padding, str):  # words come without a stride
        (step, across), (above, left), (_, apart) = _pair(stride), _pair(padding), _pair(dilation)
        width, columns = input.shape[3], weight.shape[3]
        if across > 1 and (width + 2 * left - apart * (columns - 1) - 1) // across == 0:
            first = -(-left // apart)  # the kernel's columns before lie on padding
            count = min(columns, (width - 1 + left) // apart + 1) - first
            begin = first * apart - left
            if count > 0:  # else the kernel meets nothing but padding
                input = input[..., begin : begin + (count - 1) * apart + 1]
                weight = weight[..., first : first + count]
                stride, padding = (step, 1), (above, 0)
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a setting that may be given once for both."""
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])
