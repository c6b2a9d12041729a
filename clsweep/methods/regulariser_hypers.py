"""Numbers of the methods that regularise: declared as in `hypers`, and without torch or ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from clsweep.methods.hyper_fields import Hyper, among_or_own, estimator, fixed, knob, nuisance
from clsweep.methods.shared_numbers import TWO_TASKS, WITHOUT_LAM, Form

FISHERS = (
    *("exact", "sampled", "empirical", "predicted", "label_weighted", "batched"),
    *("reversed", "kfac"),
)
# Those that are defined for a regression's Gaussian likelihood.
GAUSSIAN_FISHERS = ("exact", "sampled", "empirical", "batched")
OMEGAS = ("squared_norm", "batched")
FORM_DOC = (
    "how the quadratic penalty acts: 'gradient' adds its gradient before the optimiser's step, "
    "'proximal' solves for it after the step and never diverges"
)

_WITHOUT_C = {"c": 0}
_WITHOUT_RATE = {"rate": 0}


class PenaltyHyper(Hyper):
    """Numbers of a method whose penalty is quadratic, ½ w Σ ω (θ−θ*)², in one of two forms.

    Attributes:
        smallest_peak: what the largest ω is at least, whatever the data; 0 where they decide.
    """

    smallest_peak: ClassVar[float] = 0.0
    if TYPE_CHECKING:  # a field here would come before the others, in every table and file
        form: Form

    @property
    def penalty_weight(self) -> float:
        """w; the gradient form adds w ω (θ−θ*) to the gradient."""
        raise NotImplementedError

    @property
    def statistics_are_omega(self) -> bool:
        """Whether what is measured of a task is its ω as it stands."""
        return True


class L2Hyper(PenaltyHyper):
    """Numbers of `l2`."""

    smallest_peak: ClassVar[float] = 1.0  # every ω is 1

    lam: float = knob(1.0, 1e-4, 1e4, log=True, doc="λ, weight of the penalty (λ/2) Σ (θ−θ*)²")
    form: Form = fixed("gradient", doc=FORM_DOC, unless=WITHOUT_LAM)

    @property
    def penalty_weight(self) -> float:
        """Of (λ/2) Σ (θ−θ*)²: λ."""
        return self.lam


class EwcHyper(PenaltyHyper):
    """Numbers of `ewc`."""

    lam: float = knob(1e3, 1e0, 1e10, log=True, doc="λ, weight of the penalty (λ/2) Σ F (θ−θ*)²")
    anchor: Literal["separate", "online"] = fixed(
        "separate",
        doc="'separate': one anchor per task (Kirkpatrick); "
        "'online': the latest optimum only (Huszár; Schwarz)",
        unless=WITHOUT_LAM,
    )
    gamma: float = fixed(
        1.0,
        doc="γ in (0, 1], decay of old importances",
        at_least=1e-9,
        where={"anchor": "online"},
        unless=WITHOUT_LAM,
    )
    fisher: Annotated[str, among_or_own(FISHERS)] = estimator(
        "exact",
        FISHERS,
        doc="estimator of the Fisher diagonal, or 'kfac' for Kronecker factors of each layer's "
        "Fisher",
        unless=WITHOUT_LAM,
    )
    fisher_examples: int = fixed(
        0,
        doc="training examples the Fisher is estimated on; 0 for all",
        at_least=0,
        unless=WITHOUT_LAM,
    )
    fisher_batch: int = fixed(
        128,
        doc="examples per squared gradient",
        at_least=1,
        where={"fisher": "batched"},
        unless=WITHOUT_LAM,
    )
    normalise: Literal["none", "norm", "max"] = fixed(
        "none",
        doc="what every task's Fisher is divided by, so that tasks count alike: 'norm', its "
        "Frobenius norm over the whole network, or 'max', its largest entry (Schwarz)",
        unless=(WITHOUT_LAM, {"fisher": "kfac"}),
    )
    form: Form = fixed("gradient", doc=FORM_DOC, unless=(WITHOUT_LAM, {"fisher": "kfac"}))

    @property
    def penalty_weight(self) -> float:
        """Of (λ/2) Σ F (θ−θ*)²: λ; with online anchors λγ, as (λ/2) γ Σ F̃ (θ−θ*)² has it."""
        return self.lam * self.gamma if self.anchor == "online" else self.lam

    @property
    def statistics_are_omega(self) -> bool:
        """Not of Kronecker factors, and not before they are normalised."""
        return self.fisher != "kfac" and self.normalise == "none"


class MasHyper(PenaltyHyper):
    """Numbers of `mas`."""

    lam: float = knob(1.0, 1e-3, 1e5, log=True, doc="λ, weight of the penalty λ Σ Ω (θ−θ*)²")
    omega: Annotated[str, among_or_own(OMEGAS)] = estimator(
        "squared_norm",
        OMEGAS,
        doc="estimator of Ω: 'squared_norm' as in the paper's equation, 'batched' as in the "
        "authors' code, the absolute value of a whole batch's gradient",
        unless=WITHOUT_LAM,
    )
    omega_examples: int = fixed(
        0,
        doc="training examples that Ω is estimated on; 0 for all",
        at_least=0,
        unless=WITHOUT_LAM,
    )
    omega_batch: int = fixed(
        20,
        doc="examples per gradient whose absolute value is taken",
        at_least=1,
        where={"omega": "batched"},
        unless=WITHOUT_LAM,
    )
    accumulation: Literal["sum", "latest"] = fixed(
        "sum",
        doc="Ω of all past tasks: their 'sum', or that of the 'latest' alone",
        unless=(WITHOUT_LAM, TWO_TASKS),
    )
    form: Form = fixed("gradient", doc=FORM_DOC, unless=WITHOUT_LAM)

    @property
    def penalty_weight(self) -> float:
        """Of λ Σ Ω (θ−θ*)², without a ½: 2λ."""
        return 2 * self.lam


class SiHyper(PenaltyHyper):
    """Numbers of `si`."""

    c: float = knob(0.1, 1e-3, 1e5, log=True, doc="c, weight of the surrogate loss c Σ Ω (θ−θ*)²")
    xi: float = fixed(
        0.1,
        doc="ξ, damping of the division by the squared displacement",
        at_least=1e-12,
        unless=_WITHOUT_C,
    )
    path_gradient: Literal["task", "total"] = fixed(
        "task",
        doc="gradient in the path integral: of the task's loss (paper) or of loss plus penalty",
        # The proximal form adds no gradient. What is recorded on the last task serves no other,
        # but decides, in the gradient form, how a step is rounded.
        unless=(
            _WITHOUT_C,
            {"form": "proximal", "training.clip_value": 0, "training.clip_norm": 0},
            {"form": "proximal", **TWO_TASKS},
        ),
    )
    form: Form = fixed("gradient", doc=FORM_DOC, unless=_WITHOUT_C)

    @property
    def penalty_weight(self) -> float:
        """Of c Σ Ω (θ−θ*)², without a ½: 2c."""
        return 2 * self.c


class RwalkHyper(PenaltyHyper):
    """Numbers of `rwalk`."""

    smallest_peak: ClassVar[float] = 1.0  # F̂ and ŝ are scaled so that their largest value is 1

    lam: float = knob(1.0, 1e-3, 1e5, log=True, doc="λ, weight of the penalty λ Σ (F̂ + ŝ)(θ−θ*)²")
    fisher_decay: float = fixed(
        0.9,
        doc="α in (0, 1], share of the newest interval in the running Fisher",
        at_least=1e-9,
        at_most=1,
        unless=WITHOUT_LAM,
    )
    interval: int = fixed(
        10, doc="Δt, steps between two updates of Fisher and score", at_least=1, unless=WITHOUT_LAM
    )
    damping: float = fixed(
        1e-3,
        doc="ε, added to the distance that the score divides by",
        at_least=1e-12,
        unless=WITHOUT_LAM,
    )
    form: Form = fixed("gradient", doc=FORM_DOC, unless=WITHOUT_LAM)

    @property
    def penalty_weight(self) -> float:
        """Of λ Σ (F̂ + ŝ) (θ−θ*)², without a ½: 2λ."""
        return 2 * self.lam


class L2initHyper(PenaltyHyper):
    """Numbers of `l2init`."""

    smallest_peak: ClassVar[float] = 1.0  # every ω is 1

    lam: float = knob(
        1e-2, 1e-5, 1e2, log=True, stable="low", doc="λ, weight of the penalty λ Σ (θ−θ₀)²"
    )
    form: Form = fixed("gradient", doc=FORM_DOC, unless=WITHOUT_LAM)

    @property
    def penalty_weight(self) -> float:
        """Of λ Σ (θ−θ₀)², without a ½: 2λ."""
        return 2 * self.lam


class ShrinkPerturbHyper(Hyper):
    """Numbers of `shrink_perturb`."""

    shrink: float = knob(
        0.6, 0, 1, log=False, at_most=1, doc="λ, what every weight is multiplied by before a task"
    )
    noise: float = nuisance(
        0.01, 1e-4, 0.1, log=True, doc="σ, standard deviation of what is then added"
    )


class CbpHyper(Hyper):
    """Numbers of `cbp`."""

    rate: float = knob(
        1e-4,
        1e-6,
        1e-2,
        log=True,
        at_most=1,
        stable="low",
        doc="ρ, share of the mature units of a layer that a step starts anew",
    )
    decay: float = fixed(
        0.99,
        doc="η in [0, 1), weight of the past in utility and mean",
        at_least=0,
        at_most=0.999999,
        unless=_WITHOUT_RATE,
    )
    maturity: int = fixed(
        100, doc="m, steps before a unit may be replaced", at_least=0, unless=_WITHOUT_RATE
    )


class VclHyper(Hyper):
    """Numbers of `vcl`."""

    beta: float = knob(
        1.0,
        1e-3,
        1e3,
        log=True,
        doc="β, weight of the divergence from the last posterior (published: 1)",
    )
    initial_variance: float = fixed(
        0.0025, doc="σ² of every weight before the first task, and of a new head", at_least=1e-12
    )
    prior_variance: float = fixed(
        1.0, doc="σ₀² of the prior N(0, σ₀²) of the first task, and of a new head", at_least=1e-9
    )
    n_networks: int = fixed(
        10,
        doc="networks drawn for a prediction (published: 100); 0 for the mean of the posterior",
        at_least=0,
    )

    def first_steps(self, n_steps: int) -> tuple[int, ...]:
        """The posterior of the first task, from the source model on."""
        return (n_steps,)
