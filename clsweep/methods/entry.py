"""What is known about a method without running it: ours in a table, others beside their code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clsweep.methods.hyper_fields import Hyper

Kind = Literal["method", "learner"]
ALL_SCENARIOS: tuple[str, ...] = ("task", "domain", "class")


@dataclass(frozen=True)
class MethodEntry:
    """What is known about a method without importing torch.

    Attributes:
        title: its name as people write it.
        hyper: the declaration of its numbers.
        citation: the paper, in one line; '' for none.
        family: by what it keeps earlier tasks, in a word or two; '' where that is not known.
        version: raised whenever its numbers change, so that stored trials are not mixed.
        uses: what it needs beyond the previous network and the current task's data.
        scenarios: the scenarios it is defined for.
        scenario_note: why for no others, as half a sentence; '' for nothing.
        regression: those in which it learns numbers, not classes; empty where it needs classes.
        is_reference: whether it marks an end of the plot instead of tracing a curve.
        starts_from_source: whether its trials begin at the shared source model; some numbers may
            ask for another start, see `begins_at_source`.
        starts_from_finetuned: whether they also need the plainly fine-tuned network of the second
            task, which is trained once per seed and shared.
        own_start: what of it cannot begin there and learns the first task within each trial;
            '' for nothing.
        takes_batch_norm: whether the network may have batch norms.
        trains: whether it makes gradient steps; one that does not has no use for `[training]`,
            nor for the study's network.
        lanes: numbers in which configurations that are trained as one program may differ, see
            `clsweep.training.lanes`; None where each has to be trained alone.
        lanes_where: numbers that need one of some values for that.
        alone: why each has to be trained alone, as half a sentence; '' where `lanes` says more.
        generates_images: whether it generates what it replays, as bytes of pixels.
        follows_path: whether its one knob weighs a penalty that is least at the source model, so
            that a regularisation path can follow it.
        statistics: name of what its `measure` computes, shared by every method that names it.
        statistics_read: the hypers that the statistics depend on.
        kind: 'method' for hooks that `build` returns, 'learner' for a class that trains by itself.
        path: 'package.module:attribute' of a method of the user's own; '' for ours.
        code: fingerprint of its source, of a method of the user's own; '' for ours.
    """

    title: str
    hyper: type[Hyper]
    citation: str = ""
    family: str = ""
    version: int = 1
    uses: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ALL_SCENARIOS
    scenario_note: str = ""
    regression: tuple[str, ...] = ()
    is_reference: bool = False
    starts_from_source: bool = True
    starts_from_finetuned: bool = False
    own_start: str = ""
    takes_batch_norm: bool = True
    trains: bool = True
    lanes: tuple[str, ...] | None = None
    lanes_where: tuple[tuple[str, tuple[object, ...]], ...] = ()
    alone: str = ""
    generates_images: bool = False
    follows_path: bool = False
    statistics: str = ""
    statistics_read: tuple[str, ...] = ()
    kind: Kind = "method"
    path: str = ""
    code: str = ""

    @property
    def start_note(self) -> str:
        """What must be known about where its trials begin, as half a sentence; '' for nothing."""
        if not self.trains:
            return "it classifies the inputs as they are, without the network or a gradient step"
        if not self.own_start:
            return ""
        return (
            f"its {self.own_start} does not start from the shared source model; it learns the "
            "first task within each trial"
        )

    @property
    def lanes_note(self) -> str:
        """Which of its trials may be trained as one program, or why none may, as a sentence."""
        if self.lanes is None:
            why = self.alone or "what it does at a step is not stacked"
            return f"Lanes: none; {why}."
        *others, last = [*self.lanes, "seed", "learning rate"]
        where = " and ".join(
            f"`{key}` is {' or '.join(str(value).lower() for value in values)}"
            for key, values in self.lanes_where
        )
        only = f", where {where}" if where else ""
        return f"Lanes: trials that differ by {', '.join(others)} or {last}{only}."

    def begins_at_source(self, hyper: Hyper) -> bool:
        """Whether trials with these numbers begin at the shared source model.

        Args:
            hyper: the method's numbers.
        """
        return self.starts_from_source and not hyper.learns_first_task

    def keys_for(self, method: str) -> dict[str, str]:
        """The keys of a [[methods]] table that say which method it is.

        Args:
            method: what records call it.
        """
        is_path = bool(self.path) and method == self.path
        return {"name": "custom", self.kind: method} if is_path else {"name": method}
