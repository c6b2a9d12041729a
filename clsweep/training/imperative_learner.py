"""A method as a class with training code of its own, and what it is given of a task.

    Learner(net, hyper, device, rng)
    learn(task, batches)       trains on a task, however it likes
    absorb(task, examples)     afterwards: what is to be remembered of the task
    predict(x, task)           logits, asked for between tasks

The batches are those of every other method: the same examples, in the same order, of the same
size, in the same random views. Steps are counted by the batches that are drawn, and no more can
be drawn than the study has steps. Validation and test examples are shown to `predict` alone, one
batch after the other, without labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clsweep.methods.base import Batch
from clsweep.methods.own_build import PATIENCE
from clsweep.training.batches import Order, batches
from clsweep.training.optimisers import (
    GroupsAsMade,
    clipped,
    clipped_to_norm,
    laid_out,
    made_optimiser,
    put_state,
    set_rate,
)
from clsweep.training.reachable_tensors import reachable
from clsweep.training.schedules import rate_of

if TYPE_CHECKING:
    from clsweep.data.tasks import Scale, Trainable
    from clsweep.methods.hyper_fields import Hyper
    from clsweep.nets.net_module import NetModule
    from clsweep.training.config import TrainingConfig
    from clsweep.training.optimisers import OptimiserState


class ImperativeLearner:
    """What a class has to have; it may be a child of this one, and need not.

    Attributes:
        starts_from_source: whether `net` arrives as the source model that all methods share. The
            first task is then only absorbed; else it is learnt like the others, from the initial
            weights of the seed.
        patience_seconds: how long it may go without drawing a batch before its trial fails.
        uses: what it needs beyond the network and the current task's data, for the report.
    """

    starts_from_source = True
    patience_seconds = PATIENCE
    uses: tuple[str, ...] = ()

    def __init__(
        self, net: NetModule, hyper: Hyper, device: torch.device, rng: torch.Generator
    ) -> None:
        """Start before the first task.

        Args:
            net: the study's network, on the device; this learner's alone, to be trained in place.
            hyper: the numbers.
            device: where inputs arrive.
            rng: a generator on the CPU, seeded for this trial.
        """
        self.net, self.hyper, self.device, self.rng = net, hyper, device, rng

    def learn(self, task: int, batches: Batches) -> None:
        """Train on a task.

        Args:
            task: its index, from 0.
            batches: its training batches; those that are not drawn are not counted.
        """
        raise NotImplementedError

    def absorb(self, task: int, examples: TrainingExamples) -> None:
        """Remember what later tasks need; called after every task but the last.

        Args:
            task: its index, from 0.
            examples: its training examples; they are closed when this returns.
        """

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Logits [B, classes]; called without gradient. It leaves the learner as it is.

        Args:
            x: inputs, float32 [B, C, H, W].
            task: that of the examples where each has a head of its own, else the last one learnt.
        """
        return self.net(x, task)  # type: ignore[no-any-return]

    def bytes(self) -> int | Mapping[str, int]:
        """Size of what is carried from task to task beside the network.

        In all, or by kind: 'data', 'importances', 'models'.
        """
        return sum(found.n_bytes for found in reachable(self, self.net))


class TrainingExamples:
    """The training examples of one task, while it is the task's turn.

    Attributes:
        scale: from what is stored to inputs.
        task: its index.
        training: the study's `[training]`, with this configuration's numbers.
    """

    def __init__(self, data: Trainable, scale: Scale, task: int, training: TrainingConfig) -> None:
        """Open.

        Args:
            data: the examples.
            scale: from uint8 to inputs.
            task: its index.
            training: the study's settings.
        """
        self._data: Trainable | None = data
        self.scale, self.task, self.training = scale, task, training

    def __len__(self) -> int:
        return len(self._open())

    @property
    def labels(self) -> Tensor:
        """Labels in the numbering of the task's head, int64 [n]."""
        return self._open().labels

    @property
    def task_of(self) -> None:
        """Nothing: all are of one task."""
        return

    def rows_at_once(self, most: int) -> int:
        """How many are prepared together, at most `most`; fewer where inputs are large."""
        return self._open().rows_at_once(most)

    def raw(self, index: Tensor) -> Tensor:
        """Images as uint8 [B, C, H, W], which is how to store them; `scale` makes inputs of them.

        Args:
            index: positions, int64 [B].
        """
        return self._open().raw(index)

    def inputs(self, index: Tensor) -> Tensor:
        """Inputs of the network, float32 [B, C, H, W]; never augmented.

        Args:
            index: positions, int64 [B].
        """
        return self.scale(self.raw(index))

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) of all examples, once.

        Args:
            batch_size: examples at once, at least 1.
        """
        labels = self.labels
        for index in torch.arange(len(labels), device=labels.device).split(batch_size):
            yield self.inputs(index), labels[index]

    def close(self) -> None:
        """End the task's turn; what is asked for afterwards is an error."""
        self._data = None

    def _open(self) -> Trainable:
        if self._data is None:
            raise RuntimeError(
                f"the examples of task {self.task + 1} were asked for after its turn; copy what "
                "is needed later, which then counts as memory"
            )
        return self._data


class Batches:
    """The training batches of one task, to be drawn one after the other, once.

    Attributes:
        task: its index.
        training: the study's `[training]`, with this configuration's numbers.
        examples: all training examples of the task.
        n_steps: batches that can be drawn.
        n_drawn: those drawn so far.
    """

    def __init__(
        self,
        examples: TrainingExamples,
        seed: int,
        n_steps: Iterable[int],
        states: OptimiserStates,
        on_draw: Callable[[], None] = lambda: None,
    ) -> None:
        """Open; nothing is prepared before it is drawn.

        Args:
            examples: those of the task, with the settings of batches and optimiser.
            seed: the trial's seed.
            n_steps: batches of each phase; every phase starts its epochs anew.
            states: of optimisers, between tasks.
            on_draw: called with every batch.
        """
        phases, training = tuple(n_steps), examples.training
        shown = training.augment, training.label_smoothing, training.class_balance
        self.task, self.training, self.examples = examples.task, training, examples
        self.n_steps, self.n_drawn = sum(phases), 0
        self._states, self._on_draw = states, on_draw
        self._left: Iterator[Batch] = chain.from_iterable(
            chunk
            for n in phases
            for _, chunk in batches(
                examples,
                examples.scale,
                Order(seed, examples.task, training.batch_size, n, *shown),
                lambda epoch, n_batches: {},
            )
        )

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._left)
        self.n_drawn += 1
        self._on_draw()
        return batch

    def __len__(self) -> int:
        """Batches left."""
        return self.n_steps - self.n_drawn

    def optimiser(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The optimiser as the study has it: its numbers, schedule and clipping.

        Its schedule goes over `n_steps` steps of its own. Without `reset` it goes on from the
        state that the same parameters had before.

        Args:
            parameters: to be stepped; leaves that require a gradient.
        """
        leaves = list(parameters)
        made = made_optimiser(self.training, leaves)
        before_step = _BeforeStep(leaves, self.training, self.n_steps)
        if before_step.acts or isinstance(made, torch.optim.Optimizer):
            made.register_step_pre_hook(lambda optimiser, *_: before_step(optimiser))
        if not self.training.reset:
            self._states.go_on(made, leaves, self.training.optimizer)
        return made

    def close(self) -> None:
        """End the task's turn: nothing more can be drawn."""
        self._left = iter(())
        self.examples.close()


class OptimiserStates:
    """States of optimisers, for studies whose tasks do not start with a fresh one."""

    def __init__(self, net: NetModule, state: OptimiserState) -> None:
        """Start from the source model's.

        Args:
            net: the module whose parameters it belongs to.
            state: '<parameter>/<entry>' -> tensor; empty for none.
        """
        self._source = state
        self._names: dict[Tensor, str] = {v: name for name, v in net.named_parameters()}
        self._of: dict[Tensor, dict[str, Any]] = {}
        self._groups: dict[Tensor, GroupsAsMade] = {}

    def go_on(self, made: torch.optim.Optimizer, leaves: list[Tensor], origin: str) -> None:
        """Give a new optimiser the states of its parameters, and watch them from now on.

        Args:
            made: the optimiser.
            leaves: its parameters.
            origin: its name in the study file.

        Raises:
            StudyError: steps of the one before have changed what cannot be carried.
        """
        for before in {self._groups[leaf] for leaf in leaves if leaf in self._groups}:
            before.check()
        self._groups |= dict.fromkeys(leaves, GroupsAsMade(made, origin))
        for leaf in leaves:
            if leaf in self._of:
                for entry, value in self._of[leaf].items():
                    is_tensor = isinstance(value, Tensor)
                    made.state[leaf][entry] = value.clone() if is_tensor else value
            elif leaf in self._names:
                put_state(made, [self._names[leaf]], [leaf], self._source)
            self._of[leaf] = made.state[leaf]


class _BeforeStep:
    """What the engine does to rate and gradients before a step."""

    def __init__(self, leaves: list[Tensor], training: TrainingConfig, n_steps: int) -> None:
        self.leaves, self.training, self.n_made = leaves, training, 0
        self.rate_at = rate_of(training, n_steps)
        clips = training.clip_norm or training.clip_value
        self.acts = bool(clips) or self.rate_at is not None

    def __call__(self, optimiser: torch.optim.Optimizer) -> None:
        if self.rate_at is not None:
            set_rate(optimiser, self.rate_at(self.n_made))
        self.n_made += 1
        training = self.training
        grads = {str(n): v.grad for n, v in enumerate(self.leaves) if v.grad is not None}
        if training.clip_norm:
            grads = clipped_to_norm(grads, training.clip_norm)
        if training.clip_value:
            grads = clipped(grads, training.clip_value)
        for n, grad in grads.items():
            leaf = self.leaves[int(n)]
            # `backward` lays gradients out as parameters are; what a learner assigns may not be.
            leaf.grad = laid_out(grad, leaf)
