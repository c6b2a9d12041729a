"""Numbers of methods that keep examples, declared as those of `hypers.py`.

This module imports neither torch nor ray. The equations are in the module of each method.
"""

from __future__ import annotations

from typing import Literal

from clsweep.methods.hyper_fields import (
    FIRST_TASK_DOC,
    FirstTask,
    Hyper,
    fixed,
    knob,
    nuisance,
)
from clsweep.methods.shared_numbers import TWO_TASKS

_WITHOUT_WEIGHT = {"weight": 0}
_REPLAY_DOC = "stored examples per step and draw; 0 for as many as the training batch"
_OUTPUTS_DOC = (
    "outputs that are trained: 'all' of the benchmark, from the first task on that the method "
    "itself learns (published), or of the classes 'seen'"
)
_MEMORY_DOC = "stored examples in all, over every task"
Fill = Literal["reservoir", "balanced", "ring", "loss_aware"]
_FILL_DOC = (
    "'balanced': equal numbers per class, chosen at the end of each task; "
    "'reservoir': a uniform sample of the whole stream, updated at every step; "
    "'ring': the newest examples of each task, a T-th of the memory each; "
    "'loss_aware': a reservoir in which examples of small loss and frequent classes make room "
    "first"
)


class ReplayedHyper(Hyper):
    """Numbers of methods that train stored labels along."""

    weight: float = knob(1.0, 0.1, 10.0, log=True, doc="λ, weight of the loss on stored examples")
    memory_size: int = knob(500, 50, 5000, log=True, doc=_MEMORY_DOC, at_least=1)
    replay_batch: int = fixed(0, doc=_REPLAY_DOC, at_least=0)


class ErAceHyper(ReplayedHyper):
    """Numbers of `er_ace`."""

    fill: Fill = fixed("reservoir", doc=_FILL_DOC)
    first_task: FirstTask = fixed("shared", doc=FIRST_TASK_DOC)

    @property
    def learns_first_task(self) -> bool:
        """Whether the memory fills from the first step of the first task on."""
        return self.first_task == "own"


class GssHyper(ReplayedHyper):
    """Numbers of `gss`."""

    compared: int = fixed(
        10, doc="n, stored examples per step whose gradients are compared", at_least=1
    )
    average: bool = fixed(
        True,
        doc="divide the sum of both losses by 1 + λ, so that the step size does not grow "
        "(published)",
        unless=_WITHOUT_WEIGHT,
    )


_WITHOUT_ANCHORS = {"anchor_weight": 0}


class HalHyper(ReplayedHyper):
    """Numbers of `hal`."""

    weight: float = knob(
        1.0, 0.1, 10.0, log=True, doc="weight of the loss on stored examples beside the new ones"
    )
    anchor_weight: float = knob(
        0.1, 0.01, 10.0, log=True, doc="λ, weight of what a step changes in the outputs of anchors"
    )
    embedding_weight: float = nuisance(
        0.1,
        0.01,
        1.0,
        log=True,
        doc="γ, weight of the squared distance of an anchor's features from their mean",
        unless=_WITHOUT_ANCHORS,
    )
    decay: float = nuisance(
        0.5,
        0.1,
        0.9,
        log=False,
        at_most=1,
        doc="β, share that the mean of the features keeps in a step",
        unless=(
            _WITHOUT_ANCHORS,
            {"embedding_weight": 0},
            {**TWO_TASKS, "first_task": "shared"},
        ),
    )
    ascent_steps: int = fixed(
        100, doc="k, steps of ascent of an anchor", at_least=1, unless=_WITHOUT_ANCHORS
    )
    inner_lr: float = nuisance(
        0.1,
        1e-3,
        1.0,
        log=True,
        at_least=1e-9,
        doc="η, rate of the temporary step, of the copy's and of the ascent; that of training as "
        "published",
        unless=_WITHOUT_ANCHORS,
    )
    copy_steps: int = fixed(
        0,
        doc="steps of the copy on stored examples; 0 for one pass over all of them",
        at_least=0,
        unless=_WITHOUT_ANCHORS,
    )
    copy_batch: int = fixed(
        10, doc="stored examples per step of the copy", at_least=1, unless=_WITHOUT_ANCHORS
    )
    average: bool = fixed(
        True,
        doc="divide the sum of both losses by one and the weight of the stored ones, so that the "
        "step size does not grow (published)",
        unless=_WITHOUT_WEIGHT,
    )
    fill: Fill = fixed(
        "ring",
        doc=f"{_FILL_DOC} (published: 'ring')",
        unless={**_WITHOUT_ANCHORS, **_WITHOUT_WEIGHT},
    )
    first_task: FirstTask = fixed("shared", doc=FIRST_TASK_DOC)

    @property
    def learns_first_task(self) -> bool:
        """Whether the memory fills from the first step of the first task on."""
        return self.first_task == "own"


class DerHyper(Hyper):
    """Numbers of `der`."""

    weight: float = knob(
        0.5, 0.03, 10.0, log=True, doc="α, weight of the squared error of the stored outputs"
    )
    memory_size: int = knob(500, 50, 5000, log=True, doc=_MEMORY_DOC, at_least=1)
    replay_batch: int = fixed(0, doc=_REPLAY_DOC, at_least=0)
    fill: Fill = fixed("reservoir", doc=_FILL_DOC)
    recorded: Literal["trajectory", "task_end"] = fixed(
        "trajectory",
        doc="the outputs that are stored: 'trajectory' those at the step at which the example "
        "enters (published), 'task_end' those after its task",
        where={"fill": ("reservoir", "ring", "loss_aware")},
        unless=(_WITHOUT_WEIGHT, {**TWO_TASKS, "first_task": "shared"}),
    )
    outputs: Literal["all", "seen"] = fixed(
        "all", doc=_OUTPUTS_DOC, where={"benchmark.scenario": "class"}
    )
    first_task: FirstTask = fixed("shared", doc=FIRST_TASK_DOC)

    @property
    def learns_first_task(self) -> bool:
        """Whether the memory fills from the first step of the first task on."""
        return self.first_task == "own"


class DerppHyper(DerHyper):
    """Numbers of `derpp`."""

    label_weight: float = nuisance(
        0.5, 0.03, 10.0, log=True, doc="β, weight of the cross-entropy of stored labels"
    )


class FdrHyper(Hyper):
    """Numbers of `fdr`."""

    weight: float = knob(
        1.0, 0.03, 30.0, log=True, doc="α, weight of the distance of stored class probabilities"
    )
    memory_size: int = knob(500, 50, 5000, log=True, doc=_MEMORY_DOC, at_least=1)
    replay_batch: int = fixed(0, doc=_REPLAY_DOC, at_least=0)
    step: Literal["sum", "alternating"] = fixed(
        "sum",
        doc="'sum' descends both terms at once, 'alternating' the distance where the step down "
        "the new task's loss has led (Mammoth's code, at α = 1)",
        unless=_WITHOUT_WEIGHT,
    )
    outputs: Literal["all", "seen"] = fixed(
        "all", doc=_OUTPUTS_DOC, where={"benchmark.scenario": "class"}
    )


class GdumbHyper(Hyper):
    """Numbers of `gdumb`."""

    memory_size: int = knob(500, 50, 1000, log=True, doc=_MEMORY_DOC, at_least=1)


class IcarlHyper(Hyper):
    """Numbers of `icarl`."""

    memory_size: int = knob(
        500, 50, 1000, log=True, doc="K, exemplars in all, over every class", at_least=1
    )


class BicHyper(Hyper):
    """Numbers of `bic`."""

    memory_size: int = knob(
        500,
        50,
        1000,
        log=True,
        doc="stored examples in all, a tenth held out",
        at_least=1,
    )
    temperature: float = nuisance(
        2.0, 1.0, 5.0, log=True, doc="T of the distillation", at_least=1e-6
    )
    correction_ridge: float = nuisance(
        1e-3, 1e-5, 1e-1, log=True, doc="ε, pull of (α, β) towards (1, 0)", at_least=1e-9
    )


class MirHyper(Hyper):
    """Numbers of `mir`."""

    weight: float = knob(1.0, 0.1, 10.0, log=True, doc="λ, weight of the loss on stored examples")
    memory_size: int = knob(500, 50, 5000, log=True, doc=_MEMORY_DOC, at_least=1)
    replay_batch: int = fixed(
        0,
        doc="k, stored examples that are replayed per step; 0 for as many as the training batch",
        at_least=0,
        unless=_WITHOUT_WEIGHT,
    )
    candidates: int = fixed(
        50,
        doc="C, stored examples of which those are chosen",
        at_least=1,
        unless=_WITHOUT_WEIGHT,
    )
    virtual_lr: float = nuisance(
        0.1,
        1e-3,
        1.0,
        log=True,
        doc="η_v, rate of the step that is looked ahead; that of training as published",
        unless=_WITHOUT_WEIGHT,
    )
    fill: Fill = fixed("reservoir", doc=_FILL_DOC, unless=_WITHOUT_WEIGHT)


class MerHyper(Hyper):
    """Numbers of `mer`."""

    gamma: float = knob(
        1.0,
        0.03,
        1.0,
        log=True,
        at_most=1,
        stable="low",
        doc="γ, share of the way that all batches of a step have led",
    )
    memory_size: int = knob(500, 50, 5000, log=True, doc=_MEMORY_DOC, at_least=1)
    beta: float = nuisance(
        0.03,
        0.01,
        1.0,
        log=True,
        at_most=1,
        doc="β, share of the way that one batch has led",
        unless={"gamma": 0},
    )
    n_batches: int = fixed(
        10, doc="s, batches per step", at_least=1, unless=({"gamma": 0}, {"beta": 0})
    )
    replay_batch: int = fixed(
        10,
        doc="k − 1, stored examples per batch",
        at_least=0,
        unless=({"gamma": 0}, {"beta": 0}),
    )
    inner: Literal["example", "batch"] = fixed(
        "example",
        doc="an inner step takes one 'example' after the other (published), or the whole 'batch' "
        "(Mammoth's code)",
        unless=({"gamma": 0}, {"beta": 0}),
    )
    inner_lr: float = nuisance(
        0.1,
        1e-3,
        1.0,
        log=True,
        at_least=1e-9,
        doc="α, rate of the inner steps; that of training as published",
        unless=({"gamma": 0}, {"beta": 0}),
    )
    fill: Fill = fixed("reservoir", doc=_FILL_DOC, unless=({"gamma": 0}, {"beta": 0}))
    first_task: FirstTask = fixed("shared", doc=FIRST_TASK_DOC)

    @property
    def learns_first_task(self) -> bool:
        """Whether the memory fills from the first step of the first task on."""
        return self.first_task == "own"
