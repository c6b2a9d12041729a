"""Every method on a network with batch norm, in both modes of its running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError
from clsweep.methods import METHODS
from clsweep.methods.base import LearntTask
from clsweep.methods.parts import importance
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net, shared
from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params
from clsweep.training.config import TrainingConfig
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.sequences import learn_joint, learn_sequence, learn_source, measure_source
from tests.methods.cases import CASE_IDS, CASES, Case
from tests.methods.test_common import after, begun, same, source_once, structure

TRAINING = TrainingConfig(optimizer="sgd", lr=0.03, batch_size=16, steps=4)
FITTING = [
    (case, name)
    for case, name in zip(CASES, CASE_IDS, strict=True)
    if case.batch_norm and case.trains
]
every_method = pytest.mark.parametrize(
    "case", [case for case, _ in FITTING], ids=[name for _, name in FITTING]
)
both_modes = pytest.mark.parametrize("bn_mode", ["batch", "frozen"])
# One head for all tasks, and a head for each; what is learnt within them is the same in each mode.
MODES_AND_SCENARIOS = [
    pytest.param(
        case,
        mode,
        scenario,
        id=f"{name}-{mode}-{scenario}",
        marks=[] if is_usual else [pytest.mark.slow],
    )
    for case, name in FITTING
    for mode, scenario, is_usual in (
        ("batch", "class", True),
        ("batch", "task", True),
        ("frozen", "domain", True),
        ("batch", "domain", False),
        ("frozen", "class", False),
        ("frozen", "task", False),
    )
    if scenario in METHODS[case.name].scenarios
]


def net_for(sequence: TaskSequence, bn_mode: str) -> Net:
    config = NetConfig(name="conv", channels=(4,), width=8, norm="batch", bn_mode=bn_mode)
    return build_net(config, sequence.input_shape, sequence.heads)


def learnt(case: Case, sequence: TaskSequence, net: Net, source: SourceModel) -> LearntSequence:
    method = methods.build(case.name, net, case.numbers())
    if method.joint:
        return learn_joint(method, sequence, TRAINING, 0)
    if not METHODS[case.name].starts_from_source:
        return learn_sequence(method, sequence, TRAINING, 0, None, {})
    statistics = measure_source(method, sequence, source, 0)
    return learn_sequence(method, sequence, TRAINING, 0, source, statistics)


def running(params: Params) -> Params:
    return {name: value for name, value in params.items() if is_statistic(name)}


@pytest.mark.parametrize(("case", "bn_mode", "scenario"), MODES_AND_SCENARIOS)
def test_runs_repeats_and_keeps_its_statistics_apart(
    case: Case, bn_mode: str, scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    net = net_for(sequence, bn_mode)
    source = source_once(net, sequence, TRAINING, bn_mode)
    before = copy.deepcopy(source)
    first, second = (learnt(case, sequence, net, source) for _ in range(2))
    assert same(first.params, second.params)
    assert first.rows == second.rows
    assert same(before.params, source.params)
    assert same(before.trace.start, source.trace.start)
    if case.name in ("hnet", "scratch"):
        # A network per task, each with statistics of its own, under names of their own.
        own = running(first.params).keys() - net.statistics
        assert {name.split(".", 2)[2] for name in own} == net.statistics
        return
    assert running(first.params).keys() == net.statistics
    moved = not same(running(first.params), running(source.params))
    method = methods.build(case.name, net, case.numbers())
    held = bn_mode == "frozen" or all(phase.holds_statistics for phase in method.phases)
    # Networks from scratch, and a first task learnt by another loss, have their own statistics.
    begins_otherwise = method.joint or case.name in ("gdumb", "icarl")
    assert moved == (begins_otherwise or not held)
    # The statistics of one network are the same in a sequence without a method.
    assert source.params.keys() == source.trace.start.keys()
    assert not running(source.trace.path)


@both_modes
@every_method
def test_memory_keeps_its_structure(
    case: Case, bn_mode: str, short_sequences: dict[str, TaskSequence]
) -> None:
    if case.name == "joint":
        return
    sequence = short_sequences[METHODS[case.name].scenarios[0]]
    net = net_for(sequence, bn_mode)
    source = source_once(net, sequence, TRAINING, bn_mode)
    method = methods.build(case.name, net, case.numbers())
    statistics = measure_source(method, sequence, source, 0)
    data = LearntTask(
        sequence.tasks[0], sequence.scale, source.trace, 96, generator(0, "absorb", 0)
    )
    fresh = method.net.init(generator(0, "init"))
    start, end = ({**fresh, **params} for params in (source.trace.start, source.params))
    empty = begun(method, start)
    memory = after(method, end, empty, statistics, data)
    assert structure(memory) == structure(empty)


@both_modes
def test_a_first_task_of_ones_own_is_trained_like_the_source(
    bn_mode: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["domain"]
    net = net_for(sequence, bn_mode)
    source = learn_source(net, sequence, TRAINING, 0)
    method = methods.build("finetune", net, CASES[0].numbers())
    shared_start, own_start = (
        learn_sequence(method, sequence, TRAINING, 0, first, {}) for first in (source, None)
    )
    assert same(shared_start.params, own_start.params)
    assert shared_start.rows == own_start.rows


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("frozen", {}),
        ("ewc", {"lam": 1e10, "form": "proximal"}),
        ("ewc", {"lam": 1e10, "form": "proximal", "anchor": "online"}),
        ("mas", {"lam": 1e10, "form": "proximal"}),
        ("si", {"c": 1e10, "form": "proximal"}),
    ],
)
def test_a_huge_penalty_leaves_the_source_accuracy_alone(
    name: str, hyper: dict, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["task"]
    case = Case(name, hyper)
    rows = {}
    for bn_mode in ("frozen", "batch"):
        net = net_for(sequence, bn_mode)
        source = learn_source(net, sequence, TRAINING, 0)
        found = learnt(case, sequence, net, source)
        rows[bn_mode] = [row[1:] for row in found.rows if row[1] == 0 and row[0] >= 0]
        # The contrast: with batch statistics the network moves under any penalty.
        moved = not same(running(found.params), running(source.params))
        assert moved == (bn_mode == "batch" and name != "frozen")
    first = {row[1]: row for row in rows["frozen"][:2]}
    assert len(rows["frozen"]) == 2 * len(sequence.tasks)
    assert all(row == first[row[1]] for row in rows["frozen"])


class Scaled(nn.Module):
    """No linear map at all: every parameter needs per-example gradients."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm.weight.shape[0]
        return self.norm(x.flatten(1)[:, 10 : 10 + n])


def scaled(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Scaled(n_outputs)


class Looking(nn.Module):
    """A linear map whose weight is looked at on the way."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(64), nn.Linear(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x.reshape(-1, self.out.weight.shape[1]).to(self.out.weight.device))
        return self.out(h)


def looking(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Looking(n_outputs)


NETS = {
    "conv": NetConfig(name="conv", channels=(4,), width=8, norm="batch"),
    "resnet32": NetConfig(name="resnet32", depth=8, base_maps=2),
    "group norm": NetConfig(name="resnet32", depth=8, base_maps=4, norm="group"),
    "looking": NetConfig(name="custom", factory=f"{__name__}:looking"),
    "scaled": NetConfig(name="custom", factory=f"{__name__}:scaled"),
}


@pytest.mark.parametrize("kind", NETS)
def test_importances_of_gains_are_those_of_a_loop(
    kind: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["domain"]
    net = build_net(NETS[kind], sequence.input_shape, sequence.heads)
    params = learn_source(net, sequence, TRAINING, 0).params
    task = sequence.tasks[0]
    data = LearntTask(task, sequence.scale, None, 0, generator(0, "measure", 0))
    fisher = importance.fisher_diag(net, params, data)
    omega = importance.mas_omega(net, params, data)
    names = list(shared(params))
    assert fisher.keys() == omega.keys() == set(names)
    by_hand = {kind: {n: torch.zeros_like(params[n]) for n in names} for kind in ("F", "O")}
    for i in range(len(task.train)):
        leaves = {n: v.clone().requires_grad_(n in names) for n, v in params.items()}
        logits = net.apply(leaves, sequence.scale(task.train.raw(torch.tensor([i]))), 0)[0]
        inputs = [leaves[n] for n in names]
        for log_p in logits.log_softmax(0):
            grads = torch.autograd.grad(log_p, inputs, retain_graph=True)
            for n, g in zip(names, grads, strict=True):
                by_hand["F"][n] += log_p.detach().exp() * g.square() / len(task.train)
        grads = torch.autograd.grad(logits.square().sum(), inputs)
        for n, g in zip(names, grads, strict=True):
            by_hand["O"][n] += g.abs() / len(task.train)
    for name in names:
        torch.testing.assert_close(fisher[name], by_hand["F"][name], atol=1e-6, rtol=1e-3)
        torch.testing.assert_close(omega[name], by_hand["O"][name], atol=1e-6, rtol=1e-3)
        assert fisher[name].any()


@pytest.mark.parametrize("kind", NETS)
def test_only_norms_need_per_example_gradients(kind: str) -> None:
    # Looking at a weight's shape, as networks do, must not send it to the slow way.
    net = build_net(NETS[kind], (1, 8, 8), Heads("domain", (2,)))
    params = net.init(generator(0, "init"))
    taps = importance._Taps(net, params, torch.rand(2, 1, 8, 8), 0)
    assert taps.rest == sorted(name for name in params if "norm" in name)


@pytest.mark.parametrize("name", ["packnet", "gpm", "mode_imm", "hat", "cbp"])
def test_methods_that_take_no_batch_norms_refuse_those_of_a_user_too(
    name: str, short_sequences: dict[str, TaskSequence]
) -> None:
    net = net_for(short_sequences["task"], "batch")
    with pytest.raises(MethodError, match="batch"):
        methods.build(name, net, METHODS[name].hyper())
