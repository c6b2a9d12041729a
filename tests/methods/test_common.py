"""What every method has to satisfy, one row per method in `cases.py`."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from clsweep import methods
from clsweep.conformance.checks import same_params as same
from clsweep.conformance.checks import spoilt, structure, unlike
from clsweep.conformance.watched_hooks import watched
from clsweep.data import benchmarks
from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, TaskSequence
from clsweep.errors import MethodError
from clsweep.methods import METHODS
from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.training import learner
from clsweep.training import sequences as learning
from clsweep.training.config import TrainingConfig
from clsweep.training.divergence import Diverged
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.evaluation import check_learnt
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.sequences import learn_joint, learn_sequence, learn_source, measure_source
from tests.conftest import first_three
from tests.methods.cases import CASE_IDS, CASES, Case, marks_of, test_ids_cover_all_methods

__all__ = ["test_ids_cover_all_methods"]

TRAINING = TrainingConfig(optimizer="sgd", lr=0.1, batch_size=16, steps=5)
SCENARIOS = ("task", "domain", "class")
every_method = pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
# Every row in one scenario, and every method in all; the CI runs every row in all by name.
PAIRS = [
    pytest.param(
        case,
        scenario,
        id=f"{name}-{scenario}",
        marks=marks_of(case, scenario == METHODS[case.name].scenarios[0]),
    )
    for case, name in zip(CASES, CASE_IDS, strict=True)
    for scenario in SCENARIOS
    if scenario in METHODS[case.name].scenarios
]
every_pair = pytest.mark.parametrize(("case", "scenario"), PAIRS)
# Optimisers and heads know nothing of each other: one is varied at a time.
AT_ZERO = [
    pytest.param(
        case,
        optimizer,
        scenario,
        id=f"{name}-{scenario}-{optimizer}",
        marks=marks_of(case, scenario == METHODS[case.name].scenarios[0]),
    )
    for case, name in zip(CASES, CASE_IDS, strict=True)
    for scenario in SCENARIOS
    for optimizer in ("sgd", "adam")
    if scenario in METHODS[case.name].scenarios
    and case.at_zero is not None
    and (optimizer == "sgd" or scenario == METHODS[case.name].scenarios[0])
]


def net_for(sequence: TaskSequence) -> Net:
    config = NetConfig(name="mlp", hidden=(12,))
    return build_net(config, sequence.input_shape, sequence.heads)


_SOURCES: dict[tuple[int, str, str], tuple[TaskSequence, SourceModel]] = {}


def source_once(
    net: Net, sequence: TaskSequence, training: TrainingConfig, kind: str
) -> SourceModel:
    """The source model, learnt once per kind of network; a copy, which a test may spoil."""
    key = (id(sequence), kind, training.model_dump_json())
    if key not in _SOURCES:  # with the sequence, whose id is then no other's
        _SOURCES[key] = sequence, learn_source(net, sequence, training, 0)
    return copy.deepcopy(_SOURCES[key][1])


def source_of(sequence: TaskSequence, training: TrainingConfig = TRAINING) -> SourceModel:
    return source_once(net_for(sequence), sequence, training, net_for.__qualname__)


def learnt(
    case: Case,
    sequence: TaskSequence,
    overrides: dict | None = None,
    training: TrainingConfig = TRAINING,
    source: SourceModel | None = None,
) -> LearntSequence:
    method = methods.build(case.name, net_for(sequence), case.numbers(overrides))
    if method.joint:
        return learn_joint(method, sequence, training, 0)
    if not case.begins_at_source:
        return learn_sequence(method, sequence, training, 0, None, {})
    source = source or source_of(sequence, training)
    statistics = measure_source(method, sequence, source, 0)
    return learn_sequence(method, sequence, training, 0, source, statistics)


_LEARNT: dict[tuple[int, int, str], tuple[TaskSequence, LearntSequence]] = {}


def learnt_once(
    case: Case, sequence: TaskSequence, training: TrainingConfig = TRAINING
) -> LearntSequence:
    """The same, learnt once for all tests that only look at it."""
    key = (CASES.index(case), id(sequence), training.model_dump_json())
    if key not in _LEARNT:
        _LEARNT[key] = sequence, learnt(case, sequence, training=training)
    return _LEARNT[key][1]


def completed(case: Case, sequence: TaskSequence, params: Params) -> Params:
    """The source model's parameters, and initial ones for what the method has beside them."""
    method = methods.build(case.name, net_for(sequence), case.numbers())
    fresh = method.net.init(generator(0, "init"))
    return {**params, **{n: v for n, v in fresh.items() if n not in params}}


def absorbed(case: Case, sequence: TaskSequence, source: SourceModel) -> Memory:
    method = methods.build(case.name, net_for(sequence), case.numbers())
    statistics = measure_source(method, sequence, source, 0)
    data = LearntTask(
        sequence.tasks[0], sequence.scale, source.trace, 128, generator(0, "absorb", 0)
    )
    empty = begun(method, completed(case, sequence, source.trace.start))
    params = completed(case, sequence, source.params)
    return after(method, params, empty, statistics, data)


def begun(method: Method, params: Params) -> Memory:
    return method.begin(params) if method.begin else {}


def after(
    method: Method, params: Params, memory: Memory, statistics: Params, data: LearntTask
) -> Memory:
    """The memory after a task."""
    if method.fit:
        _, memory = method.fit(params, memory, data)
    return method.absorb(params, memory, statistics, data) if method.absorb else memory


@every_pair
def test_repeats_bit_for_bit_and_modifies_no_argument(
    case: Case,
    scenario: str,
    short_sequences: dict[str, TaskSequence],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sequence = short_sequences[scenario]
    first, source = learnt_once(case, sequence), source_of(sequence)
    before = copy.deepcopy(source)
    faults: list[str] = []
    build = methods.build
    monkeypatch.setattr(methods, "build", lambda *given: watched(build(*given), faults))
    second = learnt(case, sequence, source=source)
    if case.name != "joint":  # which is given nothing that it could modify
        assert faults == []
    assert spoilt(before, source) == ""
    assert same(first.params, second.params)
    assert first.rows == second.rows
    last = len(sequence.tasks) - 1
    final = {on for after, on, split, _, _ in first.rows if after == last and split == "test"}
    assert final == set(range(last + 1))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_source_repeats_bit_for_bit(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    first, second = (learn_source(net_for(sequence), sequence, TRAINING, 0) for _ in range(2))
    assert same(first.params, second.params)
    assert same(first.trace.start, second.trace.start)
    assert same(first.trace.path, second.trace.path)
    assert first.rows == second.rows


@pytest.mark.parametrize(("case", "optimizer", "scenario"), AT_ZERO)
def test_knob_at_zero_is_fine_tuning(
    case: Case, optimizer: str, scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    training = TrainingConfig(optimizer=optimizer, lr=0.01, batch_size=16, steps=5)
    plain = learnt_once(CASES[0], sequence, training)
    found = learnt(case, sequence, case.at_zero, training)
    if case.exact_at_zero:
        assert same(plain.params, found.params)
        return
    # A replayed batch changes the shape of the products, hence the last bits; old heads are
    # reached by a gradient that is exactly zero.
    shared = {name: found.params[name] for name in plain.params}
    assert unlike(found._replace(params=shared), plain, exact=False) == ""


@every_method
def test_knob_above_zero_changes_the_result(
    case: Case, short_sequences: dict[str, TaskSequence]
) -> None:
    if case.name == "finetune":
        return
    sequence = short_sequences[case.scenario]
    plain, found = learnt_once(CASES[0], sequence), learnt_once(case, sequence)
    assert not same(plain.params, found.params)


@every_pair
def test_memory_keeps_its_structure(
    case: Case, scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    if case.name == "joint":
        return
    sequence = short_sequences[scenario]
    method = methods.build(case.name, net_for(sequence), case.numbers())
    source = source_of(sequence)
    empty = begun(method, completed(case, sequence, source.trace.start))
    memory = absorbed(case, sequence, source)
    assert structure(memory) == structure(empty)
    data = LearntTask(
        sequence.tasks[1], sequence.scale, source.trace, 128, generator(0, "absorb", 1)
    )
    statistics = method.measure(source.params, data) if method.measure else {}
    params = completed(case, sequence, source.params)
    again = after(method, params, memory, statistics, data)
    assert structure(again) == structure(empty)


@pytest.mark.parametrize(
    ("case", "scenario"), [pair for pair in PAIRS if pair.values[0].regularises]
)
def test_regulariser_is_silent_at_its_anchor_and_wakes_when_parameters_move(
    case: Case, scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    source = source_of(sequence)
    memory = absorbed(case, sequence, source)
    if case.hyper.get("form") == "proximal":
        # The proximal form acts on where the optimiser's step led, so it is asked directly.
        phase = methods.build(case.name, net_for(sequence), case.numbers()).phases[0]
        stays = phase.settle(source.params, memory, 0.1, 1)
        assert same(stays, source.params)
        moved = {name: value + 1 for name, value in source.params.items()}
        assert not same(phase.settle(moved, memory, 0.1, 1), moved)
        return
    at_anchor = pull(case, sequence, memory, source.params)
    moved = {name: value + 0.05 * value.sign() for name, value in source.params.items()}
    elsewhere = pull(case, sequence, memory, moved)
    assert at_anchor < 1e-6
    assert elsewhere > 1e-4


def pull(case: Case, sequence: TaskSequence, memory: Memory, params: Params) -> float:
    """Size of what one step of the method adds to one step of fine-tuning."""
    net, task = net_for(sequence), sequence.tasks[1]
    one_step = TrainingConfig(optimizer="sgd", lr=1e-3, batch_size=16, steps=1)
    ends = []
    for one, memo in ((case, memory), (CASES[0], {})):
        method = methods.build(one.name, net, one.numbers())
        run = train_phase(
            method.phases[0],
            State(params, memo),
            task.train,
            Setting(net, sequence.scale, one_step, 0),
            task=1,
            n_steps=1,
        )
        ends.append(run.params)
    moved = [(ends[0][n] - ends[1][n]).square().sum() for n in params]
    return math.sqrt(float(torch.stack(moved).sum())) / one_step.lr


@every_pair
def test_first_task_is_the_shared_source(
    case: Case, scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    if case.name == "joint":
        return
    sequence = short_sequences[scenario]
    source = source_of(sequence)
    found = learnt_once(case, sequence)
    per_task = sum(case.numbers().phase_steps(TRAINING.steps))
    if not case.begins_at_source:
        assert found.n_steps == per_task * len(sequence.tasks)
        assert {row[0] for row in found.rows} >= set(range(len(sequence.tasks)))
        return
    n = len(source.rows)
    assert found.rows[:n] == source.rows
    on_first = sum(case.numbers().first_steps(TRAINING.steps))
    assert found.n_steps == on_first + per_task * (len(sequence.tasks) - 1)


@every_method
def test_nan_in_the_data_names_task_phase_and_step(
    case: Case, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[METHODS[case.name].scenarios[0]]
    source = source_of(sequence)
    broken = Scale(sequence.scale.gain * float("nan"), sequence.scale.bias)
    poisoned = TaskSequence(sequence.tasks, sequence.heads, broken, sequence.input_shape)
    if not case.trains:
        with pytest.raises(MethodError, match="^inputs of task 1 are NaN or infinite"):
            learnt(case, poisoned)
        return
    entry = METHODS[case.name]
    is_first = not case.begins_at_source or (
        sum(case.numbers().first_steps(TRAINING.steps)) and not entry.generates_images
    )
    where = (
        f"task {len(sequence.tasks)}"
        if case.name == "joint"
        else "task 1"
        if is_first
        else "task 2"
    )
    with pytest.raises(MethodError, match=rf"nan in {where}, phase '\w+', step 1$"):
        learnt(case, poisoned, source=source)


# What they train of the trunk is a copy within each phase, whose moments end with it, or a network
# of the task's own, which no earlier task has moments of.
TRAINS_COPIES = {"packnet", "scratch"}


@every_method
def test_without_reset_the_optimiser_continues(
    case: Case, short_sequences: dict[str, TaskSequence]
) -> None:
    if case.name == "joint" or not case.trains:
        return
    if case.name in TRAINS_COPIES:
        return
    sequence = short_sequences[case.scenario]
    carried = TrainingConfig(optimizer="adam", lr=0.01, batch_size=16, steps=4, reset=False)
    fresh = TrainingConfig(optimizer="adam", lr=0.01, batch_size=16, steps=4)
    source = source_of(sequence, carried)
    assert {key.rpartition("/")[2] for key in source.optimiser} == {
        "step",
        "exp_avg",
        "exp_avg_sq",
    }
    first = learnt(case, sequence, training=carried, source=source)
    second = learnt(case, sequence, training=fresh)
    assert not same(first.params, second.params)


@pytest.fixture(scope="module")
def of_one_class() -> TaskSequence:
    """Class-incremental, a digit a task."""
    config = SplitBenchmark(n_tasks=10, scenario="class", examples_per_task=20)
    return first_three(benchmarks.build(config, None, 0))


@every_method
def test_tasks_of_one_class(case: Case, of_one_class: TaskSequence) -> None:
    """The first has nothing to learn, which leaves every quantity zero and no number NaN."""
    source = source_of(of_one_class)
    assert same(source.params, source.trace.start)
    found = learnt(case, of_one_class, source=source)
    assert all(value.isfinite().all() for value in found.params.values())
    final = {on: n for after, on, split, n, _ in found.rows if after == 2 and split == "test"}
    assert set(final) == {0, 1, 2}
    assert sum(final.values()) > 0


@every_method
def test_a_network_that_shares_nothing_between_its_tasks(
    case: Case, short_sequences: dict[str, TaskSequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head per task and no trunk: what regularises the trunk is fine-tuning, bit for bit."""
    if "task" not in METHODS[case.name].scenarios:
        return
    sequence = short_sequences["task"]
    monkeypatch.setattr(
        f"{__name__}.net_for",
        lambda given: build_net(NetConfig(hidden=()), given.input_shape, given.heads),
    )
    found = learnt(case, sequence)
    assert all(value.isfinite().all() for value in found.params.values())
    assert all(math.isfinite(value) for value in found.counters.values())
    if case.regularises and case.name != "lwf":
        assert same(found.params, learnt(CASES[0], sequence).params)


STORES_DATA = {"replay", "er_ace", "fdr", "der", "derpp", "gem", "agem"}
STORES_DATA |= {"gdumb", "icarl", "bic", "mir", "mer", "hal", "gss"}

STORES_IMPORTANCES = {"l2", "ewc", "mas", "si", "rwalk", "mode_imm", "l2init"}
STORES_NETWORKS = {
    *STORES_IMPORTANCES,
    *("ncm", "slda", "ranpac"),  # means, covariances and the like
    *("shrink_perturb", "cbp", "packnet", "hat", "gpm", "vcl"),  # noise, utilities, ...
    *("lwf", "rescl", "interpolate", "dgr", "hnet", "hnet_tir", "hnet_replay"),
    *("icarl", "bic"),  # the network before the task
    "hal",  # the mean of the features
}


@every_method
def test_what_is_carried_is_told_apart_by_kind(
    case: Case, short_sequences: dict[str, TaskSequence]
) -> None:
    scenario = METHODS[case.name].scenarios[0]
    kept = learnt_once(case, short_sequences[scenario]).memory_bytes
    assert (kept.data > 0) == (case.name in STORES_DATA)
    assert (kept.importances > 0) == (case.name in STORES_IMPORTANCES)
    assert (kept.models > 0) == (case.name in STORES_NETWORKS)
    assert kept.total == sum(kept)
    examples = "source examples" in METHODS[case.name].uses
    assert (kept.data > 0) == examples


@every_method
def test_what_diverges_at_its_end_has_the_steps_of_one_that_ends(
    case: Case, short_sequences: dict[str, TaskSequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not case.trains:
        return
    sequence = short_sequences[METHODS[case.name].scenarios[0]]
    whole, source = learnt_once(case, sequence).n_steps, source_of(sequence)

    def judged(net: Net, before: Params, after: Params, of: TaskSequence, task: int) -> None:
        if task == len(of.tasks) - 1:
            after = {name: value * 1e9 for name, value in after.items()}
        check_learnt(net, before, after, of, task)

    monkeypatch.setattr(learner, "check_learnt", judged)
    monkeypatch.setattr(learning, "check_learnt", judged)
    last = f"by the end of task {len(sequence.tasks)}$"
    with pytest.raises(Diverged, match=last) as raised:
        learnt(case, sequence, source=source)
    assert raised.value.n_steps == whole > 0


def test_a_loss_beyond_chance_names_the_task_as_all_messages_do(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence, net = short_sequences["domain"], net_for(short_sequences["domain"])
    before = source_of(sequence).params
    far = {name: value * 100 for name, value in before.items()}
    with pytest.raises(Diverged, match="^after task 2 its own training loss is "):
        check_learnt(net, before, {n: -v for n, v in far.items()}, sequence, 1)
