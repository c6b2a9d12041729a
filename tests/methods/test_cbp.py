"""Continual backpropagation: utilities and replaced units by hand, and what replacing leaves."""

from __future__ import annotations

import pytest
import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale
from clsweep.methods.base import Batch
from clsweep.methods.cbp import judged, new_units
from clsweep.methods.regulariser_hypers import CbpHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net

FIRST, SECOND = "layers.0.weight", "layers.1.weight"


def mlp() -> Net:
    return build_net(NetConfig(hidden=(4, 3)), (1, 2, 2), Heads("task", (2, 2)))


def test_utility_and_mean_are_running_averages_and_the_least_useful_is_replaced() -> None:
    hyper = CbpHyper(rate=0.5, decay=0.5, maturity=1)
    weight, fresh = torch.zeros(3, 2), torch.arange(6.0).reshape(3, 2)
    units = new_units(weight, 3)
    units = judged(units, torch.tensor([4.0, 2.0, 6.0]), torch.ones(3), fresh, hyper)
    assert units.utility.tolist() == [2.0, 1.0, 3.0]
    assert not units.replaced.any()  # none is older than one step
    units = judged(units, torch.tensor([0.0, 2.0, 6.0]), torch.full((3,), 3.0), fresh, hyper)
    # u = [1, 1.5, 4.5]; all three are mature and half of them is one and a half: one is replaced.
    assert units.replaced.tolist() == [True, False, False]
    assert units.utility.tolist() == [0.0, 1.5, 4.5]
    assert units.age.tolist() == [0.0, 2.0, 2.0]
    assert units.carried.tolist() == [pytest.approx((0.25 + 1.5) / 0.75), 0.0, 0.0]
    assert float(units.owed) == 0.5
    # The newest is not mature; of two others half is one, one and a half with what is saved up.
    units = judged(units, torch.tensor([0.0, 9.0, 9.0]), torch.ones(3), fresh, hyper)
    assert units.replaced.tolist() == [False, True, False]
    assert float(units.owed) == 0.5


@pytest.mark.parametrize("config", ["mlp", "conv"])
def test_a_replaced_unit_starts_anew_and_its_mean_output_goes_to_the_biases(config: str) -> None:
    """By hand on a fully connected net; on maps, the outputs are the same for constant units."""
    if config == "mlp":
        net, name, reader = mlp(), FIRST, SECOND
    else:
        shape = NetConfig(name="conv", channels=(3,), width=4, norm="none")
        net = build_net(shape, (1, 4, 4), Heads("domain", (2, 2)))
        name, reader = "convs.0.weight", "dense.weight"
    method = methods.build("cbp", net, CbpHyper(rate=1.0))
    params = net.init(generator(0, "init"))
    params[name][1] = 0  # a unit that puts out a constant
    params[name.replace("weight", "bias")][1] = 0.7
    memory = method.begin(params)
    units = memory[name]
    replaced = torch.zeros_like(units.replaced)
    replaced[1] = True
    fresh = torch.full_like(units.fresh, 0.25)
    memory[name] = units._replace(
        replaced=replaced, carried=torch.where(replaced, 0.7, 0.0), fresh=fresh
    )
    found = method.phases[0].settle(params, memory, 0.1, 1)
    assert (found[name][1] == 0.25).all()
    assert torch.equal(found[name][[0, 2]], params[name][[0, 2]])
    assert found[name.replace("weight", "bias")][1] == 0
    x = torch.rand(5, *net.input_shape, generator=generator(1, "x"))
    torch.testing.assert_close(net.apply(found, x, 1), net.apply(params, x, 1))
    if config == "mlp":
        assert not found[reader][:, 1].any()
        expected = params["layers.1.bias"] + 0.7 * params[reader][:, 1]
        torch.testing.assert_close(found["layers.1.bias"], expected)


def test_a_replaced_last_unit_leaves_the_heads_of_all_tasks() -> None:
    net = mlp()
    method = methods.build("cbp", net, CbpHyper(rate=1.0))
    params = net.init(generator(0, "init"))
    memory = method.begin(params)
    replaced = torch.tensor([False, False, True])
    memory[SECOND] = memory[SECOND]._replace(replaced=replaced)
    found = method.phases[0].settle(params, memory, 0.1, 1)
    for task in (0, 1):
        assert not found[f"heads.{task}.weight"][:, 2].any()
        assert found[f"heads.{task}.weight"][:, :2].all()


def test_the_use_of_a_unit_is_its_output_times_the_weights_that_read_it() -> None:
    net = mlp()
    method = methods.build("cbp", net, CbpHyper(rate=0.0, decay=0.0))
    params = net.init(generator(0, "init"))
    x = torch.rand(5, 1, 2, 2, generator=generator(1, "x"))
    scale = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    phase = method.phases[0]
    rows = {n: v[0] for n, v in phase.draw(generator(2, "d"), {}, 3, 5).items()}
    batch = Batch(x, torch.zeros(5, dtype=torch.int64), x, scale, rows)
    _, memory = phase.project({}, params, method.begin(params), batch, 1)
    first = (x.flatten(1) @ params[FIRST].T + params["layers.0.bias"]).relu()
    second = (first @ params[SECOND].T + params["layers.1.bias"]).relu()
    for name, h, read in ((FIRST, first, SECOND), (SECOND, second, "heads.1.weight")):
        expected = h.abs().mean(0) * params[read].abs().sum(0)
        torch.testing.assert_close(memory[name].utility, expected)
        torch.testing.assert_close(memory[name].mean, h.mean(0))
    bound = float(params[FIRST].abs().max())
    assert float(rows[FIRST].abs().max()) <= 0.5 + 1e-6  # 1/√4 is the largest that is drawn
    assert bound <= 0.5
