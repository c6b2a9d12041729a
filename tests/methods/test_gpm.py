"""GPM: which directions are stored, and that steps leave outputs on stored inputs alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import LearntTask
from clsweep.methods.gpm import projected
from clsweep.methods.isolation_hypers import GpmHyper
from clsweep.methods.parts.input_spaces import grown_projector, input_moments
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_sequence, learn_source, measure_source

CONFIGS = {
    "mlp": NetConfig(hidden=(9, 8)),
    "conv": NetConfig(name="conv", channels=(3,), width=6, norm="none"),
}


def net_of(sequence: TaskSequence, config: str = "mlp") -> Net:
    return build_net(CONFIGS[config], sequence.input_shape, sequence.heads)


@pytest.mark.parametrize("energy", [0.6, 0.9, 0.999])
def test_the_fewest_directions_hold_the_share_of_the_energy(energy: float) -> None:
    """Against the singular values themselves, for two tasks in turn."""
    rng = generator(0, "x")
    first, second = (torch.randn(8, 30, generator=rng, dtype=torch.float64) for _ in range(2))
    first *= 2.0 ** -torch.arange(8)[:, None]
    projector = grown_projector(torch.zeros(8, 8).double(), first @ first.T, energy)
    shares = torch.linalg.svdvals(first).square().cumsum(0) / first.square().sum()
    assert round(float(projector.trace())) == int((shares < energy).sum()) + 1
    both = grown_projector(projector, second @ second.T, energy)
    rest = second - projector @ second
    held = (second.square().sum() - rest.square().sum()) / second.square().sum()
    shares = held + torch.linalg.svdvals(rest).square().cumsum(0) / second.square().sum()
    n_new = 0 if held >= energy else int((shares < energy).sum()) + 1
    assert round(float((both - projector).trace())) == n_new
    for one in (projector, both):
        torch.testing.assert_close(one @ one, one)
    torch.testing.assert_close(both @ projector, projector)
    kept = (both @ second).square().sum() / second.square().sum()
    assert float(kept) >= energy - 1e-9


def test_no_energy_asks_for_no_direction_and_all_of_it_for_the_span() -> None:
    inputs = torch.tensor([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]]).double()  # a line
    for energy, rank in ((0.0, 0), (1.0, 1)):
        found = grown_projector(torch.zeros(3, 3).double(), inputs @ inputs.T, energy)
        assert round(float(found.trace())) == rank


@pytest.mark.parametrize("config", CONFIGS)
def test_a_projected_gradient_changes_no_output_on_stored_inputs(
    config: str, sequences: dict[str, TaskSequence]
) -> None:
    """Orthogonal to the stored bases; a layer that is moved by it answers old inputs as before."""
    sequence = sequences["domain"]
    net = net_of(sequence, config)
    params = net.init(generator(0, "init"))
    task = sequence.tasks[0]
    x = sequence.scale(task.train.raw(torch.arange(12)))
    moments = input_moments(net, params, x, 0)
    name = "layers.0.weight" if config == "mlp" else "dense.weight"
    bias = name.replace("weight", "bias")
    projector = grown_projector(torch.zeros_like(moments[name]), moments[name], 1.0)
    assert 1 <= round(float(projector.trace())) < len(projector)
    grads = {n: torch.randn(v.shape, generator=generator(1, n)) for n, v in params.items()}
    found = projected(grads, name, bias, projector.float())
    wide = torch.cat([found[name].flatten(1), found[bias][:, None]], 1).double()
    assert float(wide.norm()) > 0.1
    assert float((wide @ projector).abs().max()) < 1e-5
    moved = {**params, **{n: params[n] - 0.5 * g for n, g in found.items()}}
    torch.testing.assert_close(net.apply(moved, x, 0), net.apply(params, x, 0), atol=1e-5, rtol=0)
    other = sequence.scale(sequence.tasks[1].train.raw(torch.arange(12)))
    assert not torch.allclose(net.apply(moved, other, 0), net.apply(params, other, 0), atol=1e-3)


def test_with_all_energy_source_outputs_stay_on_the_inputs_that_were_looked_at(
    sequences: dict[str, TaskSequence],
) -> None:
    """Many steps of plain SGD through all layers; without the projection outputs go elsewhere."""
    sequence = replace(sequences["task"], tasks=sequences["task"].tasks[:2])
    net = build_net(NetConfig(hidden=(70, 70)), sequence.input_shape, sequence.heads)
    training = TrainingConfig(lr=0.05, batch_size=16, steps=15, weight_decay=0.1)
    source = learn_source(net, sequence, training, 0)
    x = sequence.scale(sequence.tasks[0].train.raw(torch.arange(48)))
    before = net.apply(source.params, x, 0)
    drifts = {}
    for threshold in (0.0, 1.0):
        method = methods.build("gpm", net, GpmHyper(threshold=threshold, growth=0.0))
        statistics = measure_source(method, sequence, source, 0)
        run = learn_sequence(method, sequence, training, 0, source, statistics)
        drifts[threshold] = float((net.apply(run.params, x, 0) - before).abs().max())
        assert (run.counters["capacity_left"] == 1) == (threshold == 0)
    assert drifts[1.0] < 1e-4 < 1e-2 < drifts[0.0]


def test_the_share_rises_from_task_to_task(sequences: dict[str, TaskSequence]) -> None:
    sequence = sequences["task"]
    net = net_of(sequence)
    params = net.init(generator(0, "init"))
    ranks = {}
    for growth in (0.0, 0.2):
        method = methods.build("gpm", net, GpmHyper(threshold=0.8, growth=growth))
        memory = method.begin(params)
        for task in sequence.tasks[:2]:
            data = LearntTask(task, sequence.scale, None, 0, generator(0, "m"))
            memory = method.absorb(params, memory, method.measure(params, data), data)
        ranks[growth] = [round(float(p.trace())) for p in memory["projectors"].values()]
    assert all(a <= b for a, b in zip(ranks[0.0], ranks[0.2], strict=True))
    assert sum(ranks[0.0]) < sum(ranks[0.2])
