"""Every number of every method, declared once: search space, study-file check, column and docs.

Those of methods that regularise are in `regulariser_hypers`. Neither module imports torch or ray,
so that `clsweep methods`, `clsweep plan` and `clsweep init` answer at once on a login node. The
equations are in the module of each method.
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
    widths,
)
from clsweep.methods.shared_numbers import OF_NUMBERS, TWO_TASKS, WITHOUT_LAM, Form

# At a weight of zero a method is fine-tuning, bit for bit, whatever its other numbers are.
_WITHOUT_WEIGHT = {"weight": 0}


class NoHyper(Hyper):
    """A method without numbers of its own."""


class UntrainedHyper(Hyper):
    """Numbers of a method that computes its classifier and makes no gradient step."""

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        """No phases."""
        return ()


class NcmHyper(UntrainedHyper):
    """`ncm` has no numbers of its own."""


class SldaHyper(UntrainedHyper):
    """Numbers of `slda`."""

    shrinkage: float = nuisance(
        1e-4,
        1e-6,
        0.5,
        log=True,
        doc="ε in (0, 1], share of the identity in the covariance that is inverted",
        at_least=1e-12,
        at_most=1,
    )
    covariance: Literal["streaming", "exact"] = fixed(
        "streaming",
        doc="'streaming': updated example by example, each weighed by all that came before "
        "(paper); 'exact': the covariance within the classes of all that was seen, in whatever "
        "order",
    )


class RanpacHyper(UntrainedHyper):
    """Numbers of `ranpac`."""

    projection_size: int = fixed(
        2000, doc="M, dimensions of the random projection (published: 10000)", at_least=1
    )
    penalty_choice: Literal["held_out", "given"] = fixed(
        "held_out",
        doc="λ on every task: 'held_out' takes of 10⁻⁸, 10⁻⁷, ..., 10⁸ the one with the least "
        "squared error on a held-out fifth of its training examples (paper); 'given' takes "
        "`penalty`",
    )
    penalty: float = nuisance(
        1.0,
        1e-4,
        1e6,
        log=True,
        doc="λ, ridge penalty",
        at_least=1e-8,
        where={"penalty_choice": "given"},
    )


class LwfHyper(Hyper):
    """Numbers of `lwf`."""

    lam: float = knob(1.0, 1e-2, 1e2, log=True, doc="λ_o, weight of the distillation terms")
    temperature: float = nuisance(
        2.0,
        1.0,
        4.0,
        log=False,
        doc="T, temperature of both softmaxes",
        at_least=1e-3,
        unless=(WITHOUT_LAM, OF_NUMBERS),
    )
    t_squared: bool = fixed(
        False,
        doc="multiply the distillation by T² (Hinton), which LwF omits",
        unless=(WITHOUT_LAM, {"temperature": 1}, OF_NUMBERS),
    )
    weighting: Literal["sum", "average"] = fixed(
        "sum",
        doc="'sum': L + λ Σ KD over old heads; 'average': (L + λ k KD) / (1 + λ k), KD their mean "
        "and k the number of past tasks: 1 weighs all tasks alike (van de Ven)",
        unless=WITHOUT_LAM,
    )
    padded: bool = fixed(
        False,
        doc="distil over all classes seen, with the target 0 for the new ones, instead of the old "
        "classes alone",
        where={"benchmark.scenario": "class"},
        unless=WITHOUT_LAM,
    )
    per_output: bool = fixed(
        False,
        doc="divide the distillation by the number of outputs that it compares",
        unless=(WITHOUT_LAM, OF_NUMBERS),
    )


class InterpolateHyper(Hyper):
    """Numbers of `interpolate`."""

    beta: float = knob(
        0.5, 0, 1, log=False, at_most=1, stable="low", doc="β, tuned network's weight; ½: IMM"
    )

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        """Fine-tuning, and no step to mix."""
        return n_steps, 0


class ModeImmHyper(Hyper):
    """Numbers of `mode_imm`."""

    beta: float = knob(
        0.5, 0, 1, log=False, at_most=1, stable="low", doc="α of the new task, 1 − α of the old"
    )
    fisher: Literal["exact", "sampled", "empirical", "predicted", "batched"] = fixed(
        "exact", doc="estimator of the Fisher diagonal"
    )
    fisher_examples: int = fixed(
        0, doc="training examples the Fisher is estimated on; 0 for all", at_least=0
    )
    fisher_batch: int = fixed(
        128, doc="examples per squared gradient", at_least=1, where={"fisher": "batched"}
    )


class ResclHyper(Hyper):
    """Numbers of `rescl`."""

    lam: float = knob(
        1e-3, 1e-6, 1.0, log=True, doc="λ, decay of the coefficients: λ ‖(α_s, α_t)‖₁"
    )
    lam_unit: Literal["sum", "channel"] = fixed(
        "sum",
        doc="‖·‖₁ as the sum over all coefficients (paper), or as their mean",
        unless=WITHOUT_LAM,
    )
    form: Form = fixed(
        "gradient",
        doc="how the decay of α acts: 'gradient' by its subgradient, 'proximal' by "
        "soft-thresholding after the step, which gives exact zeros",
        unless=WITHOUT_LAM,
    )
    decay: float = fixed(1e-4, doc="λ_dec, weight of ½ ‖θ_t‖² in the combination", at_least=0)
    temperature: float = nuisance(
        2.0,
        1.0,
        4.0,
        log=False,
        doc="T, temperature of all softmaxes",
        at_least=1e-3,
        unless=OF_NUMBERS,
    )
    t_squared: bool = fixed(
        True,
        doc="multiply the distillations by T² (Hinton), which keeps the length of a step",
        unless=({"temperature": 1}, OF_NUMBERS),
    )
    statistics: Literal["target", "batch", "held"] = fixed(
        "target",
        doc="which batch norms of the combination train on the batch's statistics, to be set anew "
        "at the end: the 'target' network's, both networks' ('batch'), or none ('held')",
        unless=({"net.norm": ("none", "group")}, {"net.bn_mode": "frozen"}),
    )
    old_heads: Literal["frozen", "trained"] = fixed(
        "frozen",
        doc="whether the heads of old tasks are trained along",
        where={"benchmark.scenario": "task"},
    )

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        """Fine-tuning, then the combination."""
        return n_steps, n_steps


class ReplayHyper(Hyper):
    """Numbers of `replay`."""

    weight: float = knob(1.0, 0.1, 10.0, log=True, doc="λ, weight of the loss on stored examples")
    memory_size: int = knob(
        500, 50, 5000, log=True, doc="stored examples in all, over every task", at_least=1
    )
    replay_batch: int = fixed(
        0, doc="stored examples per step; 0 for as many as the training batch", at_least=0
    )
    fill: Literal["balanced", "reservoir", "ring", "loss_aware"] = fixed(
        "balanced",
        doc="'balanced': equal numbers per class, chosen at the end of each task; "
        "'reservoir': a uniform sample of the whole stream, updated at every step; 'ring': the "
        "newest examples of each task, a T-th of the memory each; 'loss_aware': a reservoir in "
        "which examples of small loss and frequent classes make room first",
    )
    average: bool = fixed(
        False,
        doc="divide the sum of both losses by 1 + λ, so that the step size does not grow",
        unless=_WITHOUT_WEIGHT,
    )
    first_task: FirstTask = fixed("shared", doc=FIRST_TASK_DOC)

    @property
    def learns_first_task(self) -> bool:
        """Whether the memory fills from the first step of the first task on."""
        return self.first_task == "own"


_FILL_DOC = (
    "how the memory is shared: 'balanced' equally among all classes of all past tasks, "
    "'uniform' equally among the tasks, examples of one drawn at random"
)


class AgemHyper(Hyper):
    """Numbers of `agem`."""

    reference_batch: int = knob(
        256, 16, 512, log=True, doc="stored examples per reference gradient", at_least=1
    )
    memory_size: int = knob(
        500, 50, 5000, log=True, doc="stored examples in all, or per task", at_least=1
    )
    per_task: bool = fixed(
        False, doc="memory_size counts the examples of one task (published)", unless=TWO_TASKS
    )
    fill: Literal["balanced", "uniform"] = fixed("balanced", doc=_FILL_DOC, unless=OF_NUMBERS)


class DgrHyper(Hyper):
    """Numbers of `dgr`."""

    weight: float = knob(
        1.0,
        0.1,
        10.0,
        log=True,
        doc="w in (L_new + w k L_replay) / (1 + w k), k the number of past tasks; "
        "1 weighs all tasks alike",
    )
    targets: Literal["hard", "soft"] = fixed(
        "soft",
        doc="labels of generated images: 'hard' classes, or 'soft' probabilities",
        unless=_WITHOUT_WEIGHT,
    )
    temperature: float = nuisance(
        2.0,
        1.0,
        4.0,
        log=False,
        doc="T, temperature of soft targets",
        at_least=1e-3,
        where={"targets": "soft"},
        unless=_WITHOUT_WEIGHT,
    )
    t_squared: bool = fixed(
        False,
        doc="multiply the distillation by T²",
        where={"targets": "soft"},
        unless=(_WITHOUT_WEIGHT, {"temperature": 1}),
    )
    per_output: bool = fixed(
        False,
        doc="divide the distillation by the number of outputs that it compares",
        where={"targets": "soft"},
        unless=_WITHOUT_WEIGHT,
    )
    replay_batch: int = fixed(
        0,
        doc="generated images per step; 0 for as many as the training batch",
        at_least=0,
        unless=_WITHOUT_WEIGHT,
    )
    generator_hidden: str = widths(
        "400-400", doc="units of the encoder's hidden layers; the decoder mirrors them"
    )
    latent: int = fixed(100, doc="dimensions of the generator's code z", at_least=1)

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        """The generator, then the solver."""
        return n_steps, n_steps

    def first_steps(self, n_steps: int) -> tuple[int, ...]:
        """The generator."""
        return (n_steps,)


class GemHyper(Hyper):
    """Numbers of `gem`."""

    margin: float = knob(
        0.5, 0.0, 1.0, log=False, doc="γ, least share of every past gradient in a projected step"
    )
    memory_size: int = knob(
        500, 50, 5000, log=True, doc="stored examples in all, or per task", at_least=1
    )
    per_task: bool = fixed(
        False, doc="memory_size counts the examples of one task (published)", unless=TWO_TASKS
    )
    fill: Literal["balanced", "uniform"] = fixed("balanced", doc=_FILL_DOC, unless=OF_NUMBERS)
    ridge: float = fixed(1e-3, doc="ε, added to the diagonal of MMᵀ", at_least=0)
    ridge_unit: Literal["trace", "absolute"] = fixed(
        "trace",
        doc="unit of ε: 'trace' for trace(MMᵀ)/t, 'absolute' for 1 (published)",
    )

    @property
    def revision(self) -> int:
        """1 with an absolute ridge: MMᵀ was once formed in float32 there."""
        return int(self.ridge_unit == "absolute")
