"""Plugins of Avalanche as learners, `clsweep.bridges.avalanche:Strategy`.

    [[methods]]
    name = "custom"
    learner = "clsweep.bridges.avalanche:Strategy"
    plugin = "EWCPlugin"
    ewc_lambda = [1, 10, 100]

The plugin is Avalanche's own code, in Avalanche's own training loop (Lomonaco et al. 2021,
"Avalanche: an end-to-end library for continual learning", CVPR Workshops). What is ours: the
network with its source model, the batches of new examples in their order and views, the optimiser
of the study, evaluation and early stopping. docs/avalanche.md says what differs from our methods.

Avalanche itself is imported when a trial starts: `pip install clsweep[avalanche]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from clsweep.errors import MethodError
from clsweep.methods.entry import MethodEntry
from clsweep.methods.hyper_fields import Hyper as Numbers
from clsweep.methods.hyper_fields import fixed, knob
from clsweep.number_conditions import conditions
from clsweep.training.imperative_learner import Batches, ImperativeLearner, TrainingExamples
from clsweep.training.reachable_tensors import reachable

if TYPE_CHECKING:
    import torch

    from clsweep.nets.net_module import NetModule

Plugin = Literal[
    "EWCPlugin",
    "SynapticIntelligencePlugin",
    "LwFPlugin",
    "MASPlugin",
    "GEMPlugin",
    "AGEMPlugin",
    "ReplayPlugin",
]
# The numbers that go to each plugin: ours -> Avalanche's.
_GIVEN: dict[str, dict[str, str]] = {
    "EWCPlugin": {"ewc_lambda": "ewc_lambda", "mode": "mode"},
    "SynapticIntelligencePlugin": {"si_lambda": "si_lambda", "eps": "eps"},
    "LwFPlugin": {"alpha": "alpha", "temperature": "temperature"},
    "MASPlugin": {"lambda_reg": "lambda_reg", "mas_alpha": "alpha"},
    "GEMPlugin": {
        "patterns_per_experience": "patterns_per_experience",
        "memory_strength": "memory_strength",
    },
    "AGEMPlugin": {
        "patterns_per_experience": "patterns_per_experience",
        "sample_size": "sample_size",
    },
    "ReplayPlugin": {"mem_size": "mem_size", "batch_size_mem": "batch_size_mem"},
}
_STORES_EXAMPLES = ("GEMPlugin", "AGEMPlugin", "ReplayPlugin")


def _of(plugin: str | tuple[str, ...], declared: Any) -> Any:
    """A number that acts under some plugins only."""
    declared.json_schema_extra |= conditions(where={"plugin": plugin})
    return declared


class Hyper(Numbers):
    """The plugin, and the numbers of each under Avalanche's names."""

    plugin: Plugin = fixed("EWCPlugin", doc="the plugin's class in avalanche.training.plugins")
    ewc_lambda: float = _of(
        "EWCPlugin",
        knob(1.0, 1e-2, 1e8, log=True, doc="λ, weight of the penalty λ Σ F (θ−θ*)², without ½"),
    )
    mode: Literal["separate", "online"] = _of(
        "EWCPlugin", fixed("separate", doc="one penalty per task, or their decayed sum")
    )
    decay_factor: float = fixed(
        1.0,
        doc="decay of old importances",
        at_least=1e-9,
        where={"plugin": "EWCPlugin", "mode": "online"},
    )
    si_lambda: float = _of(
        "SynapticIntelligencePlugin",
        knob(1.0, 1e-2, 1e6, log=True, doc="λ, weight of the penalty (λ/2) Σ Ω (θ−θ*)²"),
    )
    eps: float = _of(
        "SynapticIntelligencePlugin",
        fixed(1e-7, doc="damping of the division by the squared displacement", at_least=1e-12),
    )
    mended: bool = _of(
        "SynapticIntelligencePlugin",
        fixed(
            False,
            doc="keep copies of the weights where the plugin keeps views of them, which on a "
            "processor leaves every path integral at zero",
        ),
    )
    alpha: float = _of(
        "LwFPlugin", knob(1.0, 1e-2, 1e2, log=True, doc="weight of the distillation")
    )
    temperature: float = _of(
        "LwFPlugin", fixed(2.0, doc="T of both softmaxes, without T²", at_least=1e-3)
    )
    lambda_reg: float = _of(
        "MASPlugin", knob(1.0, 1e-3, 1e5, log=True, doc="λ, weight of the penalty λ Σ Ω (θ−θ*)²")
    )
    mas_alpha: float = _of(
        "MASPlugin", fixed(0.5, doc="share of the old importances in the new ones", at_least=0)
    )
    memory_strength: float = _of(
        "GEMPlugin", knob(0.5, 0.0, 1.0, log=False, doc="γ, as in the paper's code")
    )
    patterns_per_experience: int = _of(
        ("GEMPlugin", "AGEMPlugin"),
        knob(250, 25, 2500, log=True, doc="stored examples per task", at_least=1),
    )
    sample_size: int = _of(
        "AGEMPlugin",
        knob(256, 16, 512, log=True, doc="stored examples per reference gradient", at_least=1),
    )
    mem_size: int = _of(
        "ReplayPlugin", knob(500, 50, 5000, log=True, doc="stored examples in all", at_least=1)
    )
    batch_size_mem: int = _of(
        "ReplayPlugin",
        fixed(0, doc="stored examples per step; 0 for as many as the batch", at_least=0),
    )

    def given(self) -> dict[str, Any]:
        """The arguments of the plugin's class."""
        found = {theirs: getattr(self, ours) for ours, theirs in _GIVEN[self.plugin].items()}
        if self.plugin == "EWCPlugin" and self.mode == "online":
            found["decay_factor"] = self.decay_factor
        if self.plugin == "ReplayPlugin" and not self.batch_size_mem:
            found["batch_size_mem"] = None
        return found


class Strategy(ImperativeLearner):
    """A strategy with one plugin, which starts from the shared source model.

    The plugin is told of the first task without training on it. That is all that is needed but by
    SI, whose path integral belongs to the training; it takes `FreshStrategy`.
    """

    entry = MethodEntry(
        "Avalanche",
        Hyper,
        "Lomonaco et al. 2021, CVPR Workshops",
        starts_from_source=True,
        takes_batch_norm=False,
    )
    hyper: Hyper

    def __init__(
        self, net: NetModule, hyper: Hyper, device: torch.device, rng: torch.Generator
    ) -> None:
        """Make the strategy; see `ImperativeLearner` for the arguments.

        Raises:
            MethodError: Avalanche is not installed, or the plugin cannot start here.
        """
        super().__init__(net, hyper, device, rng)
        if hyper.plugin == "SynapticIntelligencePlugin" and self.entry.starts_from_source:
            raise MethodError(
                "SynapticIntelligencePlugin integrates along the training of the first task, "
                "which a strategy that starts from the source model does not make",
                where="[[methods]] learner",
                next_step='write learner = "clsweep.bridges.avalanche:FreshStrategy"',
            )
        try:
            from clsweep.bridges.avalanche_training import Training
        except ImportError as error:
            raise MethodError(
                f"Avalanche cannot be imported: {error}",
                where="[[methods]] learner",
                next_step="pip install clsweep[avalanche]",
            ) from error
        self._training = Training(net, hyper.plugin, hyper.given(), device, mended=hyper.mended)

    def learn(self, task: int, batches: Batches) -> None:
        """Avalanche's training on a task, with our batches."""
        self._training.train(task, batches.examples, batches)

    def absorb(self, task: int, examples: TrainingExamples) -> None:
        """Tell the plugin of the first task where the source model has learnt it."""
        if task == 0 and self.entry.starts_from_source:
            self._training.train(task, examples, None)

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Logits of the network."""
        found: Tensor = self.net(x, task)
        return found

    def bytes(self) -> Mapping[str, int]:
        """What the plugin's attributes hold; examples as inputs, four bytes per value."""
        kinds = {"data": 0, "importances": 0, "models": 0}
        for found in reachable(self, self.net):
            path = found.path
            is_importance = "importance" in path or ".ewc_data[1]" in path or "syn_data" in path
            kind = "importances" if is_importance else "models"
            kinds["data" if self.hyper.plugin in _STORES_EXAMPLES else kind] += found.n_bytes
        return kinds


class FreshStrategy(Strategy):
    """The same from the initial weights of the seed, with the first task learnt in each trial."""

    entry = MethodEntry(
        "Avalanche (own start)",
        Hyper,
        "Lomonaco et al. 2021, CVPR Workshops",
        starts_from_source=False,
        own_start="network",
        takes_batch_norm=False,
    )
