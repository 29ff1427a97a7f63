"""Laws of the numbers that a step computes with."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from escmodels.optim import OptimConfig
from escmodels.precision import autocast, one_column

CPU = torch.device("cpu")
FRESH_MEMORY = """
import torch
from torch import nn
from escmodels.optim import OptimConfig
from escmodels.precision import autocast

torch.manual_seed(0)
conv = nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False).to(memory_format=torch.channels_last)
x = torch.randn(4, 64, 24, 2).to(memory_format=torch.channels_last).requires_grad_()
exact = conv(x)
grad = torch.randn_like(exact)
wanted = exact, *torch.autograd.grad(exact, (conv.weight, x), grad)
with autocast(OptimConfig(precision="bfloat16"), torch.device("cpu")):
    rough = conv(x)
assert rough.dtype == torch.bfloat16
found = rough, *torch.autograd.grad(rough, (conv.weight, x), grad.bfloat16())
for one, other in zip(wanted, found):
    assert (one - other).abs().max() < 0.05 * one.abs().max(), (one - other).abs().max()
"""


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


def test_precision_is_the_one_of_the_products():
    net, x = make(), torch.randn(4, 1, 6, 6)
    kinds = {}
    for precision in ("float32", "bfloat16"):
        with autocast(OptimConfig(precision=precision), CPU):
            kinds[precision] = net(x).dtype
    assert kinds == {"float32": torch.float32, "bfloat16": torch.bfloat16}
    assert net[0].weight.dtype is torch.float32


def test_bfloat16_gives_nearly_the_same_gradient():
    grads = []
    x = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    for precision in ("float32", "bfloat16"):
        net = make()
        with autocast(OptimConfig(precision=precision), CPU):
            logits = net(x)
        logits.float().square().sum().backward()
        grads.append(net[3].weight.grad)
    torch.testing.assert_close(*grads, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4), (1, 5), (5, 2)])
def test_a_convolution_by_the_columns_that_meet_is_the_convolution(kernel, groups):
    chance = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 4 // groups, *kernel, generator=chance, dtype=torch.float64)
    bias = torch.randn(4, generator=chance, dtype=torch.float64)
    tried = 0
    for width, across, left, apart in itertools.product(range(1, 9), (1, 2, 3), (0, 1, 2), (1, 2)):
        x = torch.randn(2, 4, 7, width, generator=chance, dtype=torch.float64)
        if width + 2 * left < apart * (kernel[1] - 1) + 1:
            continue  # no column at all
        how = (bias, (2, across), (2, left), (1, apart), groups)
        expected = F.conv2d(x, weight, *how)
        torch.testing.assert_close(one_column(x, weight, *how), expected)
        tried += expected.shape[3] == 1 and across > 1
    assert tried > 5


def test_a_convolution_takes_its_settings_as_numbers_pairs_and_words():
    x, weight = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)
    torch.testing.assert_close(one_column(x, weight, padding="same"), F.conv2d(x, weight, padding="same"))
    torch.testing.assert_close(one_column(x, weight, stride=3), F.conv2d(x, weight, stride=3))
    torch.testing.assert_close(one_column(x, weight, None, (3,), (0,)), F.conv2d(x, weight, None, (3,), (0,)))


def test_one_column_in_bfloat16_reads_no_memory_that_nobody_wrote():
    """On a CPU with AMX, and a C library that fills fresh memory, torch's own kernel is wrong each time."""
    env = {**os.environ, "MALLOC_PERTURB_": "1"}
    done = subprocess.run([sys.executable, "-c", FRESH_MEMORY], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
