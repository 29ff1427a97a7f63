"""A net for inference: batch norms that follow a convolution become part of it."""

import copy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(net: nn.Module) -> nn.Module:
    """A copy in evaluation mode that gives the same outputs up to rounding, with less work.

    Folds where a `Sequential` holds a convolution and its batch norm next to each other, and leaves what it does
    not know as it is. The net itself does not change.
    """
    copied = copy.deepcopy(net).eval()
    for stack in [module for module in copied.modules() if isinstance(module, nn.Sequential)]:
        for place, (conv, norm) in enumerate(zip(list(stack), list(stack)[1:], strict=False)):
            if (
                isinstance(conv, nn.Conv1d | nn.Conv2d)
                and isinstance(norm, _BatchNorm)
                and norm.track_running_stats
            ):
                stack[place] = fuse_conv_bn_eval(conv, norm)
                stack[place + 1] = nn.Identity()
    for module in copied.modules():
        if isinstance(module, nn.RNNBase):  # cuDNN wants the weights in one piece, a copy scatters them
            module.flatten_parameters()
    return copied
