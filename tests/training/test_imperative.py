"""Learners: the numbers of the same method, and one sentence for each way to be wrong."""

from __future__ import annotations

import copy
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError
from clsweep.methods.hypers import NoHyper, ReplayHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.training.config import TrainingConfig
from clsweep.training.divergence import Diverged
from clsweep.training.early_stopping import Watch
from clsweep.training.imperative_learner import ImperativeLearner
from clsweep.training.learnt_models import LearntSequence, SourceModel
from clsweep.training.memory_bytes import MemoryBytes
from clsweep.training.sequences import learn_sequence, learn_source
from tests.support.learners import Finetuning, FreshFinetuning, Replay, learnt_by

TRAINING = TrainingConfig(lr=0.1, batch_size=16, epochs=2)
CONV = NetConfig(name="conv", channels=(4,), norm="batch")


def _net(sequence: TaskSequence, config: NetConfig | None = None) -> Net:
    config = config or NetConfig(hidden=(12,))
    return build_net(config, sequence.input_shape, sequence.heads)


def _source(
    sequence: TaskSequence, training: TrainingConfig = TRAINING, net: Net | None = None
) -> SourceModel:
    return learn_source(net or _net(sequence), sequence, training, 0)


def _ours(
    name: str, sequence: TaskSequence, training: TrainingConfig = TRAINING, **numbers: Any
) -> LearntSequence:
    hyper = methods.METHODS[name].hyper(**numbers)
    method = methods.build(name, _net(sequence), hyper)
    return learn_sequence(method, sequence, training, 0, _source(sequence, training), {})


def _same(one: LearntSequence, other: LearntSequence) -> bool:
    assert one.params.keys() == other.params.keys()
    same = all(torch.equal(one.params[n], other.params[n]) for n in one.params)
    return same and one.rows == other.rows and one.n_steps == other.n_steps


@pytest.fixture
def sequence(short_sequences: dict[str, TaskSequence]) -> TaskSequence:
    return short_sequences["domain"]


def _learnt(kind: type, sequence: TaskSequence, **given: Any) -> LearntSequence:
    source = _source(sequence)
    return learnt_by(kind, _net(sequence), sequence, TRAINING, source, **given)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_fine_tuning_as_a_learner_is_ours_bit_for_bit(
    scenario: str, augment: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    training = TRAINING.model_copy(update={"augment": augment})
    source = _source(sequence, training)
    before = copy.deepcopy(source.params)
    found = learnt_by(Finetuning, _net(sequence), sequence, training, source)
    assert _same(found, _ours("finetune", sequence, training))
    assert found.memory_bytes == MemoryBytes(0, 0, 0)
    assert all(torch.equal(before[n], source.params[n]) for n in before)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam", "lr": 0.01, "reset": False},
        {"optimizer": "sgd", "momentum": 0.9, "reset": False, "lr": 0.05},
        {"optimizer": "sgd", "clip_value": 0.01},
        {"optimizer": "sgd", "weight_decay": 0.01},
        {"optimizer": "adamw", "lr": 0.01, "schedule": "cosine", "warmup_steps": 2},
        {"optimizer": "sgd", "clip_norm": 0.1, "label_smoothing": 0.2},
        {"optimizer": "rmsprop", "lr": 0.01, "reset": False},
    ],
    ids=lambda given: "-".join(map(str, given.values())),
)
def test_the_offered_optimiser_is_the_studys(
    settings: dict[str, Any], sequence: TaskSequence
) -> None:
    training = TrainingConfig(**{"batch_size": 16, "steps": 6, **settings})
    source = _source(sequence, training)
    found = learnt_by(Finetuning, _net(sequence), sequence, training, source)
    assert _same(found, _ours("finetune", sequence, training))


def _turned(grad: torch.Tensor) -> torch.Tensor:
    return grad.T.contiguous().T if grad.ndim == 2 else grad


class _Relaid(Finetuning):
    """Assigns its gradients, as learners that project them do, in another layout."""

    def learn(self, task: int, batches: Any) -> None:
        weights = list(self.net.parameters())
        optimiser = batches.optimiser(weights)
        for batch in batches:
            loss = F.cross_entropy(self.net(batch.x, task), batch.y)
            grads = torch.autograd.grad(loss, weights, allow_unused=True)
            for weight, grad in zip(weights, grads, strict=True):
                weight.grad = None if grad is None else _turned(grad)
            optimiser.step()


@pytest.mark.parametrize("name", ["adam", "adagrad", "sgd"])
def test_a_step_does_not_depend_on_the_layout_of_what_a_learner_assigns(
    name: str, sequence: TaskSequence
) -> None:
    numbers: dict[str, Any] = {"optimizer": name, "momentum": 0.9 if name == "sgd" else 0.0}
    training = TrainingConfig(batch_size=16, steps=4, lr=0.01, **numbers)
    source = _source(sequence, training)
    found, plain = (
        learnt_by(kind, _net(sequence), sequence, training, source)
        for kind in (_Relaid, Finetuning)
    )
    assert _same(found, plain)


def test_without_the_source_the_first_task_is_learnt_as_the_source_is(
    sequence: TaskSequence,
) -> None:
    found = learnt_by(FreshFinetuning, _net(sequence), sequence, TRAINING, None)
    shared = _learnt(Finetuning, sequence)
    assert found.rows == shared.rows
    assert all(torch.equal(found.params[n], shared.params[n]) for n in shared.params)
    assert found.n_steps == shared.n_steps + _source(sequence).n_steps


@pytest.mark.parametrize("bn_mode", ["batch", "frozen"])
def test_batch_norms_are_looked_after_as_for_every_method(
    bn_mode: str, sequence: TaskSequence
) -> None:
    net = _net(sequence, CONV.model_copy(update={"bn_mode": bn_mode}))
    source = _source(sequence, TRAINING, net)
    ours = methods.build("finetune", net, NoHyper())
    expected = learn_sequence(ours, sequence, TRAINING, 0, source, {})
    assert _same(learnt_by(Finetuning, net, sequence, TRAINING, source), expected)
    fresh = learnt_by(FreshFinetuning, net, sequence, TRAINING, None)
    assert fresh.rows == expected.rows


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_replay_as_a_learner_is_ours_bit_for_bit(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    numbers = {"memory_size": 20, "weight": 0.7}
    found = _learnt(Replay, sequence, hyper=ReplayHyper(**numbers))
    ours = _ours("replay", sequence, **numbers)
    assert _same(found, ours)
    assert found.memory_bytes == ours.memory_bytes
    assert not _same(found, _learnt(Finetuning, sequence))


class Lazy(Finetuning):
    """Draws a batch of every task, then asks for more than there are of the second."""

    def learn(self, task: int, batches: Any) -> None:
        assert len(batches) == batches.n_steps == 2 * 4
        next(batches)
        if task == 1:
            assert len(list(batches)) == 7
            assert list(batches) == []


def test_steps_are_counted_by_the_batches_that_are_drawn(sequence: TaskSequence) -> None:
    assert _learnt(Lazy, sequence).n_steps == 8 + 1


class Random(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        import random

        with torch.no_grad():
            for value in self.net.parameters():
                value += torch.randn(value.shape) * 0.01
                value += torch.randn(value.shape, generator=self.rng) * 0.01
                value += float(np.random.rand()) * 0.01  # noqa: NPY002
                value += random.random() * 0.01


def test_every_generator_is_the_trials_own(sequence: TaskSequence) -> None:
    first = _learnt(Random, sequence)
    torch.manual_seed(7)
    after, of_numpy = torch.rand(3), np.random.get_state()[1].tolist()  # noqa: NPY002
    torch.manual_seed(7)
    assert _same(first, _learnt(Random, sequence))
    assert torch.equal(torch.rand(3), after)
    assert np.random.get_state()[1].tolist() == of_numpy  # noqa: NPY002


def test_it_is_stopped_between_two_tasks(sequence: TaskSequence) -> None:
    ahead = json.dumps({"task 1": [["aaaa", 2.0, 2.0]]})
    watch = Watch(ahead, 3, margin=0.1, n_checks=2)
    found = _learnt(Finetuning, sequence, watch=watch)
    assert found.stopped.startswith("stopped after task 2 of 3: ")
    assert found.n_steps == 8
    assert max(row[0] for row in found.rows) == 1


# --- one sentence for each way to be wrong


class Raises(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        {}["absent"]  # here


class Exits(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        sys.exit(3)  # here


class Hangs(Finetuning):
    patience_seconds = 0.2

    def learn(self, task: int, batches: Any) -> None:
        for _ in batches:
            try:
                time.sleep(3)  # here
            except Exception:
                pass


class KeepsExamples(Finetuning):
    def absorb(self, task: int, examples: Any) -> None:
        self.examples = examples

    def learn(self, task: int, batches: Any) -> None:
        len(self.examples)  # here


class Lies(Finetuning):
    def absorb(self, task: int, examples: Any) -> None:
        self.stored = {"x": [examples.raw(torch.arange(len(examples)))] * 2}
        self.array = np.zeros(3000)

    def bytes(self) -> int:
        return 100


class Boasts(Finetuning):
    def bytes(self) -> int:
        return 10**6


class SaysWords(Finetuning):
    def bytes(self) -> Any:
        return {"pictures": 3}


class PeeksByKeeping(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        self.seen = x * 2
        return self.net(x, task)


class PeeksByCopying(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        self.__dict__.setdefault("kept", []).append(x.numpy().copy())
        return self.net(x, task)


class PeeksOutsideInference(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        with torch.inference_mode(False):
            self.seen = torch.tensor(x.tolist())
        return self.net(x, task)


class PeeksIntoAnArray(Finetuning):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.sums = np.zeros(3)

    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        self.sums[task] += float(x.sum())
        return self.net(x, task)

    def bytes(self) -> int:
        return self.sums.nbytes


class PeeksBehindObjects(Finetuning):
    """Keeps copies in arrays of objects, one of which holds nothing."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.kept = [np.empty(1, dtype=object) for _ in range(3)]

    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        self.kept[2][0] = x.numpy().copy()
        return self.net(x, task)

    def bytes(self) -> int:
        return sum(array[0].nbytes for array in self.kept if array[0] is not None)


class PeeksInPlace(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        for value in self.net.parameters():
            value += x.mean()
        return self.net(x, task)


class WrongShape(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        return self.net(x, task)[:, :1]


class Classes(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> Any:
        return self.net(x, task) > 0


class NoTensor(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> Any:
        return None


class Partial:
    def __init__(self, net: Any, hyper: Any, device: Any, rng: Any) -> None:
        pass

    def learn(self, task: int, batches: Any) -> None:
        pass


class FailsToStart(Finetuning):
    def __init__(self, net: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (Raises, "Raises.learn raised KeyError: 'absent'"),
        (Exits, "Exits.learn raised SystemExit: 3"),
        (Hangs, "Hangs.learn drew no batch for 0.2 s, and did not return"),
        (KeepsExamples, "KeepsExamples.learn raised RuntimeError: the examples of task 1 were"),
        (Lies, "Lies.bytes says 100; its attributes hold 27,840 bytes of tensors beside"),
        (Boasts, "Boasts.bytes says 1,000,000; its attributes hold 0 bytes"),
        (SaysWords, "SaysWords.bytes returned {'pictures': 3}"),
        (PeeksByKeeping, "PeeksByKeeping.predict keeps what it has computed in the learner's .se"),
        (PeeksByCopying, "PeeksByCopying.predict keeps what it has computed in the learner's .ke"),
        (PeeksOutsideInference, "PeeksOutsideInference.predict changes the learner's .seen"),
        (PeeksIntoAnArray, "PeeksIntoAnArray.predict changes the learner's .sums"),
        (PeeksBehindObjects, "PeeksBehindObjects.predict changes the learner's .kept[2][...][0]"),
        (PeeksInPlace, "PeeksInPlace.predict changes the learner's .net."),
        (WrongShape, "WrongShape.predict returned the shape (60, 1) for 60 inputs of task 2"),
        (Classes, "Classes.predict returned torch.bool on cpu"),
        (NoTensor, "NoTensor.predict returned NoneType for"),
        (Partial, "Partial has no predict and no bytes"),
        (FailsToStart, "FailsToStart.__init__ raised TypeError: "),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_a_broken_contract_is_one_sentence_with_file_and_line(
    kind: type, found: str, sequence: TaskSequence
) -> None:
    with pytest.raises(MethodError) as caught:
        _learnt(kind, sequence)
    assert caught.value.found.startswith(found)
    assert f"where: {__file__}, line " in str(caught.value) or kind is FailsToStart
    number = str(caught.value).partition(f"{__file__}, line ")[2].split("\n")[0]
    lines = open(__file__, encoding="utf-8").read().splitlines()
    if number and "# here" in "".join(lines):
        line = lines[int(number) - 1]
        assert "# here" in line or line.startswith(f"class {kind.__name__}")


class Nan(Finetuning):
    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        return self.net(x, task) * float("nan")


class Grows(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        list(batches)
        with torch.no_grad():
            for value in self.net.parameters():
                value += 1e5


class Overflows(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        list(batches)
        with torch.no_grad():
            for value in self.net.parameters():
                value /= 0


class Oscillates(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        list(batches)
        with torch.no_grad():
            for value in self.net.parameters():
                value *= -300


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (Nan, "what is predicted after task 2 is NaN"),
        (Grows, "a parameter grew to 100000 by the end of task 2"),
        (Overflows, "the network is no longer finite at the end of task 2"),
        (Oscillates, "after task 2 its own training loss is "),
    ],
)
def test_divergence_is_told_from_mistakes(kind: type, found: str, sequence: TaskSequence) -> None:
    with pytest.raises(Diverged) as caught:
        _learnt(kind, sequence)
    assert caught.value.found.startswith(found)
    assert caught.value.n_steps == 8


class OverflowsAtOnce(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        for _ in batches:
            with torch.no_grad():
                for value in self.net.parameters():
                    value /= 0


def test_a_network_that_is_lost_is_not_trained_to_the_end(sequence: TaskSequence) -> None:
    long = TRAINING.model_copy(update={"steps": 400})
    with pytest.raises(Diverged, match="no longer finite before batch 50 of task 2") as caught:
        learnt_by(OverflowsAtOnce, _net(sequence), sequence, long, _source(sequence))
    assert caught.value.n_steps == 50


class Distances(Finetuning):
    """Logits of its own scale, which no cross-entropy is to judge."""

    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        return self.net(x, task) * 1e4


def test_logits_of_another_scale_are_no_divergence(sequence: TaskSequence) -> None:
    assert _learnt(Distances, sequence).rows == _learnt(Finetuning, sequence).rows


class Prints(Finetuning):
    def learn(self, task: int, batches: Any) -> None:
        super().learn(task, batches)
        print("loss", 0.5)


def test_what_it_prints_goes_to_stderr_and_is_noted(
    sequence: TaskSequence, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _learnt(Prints, sequence)
    line = next(n for n, t in enumerate(open(__file__), 1) if 'print("loss", 0.5)' in t)
    assert found.note == f"{__file__}, line {line}, printed: loss"
    assert capsys.readouterr() == ("", "loss 0.5\n" * 2)


def test_a_timer_of_somebody_else_goes_on(sequence: TaskSequence) -> None:
    import signal

    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    old = signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        _learnt(Finetuning, sequence)
        time.sleep(0.05)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *old)
    assert rung == [signal.SIGALRM]


class Spins(Finetuning):
    patience_seconds = 0.2

    def learn(self, task: int, batches: Any) -> None:
        list(batches)
        while True:
            try:
                sum(range(100))
            except Exception:
                pass


def test_a_hang_in_another_thread_is_ended_too(sequence: TaskSequence) -> None:
    """A worker of Ray does not train in its main thread."""
    with ThreadPoolExecutor(1) as pool:
        for kind in (Spins, Spins):
            with pytest.raises(MethodError, match="Spins.learn drew no batch for 0.2 s"):
                pool.submit(_learnt, kind, sequence).result(30)
        assert _same(pool.submit(_learnt, Finetuning, sequence).result(), _learnt(Duck, sequence))


class Duck:
    """No child of any class of ours, and without `absorb`."""

    def __init__(self, net: Any, hyper: Any, device: Any, rng: Any) -> None:
        self.net = net

    def learn(self, task: int, batches: Any) -> None:
        optimiser = torch.optim.SGD(self.net.parameters(), lr=batches.training.lr)
        for batch in batches:
            optimiser.zero_grad()
            F.cross_entropy(self.net(batch.x, task), batch.y).backward()
            optimiser.step()

    def predict(self, x: torch.Tensor, task: int) -> torch.Tensor:
        return self.net(x, task)

    def bytes(self) -> int:
        return 0


def test_any_class_of_that_shape_will_do(sequence: TaskSequence) -> None:
    assert _same(_learnt(Duck, sequence), _learnt(Finetuning, sequence))
    assert ImperativeLearner.absorb(object(), 0, None) is None  # type: ignore[arg-type]
