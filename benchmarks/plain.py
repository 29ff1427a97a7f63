"""Our nets as they are usually written: what the defaults are measured against."""

import copy

import torch
from torch import Tensor, nn


def plain_memory(net: nn.Module) -> nn.Module:
    """A copy in torch's default memory format."""
    return copy.deepcopy(net).to(memory_format=torch.contiguous_format)


def relu_first(net: nn.Module) -> nn.Module:
    """A copy of a mel CNN with ReLU in front of the pooling."""
    copied = copy.deepcopy(net)
    for block in copied.body:
        block[-2], block[-1] = block[-1], block[-2]
    return copied


def one_dimensional(net: nn.Module) -> nn.Module:
    """A copy of an M net that convolves [B, C, T] with Conv1d."""
    layers: list[nn.Module] = []
    for module in (*net.front.modules(), *net.body.modules()):
        if isinstance(module, nn.Conv2d):
            size, kernel = (module.in_channels, module.out_channels), module.kernel_size[1]
            conv = nn.Conv1d(*size, kernel, module.stride[1], module.padding[1], bias=False)
            conv.weight.data = module.weight.data.squeeze(2).contiguous()
            layers.append(conv)
        elif isinstance(module, nn.BatchNorm2d):
            layers.append(nn.BatchNorm1d(module.num_features))
        elif isinstance(module, nn.MaxPool2d):
            layers.append(nn.MaxPool1d(module.kernel_size[1], ceil_mode=True))
        elif isinstance(module, nn.ReLU):
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), *copy.deepcopy(net.head)[1:])


def same(net: nn.Module, other: nn.Module, x: Tensor) -> None:
    """Stop if the two ways are not the same function."""
    with torch.inference_mode():
        torch.testing.assert_close(copy.deepcopy(net).eval()(x), copy.deepcopy(other).eval()(x))
