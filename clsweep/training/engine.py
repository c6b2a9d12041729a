"""The only training loop in the project: one phase of a method on one task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, Trainable
from clsweep.errors import MethodError
from clsweep.methods.base import Batch, Memory, NotedLoss, Phase, Trace
from clsweep.methods.parts.penalty_gradient import with_penalty_gradient
from clsweep.nets.norms import has_statistics, is_statistic, without_statistics
from clsweep.nets.parameter_trees import Params, all_finite, zeros_like
from clsweep.training import loss_curves
from clsweep.training.batch_norm_statistics import with_data_statistics, with_population
from clsweep.training.batches import Order, batches
from clsweep.training.divergence import Diverged
from clsweep.training.optimisers import (
    GroupsAsMade,
    OptimiserState,
    Snapshot,
    clipped,
    clipped_to_norm,
    kept_state,
    laid_out,
    made_optimiser,
    put_state,
    set_rate,
)
from clsweep.training.schedules import rate_of
from clsweep.training.step_rates import rate_of_next_step

if TYPE_CHECKING:
    from clsweep.nets.net import Net
    from clsweep.training.config import TrainingConfig


@contextmanager
def after_steps(n_steps: int) -> Iterator[None]:
    """Add steps made before to those of whatever diverges inside.

    Args:
        n_steps: gradient steps that the trial had made.
    """
    try:
        yield
    except Diverged as error:
        error.n_steps += n_steps
        raise


class State(NamedTuple):
    """A method between two phases.

    Attributes:
        params: every parameter that it trains.
        memory: what it carries from task to task.
        trace: path integral of the last phase, if it was asked for.
        optimiser: state to continue from; empty for a new optimiser.
        n_steps: gradient steps so far.
    """

    params: Params
    memory: Memory
    trace: Trace | None = None
    optimiser: OptimiserState = {}
    n_steps: int = 0


class Setting(NamedTuple):
    """Settings that all phases of a trial share.

    Attributes:
        net: the network that is trained, whose batch norms the engine looks after.
        scale: from stored values to inputs.
        training: optimiser, learning rate, batch size.
        seed: the trial's seed; fixes order of batches and all draws.
    """

    net: Net
    scale: Scale
    training: TrainingConfig
    seed: int


class Checkpoints(NamedTuple):
    """Moments of a phase at which it is evaluated; training is the same with and without them.

    Attributes:
        at: numbers of steps made, after which it is evaluated.
        evaluate: (steps made, what the phase would return as parameters if it ended there).
    """

    at: Set[int]
    evaluate: Callable[[int, Params], None]


def train_phase(
    phase: Phase,
    state: State,
    data: Trainable,
    setting: Setting,
    *,
    task: int,
    n_steps: int,
    trace: str = "",
    checkpoints: Checkpoints | None = None,
    n_skipped: int = 0,
) -> State:
    """Run one phase of a method on one task.

    Running statistics are never trained. Except where they are held (see `Net.bn_mode` and
    `Phase`), they are absent while the phase trains, and set from its data before and after its
    `close`.

    Args:
        phase: the hooks.
        state: the method before the phase; left as it is. A parameter that the phase does not
            train keeps its state of the optimiser.
        data: training examples.
        setting: what all phases of the trial share.
        task: the task's index.
        n_steps: gradient steps to make.
        trace: '' for no path integral, 'task' for one of the loss's gradient, 'total' for one of
            the gradient after `steer`.
        checkpoints: moments at which it is evaluated while it runs; None for none.
        n_skipped: batches of the task's order that were shown before.

    Raises:
        Diverged: a loss is NaN or infinite.
        MethodError: a hook changed names or shapes of the parameters.
    """
    scale, training, seed = setting.scale, setting.training, setting.seed
    renewed = _renews(phase, setting.net, state.params)
    note = phase.note(state.params, state.memory, task) if phase.note else None
    if renewed:
        state = state._replace(params=without_statistics(state.params))
    engine = Engine(phase, state, setting, task, n_steps, trace)
    shown = training.augment, training.label_smoothing, training.class_balance
    order = Order(seed, task, training.batch_size, n_steps, *shown, n_skipped)
    curve = loss_curves.begun(task, phase.name)
    with after_steps(state.n_steps):
        for first_step, chunk in batches(data, scale, order, engine.draws_of, note):
            losses: list[Tensor] = []
            with loss_curves.kept(curve, losses):
                for step, batch in enumerate(chunk, first_step + 1):
                    losses.append(engine.step(batch))
                    if checkpoints is not None and step in checkpoints.at:
                        check_losses(torch.stack(losses), first_step, phase.name, task)
                        checkpoints.evaluate(step, _closed(engine, data, renewed)[0])
            check_losses(torch.stack(losses), first_step, phase.name, task)
        closed, memory = _closed(engine, data, renewed)
    optimiser = {**state.optimiser, **engine.optimiser_state()}
    return State(closed, memory, engine.trace(), optimiser, state.n_steps + n_steps)


def _closed(engine: Engine, data: Trainable, renewed: bool) -> tuple[Params, Memory]:
    """Parameters and memory of a phase that ends here."""
    phase, task, (net, scale, *_) = engine.phase, engine.task, engine.setting
    held = {name: value.detach() for name, value in engine.full.items()}
    if renewed:
        held = with_population(net, held, data, scale)
    expected = {name: value for name, value in held.items() if name not in engine.own}
    closed, memory = held, engine.memory
    if phase.survey:
        survey = phase.survey(engine.memory, task)
        closed = held = with_population(survey, held, data, scale)
    if phase.close:
        closed, memory = phase.close(held, memory, task)
    if phase.survey:
        # A method may keep what was surveyed, as statistics that belong to the task.
        expected |= {name: held[name] for name in survey.statistics & closed.keys()}
    check_params(expected, closed, phase.name, task, engine.n_steps)
    if closed is not held and net.statistics:
        # What is trained next may be normalised by batches, and has to go on from here.
        if renewed:
            closed = with_population(net, closed, data, scale)
        elif net.bn_mode == "batch":
            closed = with_data_statistics(net, closed, data, scale)
    return closed, memory


def _renews(phase: Phase, net: Net, params: Params) -> bool:
    """Whether the phase trains on batch statistics and sets the running ones anew."""
    held = phase.holds_statistics or net.bn_mode == "frozen"
    return bool(net.statistics) and not (held and has_statistics(params, net.statistics))


class Engine:
    """The state of one running phase; the one place where tensors are changed in place.

    `clsweep.training.lanes` runs several phases as one, of stacked tensors: it overrides what is
    not elementwise.
    """

    def __init__(
        self,
        phase: Phase,
        state: State,
        setting: Setting,
        task: int,
        n_steps: int,
        trace: str,
    ) -> None:
        params, memory, training = state.params, state.memory, setting.training
        opened = phase.open(params, memory, task) if phase.open else params
        trained = {
            name: value.detach().clone().requires_grad_()
            for name, value in opened.items()
            if not is_statistic(name)
        }
        self.phase, self.setting, self.task, self.tracing = phase, setting, task, trace
        self.full, self.memory = {**params, **trained}, memory
        self.own = trained.keys() - params.keys()  # the phase's own parameters
        if not phase.decays:
            training = training.model_copy(update={"weight_decay": 0.0})
        self.training, self.trained = training, trained
        self.n_planned, self.n_steps = n_steps, 0
        self.names, self.leaves = list(trained), list(trained.values())
        self.optimiser = made_optimiser(training, self.leaves)
        self.groups = GroupsAsMade(self.optimiser, training.optimizer)
        put_state(self.optimiser, self.names, self.leaves, state.optimiser)
        self.lr, self.rate_at = training.lr, rate_of(training, n_steps)
        self.is_plain = training.optimizer == "sgd" and not (
            training.momentum or training.weight_decay
        )
        self.loss = phase.loss if training.precision == "float32" else self._in_bf16
        pull = phase.pull(memory) if phase.pull else None
        # Under plain SGD alone, one step down loss and penalty is θ ← lerp(θ, θ*, η w ω) − η g:
        # two thirds of the memory traffic of adding the penalty's gradient to g first, which
        # nobody asks to see then. The rates η w ω are computed once, for a learning rate that
        # stays; the penalty itself is then not asked any more.
        self.rates: Params = {}
        self.star: Params = {}
        clips = training.clip_value or training.clip_norm
        unseen = phase.steer is None and trace != "total" and not clips
        if pull and self.is_plain and unseen and self.rate_at is None:
            share = self.lr * pull.weight
            self.rates = {n: share * omega for n, omega in pull.omega.items()}
            self.star, pull = pull.star, None
        self.pull = pull
        if trace:
            self.start = {name: value.detach().clone() for name, value in trained.items()}
            self.path = zeros_like(self.start)
            self.before = [value.detach().clone() for value in self.leaves]

    def draws_of(self, epoch: int, n_batches: int) -> dict[str, Tensor]:
        """What the phase draws for an epoch, with its memory as it is then."""
        phase = self.phase
        if not phase.draw:
            return {}
        rng = generator(self.setting.seed, "draw", phase.name, self.task, epoch)
        return phase.draw(rng, self.memory, n_batches, self.training.batch_size)

    def step(self, batch: Batch) -> Tensor:
        """One gradient step; returns the loss, detached, shape ()."""
        phase, memory, task = self.phase, self.memory, self.task
        if self.rate_at is not None:
            self.lr = self.rate_at(self.n_steps)
            set_rate(self.optimiser, self.lr)
        loss = self.loss(self.full, memory, batch, task)
        if isinstance(loss, NotedLoss):
            noted = {name: value.detach() for name, value in loss.noted.items()}
            loss, batch = loss.loss, batch._replace(noted={**batch.noted, **noted})
        found = torch.autograd.grad(self.differentiated(loss), self.leaves, allow_unused=True)
        with torch.no_grad():
            asked = {
                name: laid_out(grad, leaf)
                for name, leaf, grad in zip(self.names, self.leaves, found, strict=True)
                if grad is not None
            }
            grads = asked
            if self.pull:
                grads = with_penalty_gradient(asked, self.full, self.pull)
            if phase.steer:
                grads = phase.steer(grads, self.full, memory, batch, task)
            if phase.project:
                grads, memory = phase.project(grads, self.full, memory, batch, task)
            if phase.foresee:
                grads = phase.foresee(grads, self._ahead(grads), memory, batch, task)
            if self.training.clip_norm:
                grads = self.clipped_to_norm(grads)
            if self.training.clip_value:
                grads = clipped(grads, self.training.clip_value)
            if self.tracing:
                torch._foreach_copy_(self.before, self.leaves)
            eta = self._rate_of_step(grads) if phase.settle else self.lr
            self.descend(grads)
            if phase.settle:
                settled = phase.settle(self.trained, memory, eta, task)
                torch._foreach_copy_(self.leaves, [settled[name] for name in self.names])
            if self.tracing:
                self._extend_path(asked if self.tracing == "task" else grads)
            self.memory = phase.track(memory, batch, task) if phase.track else memory
        self.n_steps += 1
        return loss.detach()

    def differentiated(self, loss: Tensor) -> Tensor:
        """What is differentiated, shape (): the loss itself."""
        return loss

    def clipped_to_norm(self, grads: Params) -> Params:
        """Gradients of at most the norm that the study allows."""
        return clipped_to_norm(grads, self.training.clip_norm)

    def _in_bf16(
        self, full: Params, memory: Memory, batch: Batch, task: int
    ) -> Tensor | NotedLoss:
        """The phase's loss under torch's autocast, which rounds products and no parameter."""
        _check_has_autocast(batch.x.device)
        with torch.autocast(batch.x.device.type, torch.bfloat16):
            return self.phase.loss(full, memory, batch, task)

    def _rate_of_step(self, grads: Params) -> float:
        leaves = [self.trained[name] for name in grads]
        return rate_of_next_step(self.optimiser, self.training, self.lr, leaves)

    def descend(self, grads: Params) -> None:
        """The optimiser's step, for the parameters that have a gradient."""
        if self.is_plain:
            # The same bits as torch's SGD, without what a step of any torch optimiser costs
            # around its arithmetic, which a small net would notice.
            names = [name for name in self.names if name in grads]
            for name in names:
                if name in self.rates:
                    self.trained[name].lerp_(self.star[name], self.rates[name])
            if names:
                torch._foreach_add_(
                    [self.trained[name] for name in names],
                    [grads[name] for name in names],
                    alpha=-self.lr,
                )
            return
        for name, leaf in zip(self.names, self.leaves, strict=True):
            grad = grads.get(name)
            leaf.grad = None if grad is None else laid_out(grad, leaf)
        self.optimiser.step()

    def _ahead(self, grads: Params) -> Params:
        """Every parameter as a step would leave it; the step is taken back."""
        before = [leaf.detach().clone() for leaf in self.leaves]
        snapshot = Snapshot(self.optimiser)
        self.descend(grads)
        moved = {name: leaf.detach().clone() for name, leaf in self.trained.items()}
        torch._foreach_copy_(self.leaves, before)
        snapshot.put_back()
        return {**self.full, **moved}

    def _extend_path(self, grads: Params) -> None:
        if not grads:
            return
        moved = torch._foreach_sub(self.leaves, self.before)
        by_name = dict(zip(self.names, moved, strict=True))
        names = list(grads)
        torch._foreach_addcmul_(
            [self.path[n] for n in names],
            [grads[n] for n in names],
            [by_name[n] for n in names],
            -1.0,
        )

    def trace(self) -> Trace | None:
        """The path integral recorded so far."""
        return Trace(self.start, self.path) if self.tracing else None

    def optimiser_state(self) -> OptimiserState:
        """What a study without reset continues from; nothing of the phase's own parameters."""
        if self.training.reset:
            return {}
        self.groups.check()
        kept = [
            (name, leaf)
            for name, leaf in zip(self.names, self.leaves, strict=True)
            if name not in self.own
        ]
        names, leaves = [name for name, _ in kept], [leaf for _, leaf in kept]
        return kept_state(self.optimiser, names, leaves, self.training.optimizer)


def _check_has_autocast(device: torch.device) -> None:
    if device.type != "cuda":
        raise MethodError(
            "precision = 'bf16' on a processor",
            expected="a GPU, or precision = 'float32'",
            where="[training] precision",
        )


def check_losses(losses: Tensor, first_step: int, phase: str, task: int) -> None:
    """Refuse a loss that is no number.

    Args:
        losses: of some steps, [n].
        first_step: steps of the phase before them.
        phase: its name.
        task: the task's index.

    Raises:
        Diverged: one of them is NaN or infinite.
    """
    finite = torch.isfinite(losses)
    if not bool(finite.all()):
        index = int((~finite).nonzero()[0])
        step, value = first_step + index + 1, float(losses[index])
        where = f"task {task + 1}, phase '{phase}', step {step}"
        raise Diverged(f"the loss became {value} in {where}", step)


def check_params(before: Params, after: Params, phase: str, task: int, n_steps: int) -> None:
    """Refuse what a phase must not make of the parameters.

    Args:
        before: names and shapes that are expected.
        after: what it has made.
        phase: its name.
        task: the task's index.
        n_steps: steps that it has made.

    Raises:
        MethodError: names or shapes differ.
        Diverged: a number is not finite.
    """
    where = f"task {task + 1}, phase '{phase}'"
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())
        raise MethodError(f"the method added or lost the parameters {odd} in {where}")
    for name, value in after.items():
        if value.shape != before[name].shape:
            raise MethodError(
                f"the method changed the shape of {name} from {tuple(before[name].shape)} to "
                f"{tuple(value.shape)} in {where}"
            )
    if not all_finite(after.values()):
        raise Diverged(f"the parameters are no longer finite at the end of {where}", n_steps)
