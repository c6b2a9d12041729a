"""The memory of one method: which examples enter it, when, and what is kept beside them.

`filling` has the rules. This module applies the one that a study asks for to a network, so that
every method that replays examples offers the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.hyper_fields import Hyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.buffer import Buffer, NoteOfRaw
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


@dataclass(frozen=True)
class MemoryFilling:
    """How the memory of a method is filled.

    Attributes:
        net: the network.
        rule: see `filling`.
        capacity: M ≥ 1.

    Raises:
        MethodError: rings of all tasks do not fit.
    """

    net: Net
    rule: filling.Filling
    capacity: int

    def __post_init__(self) -> None:
        if self.rule == "ring":
            filling.ring_share(self.capacity, self.n_tasks)

    @property
    def n_tasks(self) -> int:
        """Tasks of the sequence."""
        return len(self.net.heads.sizes)

    @property
    def is_by_loss(self) -> bool:
        """Whether the latest loss of every example is kept."""
        return self.rule == "loss_aware"

    @property
    def streams(self) -> bool:
        """Whether examples are taken from the stream of batches."""
        return self.rule != "balanced"

    def empty(self, params: Params, noted: Mapping[str, tuple[int, ...]] | None = None) -> Buffer:
        """A memory without examples.

        Args:
            params: of the network, on the device of the memory.
            noted: shapes of what else the method keeps of an example, by name.
        """
        losses: dict[str, tuple[int, ...]] = {filling.LOSS: ()} if self.is_by_loss else {}
        return filling.empty_for(self.net, params, self.capacity, {**(noted or {}), **losses})

    def growth(self, hyper: Hyper, stored: Buffer, batch_size: int) -> filling.Growth | None:
        """See `filling.growth`."""
        return filling.growth(hyper, self.rule, stored, batch_size, self.n_tasks)

    def uniforms(self, rng: torch.Generator, n_steps: int, batch_size: int) -> dict[str, Tensor]:
        """What `streamed` reads from a batch's draws; see `filling.uniforms` for the arguments."""
        names = ("uniform", "victim") if self.is_by_loss else ("uniform",)
        return {name: filling.uniforms(rng, n_steps, batch_size) for name in names}

    def streamed(
        self,
        old: Buffer,
        batch: Batch,
        task: int,
        noted: Mapping[str, Tensor] | None = None,
        replayed: Sequence[str] = (),
    ) -> Buffer:
        """The memory after a step.

        Args:
            old: the memory before.
            batch: the batch of the new task. Of 'loss_aware' it has noted the losses of its
                examples, and then of those that each of the draws `replayed` names.
            task: the task being learnt.
            noted: what else is kept of the new examples.
            replayed: names of draws.
        """
        if not self.is_by_loss:
            return filling.streamed(old, batch, task, dict(noted or {}), self.rule, self.n_tasks)
        sizes = [len(batch.y), *(len(batch.draw[name]) for name in replayed)]
        new, *again = batch.noted[filling.LOSS].split(sizes)
        for name, losses in zip(replayed, again, strict=True):
            old = filling.with_losses(old, batch, losses, name)
        has_heads = self.net.heads.scenario == "task"
        return filling.streamed_by_loss(old, batch, task, new, has_heads, noted)

    def absorbed(
        self,
        old: Buffer,
        learnt: LearntTask,
        params: Params,
        head: int,
        note: NoteOfRaw = buffer.nothing_noted,
    ) -> Buffer:
        """The memory once a task has been learnt.

        Args:
            old: the memory before.
            learnt: the task.
            params: of the network that has learnt it; the first examples of 'loss_aware' have its
                losses.
            head: under which those are classified.
            note: what else is kept of the task's examples.
        """
        if not self.is_by_loss:
            return filling.absorbed(old, learnt, self.rule, note, self.n_tasks)

        def unknown(raw: Tensor) -> dict[str, Tensor]:
            return {**note(raw), filling.LOSS: torch.zeros(len(raw), device=raw.device)}

        found = filling.absorbed(old, learnt, self.rule, unknown)
        if old.n_filled:
            return found
        with torch.no_grad():
            z = self.net.apply(params, learnt.scale(found.raw), head)
            losses = classification_losses((z, found.labels))
        return found._replace(noted={**found.noted, filling.LOSS: losses})


def classification_losses(*classified: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of every example, [B].

    Args:
        classified: logits [B', K] and labels int64 [B'] of parts, one after the other.
    """
    each = [F.cross_entropy(logits, labels, reduction="none") for logits, labels in classified]
    return torch.cat(each)
