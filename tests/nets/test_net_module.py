"""The study's network as a module: the same function, the same names, and nothing moves."""

from __future__ import annotations

import copy

import pytest
import torch

from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.net_module import NetModule
from clsweep.nets.norms import is_statistic

X = torch.rand(5, 1, 8, 8, generator=generator(0, "x"))
HEADS = Heads("task", (2, 3))


def _net(name: str = "mlp", norm: str = "none", heads: Heads = HEADS) -> Net:
    config = {"mlp": {"hidden": (6,)}, "conv": {"channels": (4,), "norm": norm}}[name]
    return build_net(NetConfig(name=name, **config), (1, 8, 8), heads)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_it_is_the_same_function_of_the_same_names(scenario: str) -> None:
    net = _net(heads=Heads(scenario, (2, 2)))
    params = net.init(generator(0, "init"))
    module = NetModule(net, params)
    assert {name for name, _ in module.named_parameters()} == params.keys()
    assert module.params().keys() == params.keys()
    for task in range(2):
        assert torch.equal(module(X, task), net.apply(params, X, task))
        assert module.n_outputs(task) == module(X, task).shape[1]


def test_it_owns_its_parameters_and_a_copy_owns_others() -> None:
    net = _net()
    params = net.init(generator(0, "init"))
    module = NetModule(net, params)
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for value in module.parameters():
            value += 1
    assert torch.equal(twin(X, 0), net.apply(params, X, 0))
    moved = {name: value + 1 for name, value in params.items()}
    assert torch.equal(module(X, 0), net.apply(moved, X, 0))


def test_functional_calls_and_replaced_parameters_are_seen() -> None:
    net = _net()
    params = net.init(generator(0, "init"))
    module = NetModule(net, params)
    other = {name: value * 2 for name, value in params.items()}
    found = torch.func.functional_call(module, other, (X, 1))
    assert torch.equal(found, net.apply(other, X, 1))
    assert torch.equal(module(X, 1), net.apply(params, X, 1))


def test_batch_norms_follow_the_mode_and_no_pass_moves_their_statistics() -> None:
    net = _net("conv", "batch")
    drawn = net.init(generator(0, "init"))
    full = {**drawn, **{n: torch.full((4,), 0.5) for n in net.statistics}}
    module = NetModule(net, full)
    assert torch.equal(module.train()(X, 0), net.apply(drawn, X, 0))
    assert torch.equal(module.eval()(X, 0), net.apply(full, X, 0))
    assert not torch.equal(net.apply(drawn, X, 0), net.apply(full, X, 0))
    held = NetModule(net, full, holds_statistics=True).train()
    assert torch.equal(held(X, 0), net.apply(full, X, 0))
    for name, value in module.params().items():
        assert torch.equal(value, full[name])
    module.set_statistics({n: v + 1 for n, v in full.items()})
    now = module.params()
    assert all(torch.equal(now[n], full[n] + is_statistic(n)) for n in full)
