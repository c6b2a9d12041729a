"""Learning a sequence with a learner that has training code of its own.

It goes through the same stations as every method: the shared source model, then task after task,
with the same batches, evaluations, early stopping and record. What it may not do is looked at
from outside, between the tasks:

    predictions    one logit per class, on the device; NaN is divergence
    the network    finite weights of at most 10⁴; where its own logits are what is predicted, also
                   the training loss that every method is judged by
    prediction     leaves every tensor and array of the learner as it was, and keeps none
    bytes          as many as tensors can be reached from the learner's attributes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.errors import MethodError
from clsweep.methods.own_build import checked_patience
from clsweep.nets.net_module import NetModule
from clsweep.nets.parameter_trees import Params, all_finite
from clsweep.records.accuracy import AccuracyRow
from clsweep.training.batch_norm_statistics import with_population
from clsweep.training.divergence import Diverged
from clsweep.training.early_stopping import Stopped, Watch
from clsweep.training.evaluation import check_learnt, check_weights, evaluate
from clsweep.training.guarded_code import GuardedCode, seeded
from clsweep.training.imperative_learner import (
    Batches,
    OptimiserStates,
    TrainingExamples,
)
from clsweep.training.learner import initial_params
from clsweep.training.learnt_models import FinetunedModel, LearntSequence, SourceModel
from clsweep.training.memory_bytes import MemoryBytes
from clsweep.training.reachable_tensors import reachable
from clsweep.user_code import definition_place

if TYPE_CHECKING:
    from clsweep.data.tasks import Task, TaskSequence
    from clsweep.methods.base import Method
    from clsweep.training.config import TrainingConfig

Contents = Tensor | np.ndarray[Any, Any]

_PARTS = ("learn", "predict", "bytes")
# By how much `bytes` may be wrong: a tenth, and what small things add up to.
_TOLERANCE, _SMALL_BYTES = 0.1, 4096
# Batches after which it is looked whether the network is still finite: on a GPU a look waits.
_LOOKED_AT = 50


def learn_imperatively(
    method: Method,
    sequence: TaskSequence,
    training: TrainingConfig,
    seed: int,
    source: SourceModel | None,
    statistics: Params,
    finetuned: FinetunedModel | None = None,
    watch: Watch | None = None,
) -> LearntSequence:
    """Learn every task after the first, starting from the source model, or all tasks without one.

    Args:
        method: names the learner's class, the network and the numbers.
        sequence: the tasks.
        training: what the batches are made by, and the optimiser that they offer.
        seed: the trial's seed.
        source: the shared model of the first task; None for a learner that does not start there.
        statistics: empty; a learner computes its own.
        finetuned: None, likewise.
        watch: what may stop it between two tasks; None for nothing.

    Raises:
        Diverged: the network, or what is predicted, left the range of usable numbers.
        MethodError: the learner raised, or broke its contract.
    """
    with seeded(seed):
        return ImperativeRun(method, sequence, training, seed, source).through(source, watch)


class ImperativeRun:
    """One learner on its way through a sequence.

    Attributes:
        learner: the user's object.
    """

    def __init__(
        self,
        method: Method,
        sequence: TaskSequence,
        training: TrainingConfig,
        seed: int,
        source: SourceModel | None,
    ) -> None:
        """Make the learner; see `learn_imperatively` for the arguments and errors."""
        kind, net, first = method.learner, method.net, sequence.tasks[0].train
        assert kind is not None
        self.method, self.sequence, self.training, self.seed = method, sequence, training, seed
        self.n_steps = 0
        device = first.labels.device
        if source is None:
            drawn = initial_params(net, seed, device)
            self.start = with_population(net, drawn, first, sequence.scale)
        else:
            self.start = source.params
        holds = source is not None and net.bn_mode == "frozen"
        self.module = NetModule(net, self.start, holds_statistics=holds)
        self.states = OptimiserStates(self.module, source.optimiser if source else {})
        self.name, self.place = kind.__name__, definition_place(kind)
        self.code = GuardedCode(self.name, checked_patience(kind, self.name, self.place))
        missing = [part for part in _PARTS if not callable(getattr(kind, part, None))]
        if missing:
            raise self._broken(
                f"{self.name} has no {' and no '.join(missing)}",
                expected="learn(task, batches), predict(x, task) and bytes()",
            )
        if training.precision != "float32":
            raise MethodError(
                f"precision = '{training.precision}' is the training loop's of other methods; a "
                "learner has its own",
                expected="precision = 'float32'",
                where="[training] precision",
                next_step="use torch.autocast within `learn`",
            )
        with self.code.call("__init__"):
            rng = generator(seed, "learner")
            self.learner: Any = kind(self.module, method.hyper, device, rng)

    def through(self, source: SourceModel | None, watch: Watch | None) -> LearntSequence:
        """Learn all tasks, once; see `learn_imperatively`."""
        tasks, net = self.sequence.tasks, self.method.net
        stopped = ""
        if source is None:
            rows = evaluate(net.apply, self.start, self.sequence, -1)
        else:
            rows = list(source.rows)
            self._absorb(tasks[0])
        try:
            for task in tasks if source is None else tasks[1:]:
                self._learn(task)
                rows += self._evaluated(task.index)
                if watch is not None:
                    watch.after_task(rows, task.index)
                if task.index < len(tasks) - 1:
                    self._absorb(task)
        except Stopped as stop:
            stopped = str(stop)
        kept = self._checked_bytes()
        note = self.code.printed

        def predict(params: Params, x: Tensor, head: int) -> Tensor:
            return self._predict(x, head)

        params = self.module.params()
        return LearntSequence(params, rows, self.n_steps, kept, {}, stopped, note, predict)

    def _learn(self, task: Task) -> None:
        net, scale = self.method.net, self.sequence.scale
        before = {name: value.clone() for name, value in self.module.params().items()}
        n_steps = self.training.n_steps(len(task.train), task.index)
        steps = self.method.hyper.phase_steps(n_steps)
        examples = self._examples(task)
        batches = Batches(examples, self.seed, steps, self.states, lambda: drawn())
        parameters = [*self.module.parameters()]

        def drawn() -> None:
            self.code.alive()
            if batches.n_drawn % _LOOKED_AT == 0 and not all_finite(parameters):
                raise Diverged(
                    f"the network is no longer finite before batch {batches.n_drawn} of task "
                    f"{task.index + 1}",
                    self.n_steps + batches.n_drawn,
                )

        self.module.train()
        try:
            with self.code.call("learn"):
                self.learner.learn(task.index, batches)
        finally:
            self.n_steps += batches.n_drawn
            batches.close()
        self.module.eval()
        if not all_finite(self.module.params().values()):
            raise Diverged(
                f"the network is no longer finite at the end of task {task.index + 1}",
                self.n_steps,
            )
        if net.statistics and not self.module.holds_statistics:
            params = with_population(net, self.module.params(), task.train, scale)
            self.module.set_statistics(params)
        self.module.holds_statistics = net.bn_mode == "frozen"
        self._check_learnt(before, task)

    def _check_learnt(self, before: Params, task: Task) -> None:
        """Judge the network as those of other methods are, as far as it is what predicts."""
        net, after = self.method.net, self.module.params()
        index = torch.arange(min(64, len(task.train)), device=task.train.labels.device)
        x = self.sequence.scale(task.train.raw(index))
        try:
            with torch.inference_mode():
                said = self._predict(x.clone(), task.index)
                own = net.apply(after, x, task.index)
            if torch.equal(said, own):
                check_learnt(net, before, after, self.sequence, task.index)
            else:
                check_weights(after, task.index)
        except Diverged as error:
            error.n_steps = self.n_steps
            raise

    def _evaluated(self, task: int) -> list[AccuracyRow]:
        """The accuracies after a task; the learner is as before, and keeps nothing of them."""
        before = self._contents()
        has_nan: list[Tensor] = []

        def predict(params: Params, x: Tensor, head: int) -> Tensor:
            logits = self._predict(x, head)
            has_nan.append(logits.isnan().any())
            return logits

        rows = evaluate(predict, {}, self.sequence, task)
        if bool(torch.stack(has_nan).any()):
            raise Diverged(f"what is predicted after task {task + 1} is NaN", self.n_steps)
        after = {one.path: one.value for one in reachable(self.learner)}
        changed = [
            path
            for path, then in before.items()
            if path not in after or not _same(after[path], then)
        ]
        kept = [path for path, value in after.items() if path not in before or _is_computed(value)]
        if changed or kept:
            verb = "keeps what it has computed in" if kept else "changes"
            raise self._broken(
                f"{self.name}.predict {verb} the learner's {', '.join((kept or changed)[:3])}",
                expected="a prediction that leaves the learner as it is: what it is shown are "
                "validation and test examples",
                next_step="compute at the end of `learn` what predictions share",
            )
        return rows

    def _predict(self, x: Tensor, head: int) -> Tensor:
        with self.code.call("predict"):
            logits = self.learner.predict(x, head)
        n = self.module.n_outputs(head)
        if not isinstance(logits, Tensor) or logits.shape != (len(x), n):
            is_tensor = isinstance(logits, Tensor)
            said = f"the shape {tuple(logits.shape)}" if is_tensor else type(logits).__name__
            raise self._broken(
                f"{self.name}.predict returned {said} for {len(x)} inputs of task {head + 1}",
                expected=f"a tensor of logits, ({len(x)}, {n})",
            )
        if not logits.is_floating_point() or logits.device != x.device:
            raise self._broken(
                f"{self.name}.predict returned {logits.dtype} on {logits.device}",
                expected=f"logits in floating point on {x.device}",
            )
        return logits

    def _absorb(self, task: Task) -> None:
        absorb: Callable[..., None] | None = getattr(self.learner, "absorb", None)
        if absorb is not None:
            examples = self._examples(task)
            self.module.eval()
            try:
                with self.code.call("absorb"):
                    absorb(task.index, examples)
            finally:
                examples.close()
        self._checked_bytes()

    def _examples(self, task: Task) -> TrainingExamples:
        return TrainingExamples(task.train, self.sequence.scale, task.index, self.training)

    def _contents(self) -> dict[str, Contents]:
        """Copies of all tensors and arrays of the learner, by the paths to them."""
        return {
            one.path: one.value.clone() if isinstance(one.value, Tensor) else one.value.copy()
            for one in reachable(self.learner)
        }

    def _checked_bytes(self) -> MemoryBytes:
        """What the learner says that it carries, if that is what can be seen of it."""
        with self.code.call("bytes"):
            told = self.learner.bytes()
        kinds = told if isinstance(told, Mapping) else {"models": told}
        is_count = all(type(n) is int and n >= 0 for n in kinds.values())
        if not is_count or not kinds.keys() <= set(MemoryBytes._fields):
            raise self._broken(
                f"{self.name}.bytes returned {told!r}",
                expected="a whole number, or one for each of 'data', 'importances' and 'models'",
            )
        found = sorted(reachable(self.learner, self.module), key=lambda f: -f.n_bytes)
        seen, total = sum(f.n_bytes for f in found), sum(kinds.values())
        if abs(total - seen) > _TOLERANCE * max(total, seen) + _SMALL_BYTES:
            largest = ", ".join(f"{f.path} {f.n_bytes:,}" for f in found[:3])
            raise self._broken(
                f"{self.name}.bytes says {total:,}; its attributes hold {seen:,} bytes of tensors "
                "beside the network" + (f": {largest}" if largest else ""),
                expected="the size of what it carries from task to task",
                next_step="let go of what only training needs at the end of `learn`",
            )
        return MemoryBytes(**kinds)

    def _broken(self, found: str, *, expected: str, next_step: str = "") -> MethodError:
        return MethodError(found, expected=expected, where=self.place, next_step=next_step)


def _same(now: Contents, then: Contents) -> bool:
    if now.shape != then.shape or now.dtype != then.dtype:  # types of torch and numpy differ
        return False
    if isinstance(now, Tensor) and isinstance(then, Tensor):
        return now.device == then.device and bool(((now == then) | (now != now)).all())
    return isinstance(now, np.ndarray) and now.tobytes() == np.asarray(then).tobytes()


def _is_computed(value: Contents) -> bool:
    return isinstance(value, Tensor) and value.is_inference()
