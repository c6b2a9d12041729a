"""The files of a new method of the user's own: a module that works, its test, a study with it."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path

from clsweep.errors import StudyError
from clsweep.methods import METHODS

_METHOD = '''\
"""TITLE: what it does to keep earlier tasks, in a sentence.

    L_t(θ) + (λ/2) Σ_i (θ_i − θ*_i)²,   θ* the network after the previous task

Write the method's equations here, in the paper's notation. `clsweep conform NAME:build` says
whether it keeps the contract of methods.
"""

from __future__ import annotations

from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hyper_fields import Hyper as Numbers
from clsweep.methods.hyper_fields import knob
from clsweep.methods.parts.losses import label_loss
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params


class Hyper(Numbers):
    """Its numbers: each is an axis of the grid, a range of a search, a column of the tables."""

    lam: float = knob(1.0, 1e-3, 1e3, log=True, doc="λ, weight of the penalty (λ/2) Σ (θ−θ*)²")


def build(net: Net, hyper: Hyper) -> Method:
    """Hooks are pure functions: they modify no argument and draw no random number."""

    def begin(params: Params) -> Memory:
        return {"star": shared(params)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        new = label_loss(net.apply(full, batch.x, task), batch)
        if hyper.lam == 0:
            return new
        apart = [(full[name] - star).square().sum() for name, star in memory["star"].items()]
        return new + hyper.lam / 2 * sum(apart)

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {"star": shared(params)}

    return Method(net, hyper, (Phase("train", loss),), begin=begin, absorb=absorb)
'''
_LEARNER = '''\
"""TITLE: what it does to keep earlier tasks, in a sentence.

    L_t(θ) + (λ/2) Σ_i (θ_i − θ*_i)²,   θ* the network after the previous task

Write the method's equations here, in the paper's notation. `clsweep conform NAME:Learner` says
whether it keeps the contract of learners.
"""

from __future__ import annotations

from torch import Tensor

from clsweep.methods.hyper_fields import Hyper as Numbers
from clsweep.methods.hyper_fields import knob
from clsweep.methods.parts.losses import label_loss
from clsweep.training.imperative_learner import Batches, ImperativeLearner, TrainingExamples


class Hyper(Numbers):
    """Its numbers: each is an axis of the grid, a range of a search, a column of the tables."""

    lam: float = knob(1.0, 1e-3, 1e3, log=True, doc="λ, weight of the penalty (λ/2) Σ (θ−θ*)²")


class Learner(ImperativeLearner):
    """Any training code: `self.net` is an nn.Module, trained in place."""

    starts_from_source = True  # self.net has then learnt the first task
    star: dict[str, Tensor] = {}

    def learn(self, task: int, batches: Batches) -> None:
        optimiser = batches.optimiser(self.net.parameters())  # as [training] of the study has it
        for batch in batches:
            loss = label_loss(self.net(batch.x, task), batch)
            if self.hyper.lam:
                now = dict(self.net.named_parameters())
                apart = [(now[name] - star).square().sum() for name, star in self.star.items()]
                loss = loss + self.hyper.lam / 2 * sum(apart)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def absorb(self, task: int, examples: TrainingExamples) -> None:
        self.star = {
            name: value.detach().clone()
            for name, value in self.net.named_parameters()
            if not name.startswith("heads.")
        }

    def predict(self, x: Tensor, task: int) -> Tensor:
        return self.net(x, task)

    def bytes(self) -> int:
        return sum(value.numel() * value.element_size() for value in self.star.values())
'''
_TEST = '''\
"""Whether NAME keeps the contract of WHAT, and what is known of its results."""

from clsweep.conformance.conform import conform


def test_it_conforms():
    broken = [one for one in conform("PATH") if one.passed is False]
    assert [f"{one.scenario}, {one.check}: {one.said}" for one in broken] == []
'''
_STUDY = """\
# NAME beside two references and a method of clsweep's. Run it where NAME.py lies:
#     PYTHONPATH=. clsweep run NAME.toml && clsweep report results/NAME
name = "NAME"
seeds = [0, 1, 2]

[benchmark]
name = "split"
dataset = "digits"
n_tasks = 2
scenario = "task"

[net]
name = "mlp"
hidden = [32]

[training]
lr = 0.1
epochs = 5

[[methods]]
name = "finetune"

[[methods]]
name = "joint"

[[methods]]
name = "l2"
lam = { low = 0.01, high = 1, n = 3 }

[[methods]]
name = "custom"
KIND = "PATH"
label = "NAME"
lam = { low = 0.01, high = 1, n = 3 }
"""


def new_method_files(name: str, *, learner: bool) -> dict[str, str]:
    """File name -> text.

    Args:
        name: of the module, and of the study.
        learner: whether it is a class with training code of its own, instead of hooks.

    Raises:
        StudyError: no module can have that name, or something else has it.
    """
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise StudyError(
            f"'{name}' cannot be the name of a module",
            expected="letters, digits and _, such as clipped_ewc",
            where="clsweep new method NAME",
        )
    if taken := _whose(name):
        raise StudyError(
            f"'{name}' is the name of {taken}",
            expected="a name that nothing else has: Python would find one of the two alone",
            where="clsweep new method NAME",
            next_step=f"`clsweep new method my_{name}`",
        )
    path = f"{name}:{'Learner' if learner else 'build'}"
    words = {
        "TITLE": name.replace("_", " ").capitalize(),
        "NAME": name,
        "PATH": path,
        "KIND": "learner" if learner else "method",
        "WHAT": "learners" if learner else "methods",
    }
    texts = {
        f"{name}.py": _LEARNER if learner else _METHOD,
        f"test_{name}.py": _TEST,
        f"{name}.toml": _STUDY,
    }
    placeholder = re.compile(rf"\b({'|'.join(words)})\b")  # whole words: PYTHONPATH is none
    return {
        file: placeholder.sub(lambda found: words[found[0]], text) for file, text in texts.items()
    }


def _whose(name: str) -> str:
    """What has the name of a module already, outside of the current folder; '' for nothing."""
    if name in METHODS:
        return "a method of clsweep's"
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return "a module of Python's"
    if name.startswith("__"):
        return "something of Python's"
    spec = importlib.util.find_spec(name)
    places = [*(spec.submodule_search_locations or [spec.origin or ""])] if spec else []
    here = Path.cwd().resolve()
    outside = [place for place in places if Path(place).resolve().parent != here]
    return f"an installed package, {outside[0]}" if outside else ""


def write_new_method(folder: Path, name: str, *, learner: bool) -> list[Path]:
    """Write the files where none of them exists.

    Args:
        folder: where to.
        name: see `new_method_files`.
        learner: see there.

    Raises:
        StudyError: one exists, or cannot be written.
    """
    texts = new_method_files(name, learner=learner)
    paths = [folder / file for file in texts]
    taken = [path for path in paths if path.exists()]
    if taken:
        raise StudyError(
            f"{taken[0]} exists",
            expected="a name of which there are no files yet",
            next_step="choose another name, or move the file away",
        )
    try:
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(
            f"{error.filename} cannot be written: {error.strerror}", where=str(folder)
        ) from error
    return paths
