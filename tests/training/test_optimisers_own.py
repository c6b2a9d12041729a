"""Optimisers of the user's own: steps of a plain loop, and mistakes with file and line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsweep.errors import StudyError
from clsweep.execution import stage_cache, stage_files
from clsweep.methods.base import Batch, Memory, Phase
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.net_module import NetModule
from clsweep.nets.parameter_trees import Params
from clsweep.study.configurations import configurations
from clsweep.study.input_fingerprints import inputs_of
from clsweep.study.study import parse_study
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.imperative_learner import OptimiserStates
from clsweep.training.optimisers import check_optimiser, made_optimiser
from clsweep.training.sequences import finetune_source, learn_source
from tests.methods.test_common import net_for
from tests.training.test_engine_with_methods import DATA, NET, SCALE, SIZE, START, rows_of, same

LION = '''\
import torch


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023; counts its steps by a number of Python's."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["mean"], state["n"] = torch.zeros_like(p), 0
                state["n"] += 1
                p.mul_(1 - group["lr"] * group["weight_decay"])
                move = (b1 * state["mean"] + (1 - b1) * p.grad).sign()
                p.add_(move, alpha=-group["lr"] / state["n"] ** 0.5)
                state["mean"].lerp_(p.grad, 1 - b2)


class Listing(Lion):
    def step(self):
        for p in self.param_groups[0]["params"]:
            self.state[p]["seen"] = ["a list"]


class Raising(Lion):
    def step(self):
        raise ValueError("no step today")


class Counting(Lion):
    """Counts its steps for all parameters at once, from the first or from a later one on."""

    def __init__(self, params, lr, counts_from=0):
        super().__init__(params, lr)
        self.n, self.counts_from = 0, counts_from
        self.param_groups[0].update(count=[0, torch.zeros(2)], kept=torch.ones(2), none=None)

    def step(self):
        super().step()
        self.n += 1
        if self.n > self.counts_from:
            self.param_groups[0]["count"][1] += 1


class Wants(Lion):
    def step(self, closure):
        closure()


def Rateless(params, betas=(0.9, 0.99)):
    return Lion(params, betas=betas)


def Nothing(params, lr):
    return None


class Undecayed(Lion):
    def __init__(self, params, lr):
        super().__init__(params, lr)


not_callable = 3
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "user_optim_" + tmp_path.name.replace("-", "_")
    (tmp_path / f"{name}.py").write_text(LION, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def config(path: str, **changes: Any) -> TrainingConfig:
    given = {"lr": 0.02, "batch_size": SIZE, "schedule": "cosine", "optimizer": path}
    return TrainingConfig(**{**given, **changes})


def trained(training: TrainingConfig, phase: Phase, state: State, task: int = 1) -> State:
    setting = Setting(NET, SCALE, training, 0)
    return train_phase(phase, state, DATA, setting, task=task, n_steps=8)


def test_one_that_was_edited_after_its_import_is_refused(module: str) -> None:
    imported = importlib.import_module(module)
    check_optimiser(config(f"{module}:Lion"))
    Path(imported.__file__).write_text(LION.replace("1e-4", "1e-3"), encoding="utf-8")
    with pytest.raises(StudyError, match="edited after this process had imported it") as caught:
        check_optimiser(config(f"{module}:Lion"))
    assert f"[training] optimizer: {imported.__file__}" in str(caught.value)


@pytest.mark.parametrize("reset", [True, False])
def test_it_steps_as_in_a_plain_loop(module: str, reset: bool) -> None:
    options = {"betas": [0.8, 0.95]}
    training = config(f"{module}:Lion", options=options, weight_decay=0.1, reset=reset)
    state = State(START, {})
    for task in (0, 1):
        state = trained(training, plain_phase(NET), state, task)
    assert (not state.optimiser) == reset

    kind = sys.modules[module].Lion
    leaves = {n: v.detach().clone().requires_grad_() for n, v in START.items()}
    optimiser = kind(list(leaves.values()), lr=0.02, betas=(0.8, 0.95), weight_decay=0.1)
    for task in (0, 1):
        if reset:
            optimiser.state.clear()
        optimiser.param_groups[0]["lr"] = 0.02
        optimiser.param_groups[0].pop("initial_lr", None)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 8)
        for rows in rows_of(task):
            optimiser.zero_grad()
            logits = NET.apply(leaves, SCALE(DATA.raw(rows)), task)
            F.cross_entropy(logits, DATA.labels[rows]).backward()
            optimiser.step()
            schedule.step()
    for n, leaf in leaves.items():
        torch.testing.assert_close(state.params[n], leaf.detach(), atol=1e-6, rtol=1e-5)


def test_a_trial_step_takes_back_numbers_of_pythons_too(module: str) -> None:
    def foresee(grads: Params, ahead: Params, memory: Memory, batch: Batch, task: int) -> Params:
        return grads

    training, state = config(f"{module}:Lion"), State(START, {})
    looking = Phase("train", plain_phase(NET).loss, foresee=foresee)
    plain = trained(training, plain_phase(NET), state).params
    assert same(trained(training, looking, state).params, plain)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        (
            "Lion",
            {"options": {"beta": [0.9, 0.9]}},
            ["takes no 'beta'", "mean 'betas'?", "line 4"],
        ),
        ("Lion", {"options": {"lr": 0.1}}, ["'lr', which is a key of [training]"]),
        ("Lion", {"options": {"betas": 0.9}}, ["cannot unpack", "line 13"]),
        ("Raising", {}, ["ValueError: no step today", "line 35"]),
        ("Wants", {}, ["closure", "without arguments"]),
        ("Rateless", {}, ["takes no learning rate 'lr'", "line 58"]),
        ("Nothing", {}, ["made a NoneType", "has no 'step'"]),
        ("Undecayed", {"weight_decay": 0.1}, ["takes no 'weight_decay'", "line 66"]),
        ("not_callable", {}, ["is a int, which cannot be called"]),
        ("Lyon", {}, ["cannot be imported", "Lyon"]),
    ],
)
def test_mistakes_name_what_is_wrong_and_where(
    module: str, name: str, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(StudyError) as caught:
        check_optimiser(config(f"{module}:{name}", **changes))
    for word in [*words, "[training] optimizer"]:
        assert word in str(caught.value)


def test_a_sound_one_passes_and_takes_its_numbers(module: str) -> None:
    training = config(f"{module}:Lion", options={"betas": [0.5, 0.6]}, weight_decay=0.3)
    check_optimiser(training)
    made = made_optimiser(training, [torch.zeros(2, requires_grad=True)])
    group = made.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.02, (0.5, 0.6), 0.3)


def test_state_that_cannot_be_carried_is_refused(module: str) -> None:
    training = config(f"{module}:Listing", reset=False)
    with pytest.raises(StudyError, match="keeps 'seen' as a list"):
        trained(training, plain_phase(NET), State(START, {}))


GROUPS = "keeps 'count' in param_groups, and steps change it"


def test_groups_that_change_are_refused_before_the_first_trial(module: str) -> None:
    training = config(f"{module}:Counting")
    check_optimiser(training)
    with pytest.raises(StudyError, match=GROUPS) as caught:
        check_optimiser(training.model_copy(update={"reset": False}))
    assert "[training] reset" in str(caught.value)
    check_optimiser(config(f"{module}:Lion", reset=False))


def test_groups_that_change_later_are_refused_at_the_end_of_the_task(module: str) -> None:
    given: dict[str, Any] = {"options": {"counts_from": 3}, "reset": False}
    training = config(f"{module}:Counting", **given)
    check_optimiser(training)
    with pytest.raises(StudyError, match=GROUPS):
        trained(training, plain_phase(NET), State(START, {}))
    never = config(f"{module}:Counting", **{**given, "options": {"counts_from": 100}})
    assert trained(never, plain_phase(NET), State(START, {})).optimiser


def test_groups_that_change_are_refused_to_the_next_optimiser_of_a_learner(module: str) -> None:
    training = config(f"{module}:Counting", reset=False, options={"counts_from": 1})
    net = NetModule(NET, START, holds_statistics=False)
    states = OptimiserStates(net, {})
    leaves: list[torch.Tensor] = [*net.parameters()]
    first = made_optimiser(training, leaves)
    states.go_on(first, leaves, training.optimizer)
    for leaf in leaves:
        leaf.grad = torch.ones_like(leaf)
    first.step()
    second = made_optimiser(training, leaves)
    states.go_on(second, leaves, training.optimizer)
    second.step()
    second.step()
    with pytest.raises(StudyError, match=GROUPS):
        states.go_on(made_optimiser(training, leaves), leaves, training.optimizer)


STUDY = """\
name = "s"
seeds = [0]
[benchmark]
name = "split"
n_tasks = 2
[[methods]]
name = "finetune"
training = {{ optimizer = ["sgd", "{path}"], momentum = [0.0, 0.9], options = [{options}] }}
"""


def test_options_are_an_axis_where_the_optimiser_is_ones_own(module: str) -> None:
    options = "{ betas = [0.9, 0.99] }, { betas = [0.5, 0.6] }"
    of = parse_study(STUDY.format(path=f"{module}:Lion", options=options))
    found = [
        (c.training.optimizer, c.training.momentum, c.training.options) for c in configurations(of)
    ]
    assert found == [
        ("sgd", 0.0, ""),
        ("sgd", 0.9, ""),
        (f"{module}:Lion", 0.0, '{"betas": [0.9, 0.99]}'),
        (f"{module}:Lion", 0.0, '{"betas": [0.5, 0.6]}'),
    ]


def test_its_code_is_an_input_of_the_study(module: str, tmp_path: Path) -> None:
    of = parse_study(STUDY.format(path=f"{module}:Lion", options="{}"))
    name = f"code {module}:Lion"
    before = {one.name: one.fingerprint for one in inputs_of(of, None)}
    assert before[name]
    file = tmp_path / f"{module}.py"
    file.write_text("# a comment is no change\n" + LION, encoding="utf-8")
    assert {one.name: one.fingerprint for one in inputs_of(of, None)} == before
    file.write_text(LION.replace("0.5", "0.25"), encoding="utf-8")
    after = {one.name: one.fingerprint for one in inputs_of(of, None)}
    assert after[name] != before[name]


def test_plan_misses_it_without_importing_anything(module: str) -> None:
    for path, words in (("user_nowhere:Lion", "No module named"), (f"{module}:Lyon", "'Lyon'")):
        with pytest.raises(StudyError, match=words) as caught:
            parse_study(STUDY.format(path=path, options="{}"))
        assert "[training] optimizer" in str(caught.value)
    assert module not in sys.modules


@pytest.mark.parametrize("name", ["Lion", "nadam", "asgd", "adamw"])
def test_its_state_goes_through_the_stages(
    name: str, module: str, tmp_path: Path, short_sequences: dict[str, Any]
) -> None:
    sequence = short_sequences["task"]
    net = net_for(sequence)
    path = f"{module}:{name}" if name == "Lion" else name
    training = config(path, batch_size=16, steps=4, reset=False)
    source = learn_source(net, sequence, training, 0)
    stage_cache.commit(tmp_path / "stages", "key", *stage_files.source_entry(source))
    entry = stage_cache.load(tmp_path / "stages", "key")
    read = stage_files.source_model(entry, torch.device("cpu"))
    assert source.optimiser.keys() == read.optimiser.keys() != set()
    found, expected = (finetune_source(net, sequence, training, 0, s) for s in (read, source))
    assert same(found.params, expected.params)
    fresh = finetune_source(net, sequence, training, 0, source._replace(optimiser={}))
    assert not same(found.params, fresh.params)
