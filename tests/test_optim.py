"""Laws of what moves the weights: decay, rates by layer, averages."""

import copy

import pytest
import torch
from torch import nn

from escmodels import optim
from escmodels.optim import Average, Layered, OptimConfig, compiled, optimiser, set_rate

EVERY_OPTIMISER = pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
CPU = torch.device("cpu")


def make():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


class Stack(nn.Module):
    """Three linear layers, the first at a quarter of the rate, the second at half."""

    lr_factors = (0.25, 0.5, 1.0)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))

    def layers(self):
        return [list(part.parameters()) for part in self.body]

    def thaw(self, epoch):
        pass

    def forward(self, x):
        return self.body(x)


def step(config, net, x, factor=1.0):
    """One step of a fresh optimiser; how far each weight went."""
    before = [p.detach().clone() for p in net.parameters()]
    moves = optimiser(config, net)
    set_rate(moves, config.lr * factor)
    net(x).square().sum().backward()
    moves.step()
    return [(p.detach() - old) for p, old in zip(net.parameters(), before, strict=True)]


# the optimiser


@EVERY_OPTIMISER
def test_norms_and_biases_do_not_decay(name):
    net = make()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1.0)
            p.grad = torch.zeros_like(p)
    optimiser(OptimConfig(name=name, weight_decay=0.1, lr=0.1), net).step()
    for key, p in net.named_parameters():
        assert torch.equal(p, torch.ones_like(p)) is (p.ndim <= 1), key


@EVERY_OPTIMISER
def test_three_steps_agree_with_torch_s_plain_loop(name):
    """No bias before a norm here: its gradient is rounding alone, which Adam makes a whole step of."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 2))
    theirs = copy.deepcopy(ours)
    config = OptimConfig(name=name, weight_decay=0.0, lr=0.05)
    plain = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.0, foreach=False),
        "adam": lambda p: torch.optim.Adam(p, lr=0.05, foreach=False),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, foreach=False),
    }[name](theirs.parameters())
    x = torch.randn(4, 1, 6, 6)
    moves = optimiser(config, ours)
    for net, one in ((ours, moves), (theirs, plain)):
        for _ in range(3):
            one.zero_grad()
            net(x).square().sum().backward()
            one.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_adam_s_decay_goes_through_the_gradient_and_adamw_s_does_not():
    """A weight of 2 without a gradient: Adam's first step is lr whatever the decay, AdamW's lr x decay x 2."""
    moved = {}
    for name in ("adam", "adamw"):
        net = nn.Linear(1, 1, bias=False)
        net.weight.data.fill_(2.0)
        net.weight.grad = torch.zeros(1, 1)
        optimiser(OptimConfig(name=name, lr=0.1, weight_decay=0.01), net).step()
        moved[name] = 2.0 - net.weight.item()
    assert moved["adam"] == pytest.approx(0.1, rel=1e-4) and moved["adamw"] == pytest.approx(0.002, rel=1e-3)


def test_momentum_is_sgd_s():
    x = torch.randn(4, 1, 6, 6)
    moved = [step(OptimConfig(name="sgd", momentum=m), make(), x)[0] for m in (0.0, 0.5)]
    torch.testing.assert_close(
        moved[1], 1.5 * moved[0]
    )  # Nesterov's first step: gradient + momentum x gradient


def test_each_layer_moves_at_its_own_rate():
    net = Stack()
    assert isinstance(net, Layered) and not isinstance(make(), Layered)
    config = OptimConfig(name="sgd", momentum=0.0, weight_decay=0.0, lr=0.1)
    x = torch.randn(5, 3)
    alike = nn.Sequential(*copy.deepcopy(net.body))
    for mine, plain, factor in zip(
        step(config, net, x), step(config, alike, x), (0.25, 0.25, 0.5, 0.5, 1.0, 1.0), strict=True
    ):
        torch.testing.assert_close(mine, factor * plain)


def test_the_rate_is_the_one_that_was_set_times_the_factor():
    moves = optimiser(OptimConfig(), Stack())
    set_rate(moves, 0.2)
    assert sorted({group["lr"] for group in moves.param_groups}) == [0.05, 0.1, 0.2]
    assert all(group["lr"] == 0.2 * group["factor"] for group in moves.param_groups)
    x = torch.randn(4, 1, 6, 6)
    config = OptimConfig(name="sgd", weight_decay=0.0)
    torch.testing.assert_close(step(config, make(), x, factor=0.5)[0], 0.5 * step(config, make(), x)[0])


def test_equal_rates_make_two_groups():
    assert len(optimiser(OptimConfig(), make()).param_groups) == 2
    assert len(optimiser(OptimConfig(), nn.Linear(2, 2, bias=False)).param_groups) == 1


@EVERY_OPTIMISER
def test_frozen_weights_are_in_it_and_stay_until_they_have_a_gradient(name):
    net = make()
    net[0].requires_grad_(False)
    moves = optimiser(OptimConfig(name=name, weight_decay=0.5), net)
    assert sum(len(group["params"]) for group in moves.param_groups) == len(list(net.parameters()))
    x, frozen = torch.randn(4, 1, 6, 6), net[0].weight.detach().clone()
    for thawed in (False, False, True, True):
        net[0].requires_grad_(thawed)
        moves.zero_grad()
        net(x).square().sum().backward()
        moves.step()
        assert torch.equal(net[0].weight, frozen) is not thawed


# averages


def drift(average, net, steps, whole=None):
    """Steps that add 1 to every weight and buffer; the states after each."""
    states = []
    for number in range(steps):
        with torch.no_grad():
            for tensor in net.state_dict().values():
                tensor.add_(1)
        average.update(number, whole or steps)
        states.append({name: value.clone() for name, value in net.state_dict().items()})
    return states


def test_the_moving_average_is_the_recursion_written_out():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = Average(net, OptimConfig(ema=0.5))
    assert average.begun
    expected = {name: value.clone() for name, value in net.state_dict().items()}
    for number, state in enumerate(drift(average, net, 12)):
        decay = min(0.5, (1 + number) / (10 + number))
        for name, value in state.items():
            whole = not value.is_floating_point()
            expected[name] = value if whole else decay * expected[name] + (1 - decay) * value
    torch.testing.assert_close(dict(average.net.state_dict()), expected)


@pytest.mark.parametrize(("share", "taken"), [(0.25, 5), (0.5, 10), (0.3, 6), (0.9, 18), (0.01, 1)])
def test_the_equal_average_is_the_mean_of_the_end_of_the_run(share, taken):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = Average(net, OptimConfig(swa=share))
    states = drift(average, net, 20)
    for name, value in average.net.state_dict().items():
        last = [state[name] for state in states[-taken:]]
        expected = torch.stack(last).mean(0) if value.is_floating_point() else last[-1]
        torch.testing.assert_close(value, expected)


def test_the_equal_average_has_not_begun_before_its_share():
    net = nn.Linear(2, 2)
    average = Average(net, OptimConfig(swa=0.5))
    drift(average, net, 10, whole=20)
    assert not average.begun
    average.update(10, 20)
    assert average.begun and torch.equal(average.net.weight, net.weight)


def test_an_average_neither_changes_nor_shares_the_net():
    for config in (OptimConfig(ema=0.9), OptimConfig(swa=0.9)):
        net = make()
        average = Average(net, config)
        before = [p.detach().clone() for p in net.parameters()]
        average.update(0, 1)
        with torch.no_grad():
            for p in average.net.parameters():
                assert not p.requires_grad
                p.add_(1)
        assert all(torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))


# compilation


def test_without_compilation_the_forward_pass_is_the_net():
    net = make()
    assert compiled(OptimConfig(), net) is net


@pytest.mark.parametrize(("kind", "mode"), [("default", "default"), ("graphs", "reduce-overhead")])
def test_compilation_is_torch_s(kind, mode, monkeypatch):
    seen = {}
    monkeypatch.setattr(optim.torch, "compile", lambda net, **how: seen.update(how) or net)
    compiled(OptimConfig(compile=kind), make())
    assert seen == {"mode": mode, "dynamic": False}


@pytest.mark.slow
def test_torch_s_compiler_comes_without_a_warning():
    """Imported only: the compilation itself takes minutes of gcc on a busy machine."""
    for kind in ("default", "graphs"):
        assert callable(compiled(OptimConfig(compile=kind), make()))


# nonsense


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "adagrad"}, "optim.name is 'adagrad', expected one of 'adamw', 'adam', 'sgd'"),
        ({"batch": 1}, "optim.batch is 1, expected a number from 2"),
        ({"lr": 0.0}, "optim.lr is 0.0"),
        ({"weight_decay": -1.0}, "optim.weight_decay is -1.0"),
        ({"momentum": 1.0, "name": "sgd"}, "optim.momentum is 1.0"),
        ({"momentum": 0.5}, "optim.momentum is 0.5, expected 0.9 with optim.name: adamw: only sgd"),
        ({"ema": 1.0}, "optim.ema is 1.0"),
        ({"swa": 1.0}, "optim.swa is 1.0"),
        ({"ema": 0.9, "swa": 0.1}, "optim.ema is 0.9 and optim.swa is 0.1, expected one average"),
        ({"accumulate": 0}, "optim.accumulate is 0"),
        ({"accumulate": 5, "batch": 9}, "optim.accumulate is 5, expected at most 4 with optim.batch: 9"),
        ({"precision": "float16"}, "optim.precision is 'float16', expected one of 'float32'"),
        ({"compile": "max"}, "optim.compile is 'max', expected one of 'none', 'default', 'graphs'"),
        ({"clip_norm": -1.0}, "optim.clip_norm is -1.0"),
        ({"label_smoothing": 1.0}, "optim.label_smoothing is 1.0"),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        OptimConfig(**wrong)
