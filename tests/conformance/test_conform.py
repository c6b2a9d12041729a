"""Conformance: ours pass, and each way to break the contract is found by its check."""

from __future__ import annotations

import dataclasses
from itertools import takewhile
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsweep.cli.main import main
from clsweep.conformance import checks
from clsweep.conformance.conform import HOOK_CHECKS, Finding, conform, numbers_from
from clsweep.conformance.learner_checks import LEARNER_CHECKS
from clsweep.conformance.subjects import Subject, named, small_sequence
from clsweep.errors import StudyError
from clsweep.methods.base import Method
from clsweep.methods.entry import MethodEntry
from clsweep.methods.hyper_fields import Hyper, knob
from clsweep.methods.hypers import NoHyper
from clsweep.nets.net import Net
from tests.support.learners import Finetuning, FreshFinetuning, Replay


def failed(subject: Subject, table: dict[str, checks.Check]) -> dict[str, str]:
    sequence = small_sequence("domain")
    said = {name: check(subject, sequence) for name, check in table.items()}
    return {name: text for name, text in said.items() if text}


def test_a_method_of_ours_passes_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "l2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("l2: ")
    assert lines[-1].endswith(" passed, 0 failed")
    assert {line.split()[1] for line in lines if line.startswith("passes")} == {
        "task",
        "domain",
        "class",
    }
    assert sum("at zero it is fine-tuning" in line for line in lines) == 3
    assert any("another process gives the same numbers" in line for line in lines)
    device = "GPU" if torch.cuda.is_available() else "pretended GPU"
    assert any(f"on a {device} it stays there" in line for line in lines)


def test_numbers_are_read_and_refused() -> None:
    assert numbers_from("lam=0, form=proximal") == {"lam": "0", "form": "proximal"}
    assert numbers_from("") == {}
    with pytest.raises(StudyError, match="'lam' is no number"):
        numbers_from("lam")
    with pytest.raises(StudyError, match="'l2' has no number form = 'steep'"):
        named("l2").at({"form": "steep"})
    with pytest.raises(StudyError, match="'l2' has no number absent = 1"):
        next(conform("l2", {"absent": 1}))


class PullHyper(Hyper):
    """Of the methods below."""

    lam: float = knob(1.0, 1e-3, 1e3, log=True, doc="λ")


def broken(**hooks: Any) -> Subject:
    """The L2 anchor with some hooks replaced, each given the right one."""

    def make(net: Net, hyper: Hyper) -> Method:
        right = named("l2").method(net)
        found = {n: hook(getattr(right, n)) for n, hook in hooks.items() if hasattr(right, n)}
        phase = right.phases[0]
        of_phase = {n: hook(getattr(phase, n)) for n, hook in hooks.items() if n not in found}
        return dataclasses.replace(
            right, phases=(dataclasses.replace(phase, **of_phase),), **found
        )

    return Subject("broken", MethodEntry("broken", PullHyper), PullHyper(), make)


def _absorbs_in_place(right: Any) -> Any:
    def absorb(params: Any, memory: Any, statistics: Any, learnt: Any) -> Any:
        for value in memory["anchor"].star.values():
            value += 1
        return right(params, memory, statistics, learnt)

    return absorb


def _draws(right: Any) -> Any:
    def loss(full: Any, memory: Any, batch: Any, task: int) -> torch.Tensor:
        return right(full, memory, batch, task) * (1 + torch.rand(()) * 0.1)

    return loss


def _grows(right: Any) -> Any:
    def absorb(params: Any, memory: Any, statistics: Any, learnt: Any) -> Any:
        grown = right(params, memory, statistics, learnt)
        return {**grown, "more": torch.zeros(learnt.task.index + 1)}

    return absorb


def _forgets(right: Any) -> Any:
    return lambda params, memory, statistics, learnt: memory


def _depends(right: Any) -> Any:
    net = named("finetune").method  # only to name it

    def predict(params: Any, x: Any, task: int) -> torch.Tensor:
        h = x.flatten(1) - x.flatten(1).mean(0)
        return h[:, :2]

    assert net
    return predict


@pytest.mark.parametrize(
    ("hooks", "check", "said"),
    [
        (
            {"absorb": _absorbs_in_place},
            "no argument is modified, no number drawn",
            "absorb modifies its argument 2['anchor'].star",
        ),
        ({"loss": _draws}, "the same seed gives the same numbers", "two runs with the same seed"),
        (
            {"loss": _draws},
            "no argument is modified, no number drawn",
            "loss of phase 'train' draws from torch's global generator",
        ),
        ({"absorb": _grows}, "the memory keeps its structure", "after task 1 the memory is"),
        ({"absorb": _forgets}, "state is carried", "`absorb` leaves the memory as `begin`"),
        ({"predict": _depends}, "predictions do not depend on the batch", "logits of the same"),
        ({"pull": lambda right: None}, "it differs from fine-tuning", "its result is that of"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_what_breaks_the_contract_is_found(hooks: dict[str, Any], check: str, said: str) -> None:
    found = failed(broken(**hooks), {check: HOOK_CHECKS[check]})
    assert found.get(check, "").startswith(said)
    if "pull" not in hooks:  # and the right one passes the same check
        assert not failed(named("l2"), {check: HOOK_CHECKS[check]})


def test_zero_that_is_not_fine_tuning_is_found() -> None:
    sequence = small_sequence("task")
    assert checks.is_finetuning_at(named("l2"), sequence, {"lam": 0}, exact=True) == ""
    said = checks.is_finetuning_at(named("l2"), sequence, {"lam": 0.5})
    assert said.startswith("with lam = 0.5 it is not fine-tuning: ")


def _learner(kind: type, **numbers: Any) -> Subject:
    starts = bool(kind.starts_from_source)
    entry = MethodEntry(kind.__name__, numbers.pop("hyper", NoHyper), starts_from_source=starts)
    hyper = entry.hyper(**numbers)
    return Subject(
        kind.__name__, entry, hyper, lambda net, hyper: Method(net, hyper, (), learner=kind)
    )


class Talks(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        print("now", task)
        super().learn(task, batches)


class Leaves(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        next(batches)


class Averages(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        return self.net(x - x.mean(), task)


class Forgets(Finetuning):
    """Another result at every run of the process."""

    n_made = 0

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        type(self).n_made += 1

    def learn(self, task: int, batches: Any) -> None:
        super().learn(task, batches)
        with torch.no_grad():
            for value in self.net.parameters():
                value += self.n_made * 1e-3


class Pulls(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        optimiser = batches.optimiser(self.net.parameters())
        for batch in batches:
            optimiser.zero_grad()
            loss = F.cross_entropy(self.net(batch.x, task), batch.y)
            (loss + sum(v.square().sum() for v in self.net.parameters())).backward()
            optimiser.step()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Pulls, set()),
        (Finetuning, {"it differs from fine-tuning"}),
        (FreshFinetuning, {"it differs from fine-tuning"}),
        (Talks, {"nothing is printed", "it differs from fine-tuning"}),
        (Leaves, {"all batches are drawn"}),
        (Averages, {"predictions do not depend on the batch"}),
        (Forgets, {"the same seed gives the same numbers"}),
    ],
)
def test_what_a_learner_breaks_is_found(kind: type, expected: set[str]) -> None:
    assert set(failed(_learner(kind), LEARNER_CHECKS)) == expected


def test_replay_as_a_learner_passes() -> None:
    from clsweep.methods.hypers import ReplayHyper

    subject = _learner(Replay, hyper=ReplayHyper, memory_size=20)
    assert failed(subject, LEARNER_CHECKS) == {}


def test_what_many_checks_say_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "it broke\n  where: mine.py, line 3"
    found = [Finding("task", f"check {i}", i == 0, said * (i > 0)) for i in range(4)]
    found.insert(3, Finding("task", "other", False, "it differs"))
    monkeypatch.setattr("clsweep.conformance.conform.conform", lambda *given: found)
    assert main(["conform", "mine:build"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("it broke") for line in lines] == [0, 1, 0, 0, 0, 0, 1, 0]
    assert lines[3] == "FAILS     task    check 2: as above"
    assert lines[-2:] == ["in 3 of 5 checks: it broke", "mine:build: 1 check passed, 4 failed"]


def test_a_finding_says_why_something_was_left_out() -> None:
    of_task = list(takewhile(lambda one: one.scenario == "task", conform("finetune", zero={})))
    said = Finding("task", "at zero it is fine-tuning", None, "no numbers were given")
    assert of_task[-1] == said
    assert not any(one.check == "it differs from fine-tuning" for one in of_task)
