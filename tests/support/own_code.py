"""A package of a user's own for tests: methods that clsweep has never seen, outside of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# An L2 penalty whose pull towards the last optimum is bounded, with its numbers and its equation.
CLIPPED = '''\
"""L2 anchor with bounded pull.

    g_i + clip(λ (θ_i − θ*_i), −bound, bound)
"""

from clsweep.methods.base import Method, Phase
from clsweep.methods.entry import MethodEntry
from clsweep.methods.hyper_fields import Hyper as Numbers
from clsweep.methods.hyper_fields import fixed, knob
from clsweep.methods.parts.losses import task_loss
from my_pkg.bounds import bounded


class Hyper(Numbers):
    lam: float = knob(1.0, 1e-2, 1e2, log=True, doc="λ, weight of the pull")
    bound: float = fixed(1.0, doc="largest pull on a parameter", at_least=0)


ENTRY = MethodEntry("clipped L2", Hyper, "ours 2026", uses=("an anchor",))


def build(net, hyper):
    def begin(params):
        return {"star": {name: value.clone() for name, value in params.items()}}

    def loss(full, memory, batch, task):
        return task_loss(net, full, batch, task)

    def steer(grads, full, memory, batch, task):
        pull = {n: bounded(hyper.lam * (full[n] - memory["star"][n]), hyper.bound) for n in grads}
        return {name: grad + pull[name] for name, grad in grads.items()}

    def absorb(params, memory, statistics, learnt):
        return {"star": {name: value.clone() for name, value in params.items()}}

    return Method(net, hyper, (Phase("clipped", loss, steer=steer),), begin=begin, absorb=absorb)
'''
BOUNDS = """\
def bounded(pull, bound):
    return pull.clamp(-bound, bound)
"""


@contextmanager
def package(folder: Path, **modules: str) -> Iterator[Path]:
    """The package `my_pkg` in a folder that is on Python's path while the block lasts.

    Args:
        folder: an existing folder.
        modules: name -> source; `clipped` and `bounds` are there unless they are given.
    """
    home = folder / "my_pkg"
    home.mkdir(exist_ok=True)
    sources = {"__init__": "", "clipped": CLIPPED, "bounds": BOUNDS, **modules}
    for name, source in sources.items():
        (home / f"{name}.py").write_text(source, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield home
    finally:
        sys.path.remove(str(folder))
        forget()


def forget() -> None:
    """Have Python import the package anew, as another process would."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "my_pkg"]:
        del sys.modules[name]
