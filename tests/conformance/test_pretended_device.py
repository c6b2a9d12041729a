"""A pretended GPU: good methods pass, and each fault is found with its line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from clsweep.conformance.conform import stays_on_pretended
from clsweep.conformance.pretended_device import CUDA, PretendedDevice
from clsweep.conformance.subjects import Subject, named, small_sequence
from clsweep.methods.base import Method
from clsweep.methods.entry import MethodEntry
from clsweep.methods.hypers import NoHyper
from tests.conformance.test_conform import broken
from tests.methods.cases import CASE_IDS, CASES, Case, marks_of
from tests.support.learners import Finetuning


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=marks_of(case))
        for case, name in zip(CASES, CASE_IDS, strict=True)
    ],
)
def test_all_methods_of_ours_stay_on_the_device(case: Case) -> None:
    subject = named(case.name).at(case.hyper)
    assert stays_on_pretended(subject, small_sequence(subject.entry.scenarios[0])) == ""


def _mixes(right: Any) -> Any:
    def loss(full: Any, memory: Any, batch: Any, task: int) -> Any:
        weight = torch.ones(len(batch.y))
        return right(full, memory, batch, task) + (batch.x.flatten(1).mean(1) * weight).mean()

    return loss


def _reads(right: Any) -> Any:
    def loss(full: Any, memory: Any, batch: Any, task: int) -> Any:
        found = right(full, memory, batch, task)
        return found if found.item() < 100 else found / 2

    return loss


def _masks(right: Any) -> Any:
    def loss(full: Any, memory: Any, batch: Any, task: int) -> Any:
        odd = batch.x[batch.y == 1]
        return right(full, memory, batch, task) + odd.sum() * 0

    return loss


def _absorbs_from_processor(right: Any) -> Any:
    def absorb(params: Any, memory: Any, statistics: Any, learnt: Any) -> Any:
        noise = {n: torch.zeros(v.shape) for n, v in params.items()}
        moved = {n: v + noise[n] for n, v in params.items()}
        return right(moved, memory, statistics, learnt)

    return absorb


@pytest.mark.parametrize(
    ("hook", "replaced", "said", "line"),
    [
        ("loss", _mixes, "mul mixes devices: a tensor of shape [16] is on the CPU", "* weight"),
        (
            "loss",
            _reads,
            "in every step loss of phase 'train' waits for the GPU: a value is read",
            ".item()",
        ),
        (
            "loss",
            _masks,
            "in every step loss of phase 'train' waits for the GPU: indexing with a mask",
            "batch.x[",
        ),
        ("absorb", _absorbs_from_processor, "add mixes devices: a tensor of shape", "v + noise"),
    ],
    ids=["mixes", "item", "mask", "absorb"],
)
def test_a_fault_is_told_with_its_line(
    hook: str, replaced: Callable[[Any], Any], said: str, line: str
) -> None:
    found = stays_on_pretended(broken(**{hook: replaced}), small_sequence("domain"))
    assert found.startswith(said)
    lines, first = inspect.getsourcelines(replaced)
    at = first + next(i for i, text in enumerate(lines) if line in text)
    assert f"({__file__}, line {at})" in found


def test_the_same_method_without_the_fault_passes() -> None:
    assert stays_on_pretended(broken(), small_sequence("domain")) == ""


class Mixing(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        logits: torch.Tensor = self.net(x + torch.zeros(x.shape), task)
        return logits


@pytest.mark.parametrize(("kind", "passes"), [(Finetuning, True), (Mixing, False)])
def test_a_learner_is_looked_at_too(kind: type[Finetuning], passes: bool) -> None:
    entry = MethodEntry("learner", NoHyper, starts_from_source=bool(kind.starts_from_source))
    subject = Subject(
        "learner", entry, NoHyper(), lambda net, hyper: Method(net, hyper, (), learner=kind)
    )
    found = stays_on_pretended(subject, small_sequence("domain"))
    assert (found == "") == passes
    assert passes or (found.startswith("add mixes devices") and __file__ in found)


def followed(function: Callable[[], Any]) -> tuple[Any, PretendedDevice]:
    device = PretendedDevice()
    return device.ran(function), device


def test_results_gradients_and_copies_are_where_a_gpu_has_them() -> None:
    def calls() -> list[bool]:
        x = torch.ones(3, device="cuda").requires_grad_()
        back = torch.ones(3, requires_grad=True)
        moved = back.to(x.device)
        grads = torch.autograd.grad((x * 2 * moved).sum(), [x, back])
        batched = torch.func.vmap(lambda row: row * x.sum())(x.expand(2, 3))
        return [
            x.device == CUDA and x.is_cuda and not x.is_cpu,
            not (x.cpu().is_cuda or back.is_cuda),
            grads[0].is_cuda and not grads[1].is_cuda,
            batched.is_cuda and batched[0].view(-1).is_cuda,
            torch.nn.functional.one_hot(torch.tensor([1], device=x.device), 3).is_cuda,
            not torch.zeros_like(x, device="cpu").is_cuda,
        ]

    found, device = followed(calls)
    assert found == [True] * 6
    assert not device.faults


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: x + torch.ones(3), "add mixes devices"),
        (lambda x: torch.zeros(()).add_(x.sum()), "add_ mixes devices"),
        (lambda x: torch.ones(3)[x.long()], "index mixes devices"),
        (lambda x: x.detach().numpy(), "numpy cannot read"),
        (lambda x: torch.rand(3, generator=torch.Generator(), device=x.device), "rand draws"),
        (lambda x: x.clone().normal_(generator=torch.Generator()), "normal_ draws"),
        (lambda x: x + torch.tensor(1.0), ""),
        (lambda x: torch.ones(3).copy_(x), ""),
        (lambda x: x[torch.tensor([0, 1])], ""),
        (lambda x: x.sum().item(), ""),  # outside of a step
    ],
)
def test_what_a_gpu_refuses(call: Callable[[torch.Tensor], Any], said: str) -> None:
    _, device = followed(lambda: call(torch.ones(3, device="cuda")))
    assert device.said().startswith(said)
    assert bool(device.said()) == bool(said)
