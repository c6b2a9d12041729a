"""Task inference beside a hypernetwork: its loss, its labels, and what it decides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, TaskSequence
from clsweep.errors import MethodError
from clsweep.methods import hnet, hnet_tir
from clsweep.methods.base import Batch, LearntTask, Phase
from clsweep.methods.hypernetwork_hypers import HnetHyper, HnetTirHyper
from clsweep.methods.parts.protected_generator import DECODERS, Generator, generator_of
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, without_prefix
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.sequences import learn_sequence
from tests.methods.cases import SMALL_GENERATOR, SMALL_HNET

HYPER = HnetTirHyper(beta=0.5, generator_beta=0.5, **SMALL_HNET, **SMALL_GENERATOR)
SCALE = Scale(torch.full((1, 1, 1), 0.02), torch.full((1, 1, 1), -1.5))
HIDDEN = ("domain", "class")


class Parts:
    """A net of three tasks, of which two have been learnt."""

    def __init__(self, scenario: str, sizes: tuple[int, ...] = (2, 2, 2)) -> None:
        self.net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads(scenario, sizes))
        self.method = methods.build("hnet_tir", self.net, HYPER)
        self.network = self.method.net
        self.params, self.old = (self.network.init(generator(k, "init")) for k in (0, 1))
        made, empty = generator_of(self.net, HYPER), self.method.begin(self.old)
        stored = made.absorbed(self.old, empty["decoders"], 2)
        self.memory = {**empty, "decoders": stored}
        rng = generator(0, "data")
        raw = torch.randint(0, 256, (4, 1, 2, 2), generator=rng).to(torch.uint8)
        y = torch.tensor([0, 1, 1, 0]) + self.net.heads.label_offset(2)
        draw = self.method.phases[2].draw(rng, self.memory, 1, 4)
        codes = {"codes": draw["codes"][0]}
        self.batch = Batch(SCALE(raw), y, raw, SCALE, codes)

    def task_logits(self, x: Tensor) -> Tensor:
        """The task classifier by hand: one hidden layer of five, an output per task."""
        p = without_prefix(self.params, hnet_tir.TASKS)
        h = F.relu(F.linear(x.flatten(1), p["layers.0.weight"], p["layers.0.bias"]))
        return F.linear(h, p["head.weight"], p["head.bias"])


@pytest.mark.parametrize("scenario", HIDDEN)
def test_loss_by_hand(scenario: str) -> None:
    """Half for the new images, half for equally many of every old decoder; hard labels."""
    parts = Parts(scenario)
    made = generator_of(parts.net, HYPER)
    codes = parts.batch.draw["codes"]
    log_p = [parts.task_logits(parts.batch.x).log_softmax(1)[:, 2].mean()]
    for k, z in enumerate((codes[:2], codes[2:4])):
        decoder = made.hypernet.generated(without_prefix(parts.old, DECODERS), k)
        x = SCALE(made.vae.generated(decoder, z))
        log_p.append(parts.task_logits(x).log_softmax(1)[:, k].mean())
    expected = -0.5 * log_p[0] - 0.5 * (log_p[1] + log_p[2]) / 2
    found = parts.method.phases[2].loss(parts.params, parts.memory, parts.batch, 2)
    torch.testing.assert_close(found, expected)


def test_the_softmax_runs_over_the_tasks_seen() -> None:
    """While the first of three tasks is learnt there is nothing to tell apart."""
    parts = Parts("class")
    phase = parts.method.phases[2]
    names = list(phase.open(parts.params, parts.memory, 0))
    leaves = {n: parts.params[n].clone().requires_grad_() for n in names}
    loss = phase.loss({**parts.params, **leaves}, parts.memory, parts.batch, 0)
    assert float(loss.detach()) == 0
    assert not any(g.any() for g in torch.autograd.grad(loss, list(leaves.values())))
    second = phase.loss(parts.params, parts.memory, parts.batch, 1)
    made = generator_of(parts.net, HYPER)
    x = SCALE(made.replayed(parts.memory["decoders"], parts.batch.draw["codes"], 1))
    new, old = (parts.task_logits(images)[:, :2].log_softmax(1) for images in (parts.batch.x, x))
    torch.testing.assert_close(second, -0.5 * new[:, 1].mean() - 0.5 * old[:, 0].mean())


def perfect(params: Params) -> Params:
    """Reads the task off the first pixel p: the largest of k p − k²/2 is the k nearest to p."""
    p = without_prefix(params, hnet_tir.TASKS)
    k = torch.arange(len(p["head.bias"]), dtype=torch.float32)
    made = {n: torch.zeros_like(v) for n, v in p.items()}
    made["layers.0.weight"][0, 0] = 1
    made["head.weight"][:, 0] = k
    made["head.bias"] = -k.square() / 2
    return {**params, **{f"{hnet_tir.TASKS}{n}": v for n, v in made.items()}}


@pytest.mark.parametrize("scenario", HIDDEN)
def test_a_perfect_task_classifier_gives_the_task(scenario: str) -> None:
    parts = Parts(scenario)
    x = torch.rand(30, 1, 2, 2, generator=generator(5, "x")) * 4 - 2
    tasks = torch.arange(30) % 3
    x[:, 0, 0, 0] = tasks.float()
    params = perfect(parts.params)
    found = parts.method.predict(params, x, 2)
    given = torch.full((30, 6 if scenario == "class" else 2), -torch.inf)
    for k in range(3):
        logits = parts.network.apply(params, x[tasks == k], k)
        given[tasks == k, : logits.shape[1]] = logits
    torch.testing.assert_close(found, given)
    assert found.argmax(1).unique().numel() > 1


@pytest.mark.parametrize("scenario", HIDDEN)
def test_no_task_is_inferred_before_it_is_learnt(scenario: str) -> None:
    parts = Parts(scenario)
    x = torch.rand(8, 1, 2, 2, generator=generator(5, "x"))
    x[:, 0, 0, 0] = 2.0
    params = perfect(parts.params)
    found = parts.method.predict(params, x, 1)
    assert torch.equal(found, parts.network.apply(params, x, 1))


def test_tasks_may_have_unequally_many_classes() -> None:
    """Unlike entropies, the outputs of the task classifier compare between any tasks."""
    parts = Parts("class", (2, 3, 1))
    x = torch.zeros(3, 1, 2, 2)
    x[:, 0, 0, 0] = torch.arange(3)
    found = parts.method.predict(perfect(parts.params), x, 2)
    assert torch.isfinite(found).tolist() == [
        [True, True, False, False, False, False],
        [False, False, True, True, True, False],
        [False, False, False, False, False, True],
    ]


def test_phases_share_nothing_and_leave_out_only_other_embeddings() -> None:
    parts = Parts("class")
    opened = [set(p.open(parts.params, parts.memory, 1)) for p in parts.method.phases]
    assert sum(map(len, opened)) == len(set.union(*opened))
    assert parts.params.keys() - set.union(*opened) == {
        f"{prefix}embeddings.{k}" for prefix in (hnet.MAIN, DECODERS) for k in (0, 2)
    }


def test_absorb_stores_what_both_hypernetworks_generate(
    sequences: dict[str, TaskSequence],
) -> None:
    parts = Parts("class")
    data = LearntTask(sequences["class"].tasks[1], SCALE, None, 0, generator(0, "absorb"))
    memory = parts.method.absorb(parts.params, parts.memory, {}, data)
    made = generator_of(parts.net, HYPER)
    for k in range(2):
        decoder = made.hypernet.generated(without_prefix(parts.params, DECODERS), k)
        # One product for both tasks there, one for each here: rounded in another order.
        own = torch.cat([v.flatten() for v in decoder.values()])
        torch.testing.assert_close(memory["decoders"][k], own, atol=1e-6, rtol=1e-5)
    value = parts.method.phases[0].loss(parts.params, memory, parts.batch, 2)
    logits = parts.network.apply(parts.params, parts.batch.x, 2)
    torch.testing.assert_close(value, F.cross_entropy(logits, parts.batch.y))


@pytest.mark.parametrize("scenario", HIDDEN)
def test_generated_networks_are_those_of_hnet(
    scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    """The inference of the task has no part in how the hypernetwork is learnt."""
    sequence = sequences[scenario]
    net = build_net(NetConfig(hidden=(12,)), sequence.input_shape, sequence.heads)
    training = TrainingConfig(optimizer="adam", lr=0.01, batch_size=16, steps=5)
    plain = HnetHyper(beta=0.5, **SMALL_HNET)
    ends = [
        learn_sequence(methods.build(name, net, hyper), sequence, training, 0, None, {})
        for name, hyper in (("hnet", plain), ("hnet_tir", HYPER))
    ]
    own, other = (without_prefix(end.params, hnet.MAIN) for end in ends)
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    ratios = [end.counters["compression_ratio"] for end in ends]
    assert ratios[0] == ratios[1]
    n_decoders = sum(v.numel() for v in without_prefix(ends[1].params, DECODERS).values())
    n_decoder = generator_of(net, HYPER).hypernet.n_generated
    assert ends[1].counters["decoder_compression_ratio"] == n_decoders / n_decoder


def test_replay_keeps_the_task_classifier_from_forgetting(
    sequences: dict[str, TaskSequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real images of old tasks it tells five tasks apart; with noise only the latest."""
    sequence = sequences["class"]
    net = build_net(NetConfig(hidden=(40,)), sequence.input_shape, sequence.heads)
    phase = hnet_tir.build(net, HYPER).phases[2]
    of_tasks = net.with_heads(Heads("class", (1,) * 5))
    images = [task.train.raw(torch.arange(len(task.train))) for task in sequence.tasks]
    made = generator_of(net, HYPER)

    def real(self: object, stored: Tensor, codes: Tensor, n_past: int) -> Tensor:
        n_each = -(-(len(codes) - 4) // n_past)
        uniform = torch.special.ndtr(codes[: n_each * n_past, 0]).split(n_each)
        return torch.cat([x[(u * len(x)).long()] for x, u in zip(images, uniform, strict=False)])

    accuracies = {}
    for replay in ("real", "noise"):
        if replay == "real":
            monkeypatch.setattr(type(made), "replayed", real)
        else:
            monkeypatch.undo()
        accuracies[replay] = _inferred_correctly(phase, of_tasks, sequence, made)
    assert accuracies["real"] > 0.8
    assert accuracies["noise"] < 0.5


def _inferred_correctly(
    phase: Phase, of_tasks: Net, sequence: TaskSequence, made: Generator
) -> float:
    """Share of test images of five tasks whose task the classifier knows after the last."""
    params = {f"{hnet_tir.TASKS}{n}": v for n, v in of_tasks.init(generator(0, "init")).items()}
    memory = {"decoders": made.empty(torch.device("cpu"))}
    training = TrainingConfig(optimizer="adam", lr=0.003, batch_size=30)
    for task in sequence.tasks:
        params = train_phase(
            phase,
            State(params, memory),
            task.train,
            Setting(of_tasks, sequence.scale, training, 0),
            task=task.index,
            n_steps=150,
        ).params
    classifier, n_correct, n_total = without_prefix(params, hnet_tir.TASKS), 0, 0
    for task in sequence.tasks:
        x = sequence.scale(task.test.raw(torch.arange(len(task.test))))
        n_correct += int((of_tasks.apply(classifier, x, 4).argmax(1) == task.index).sum())
        n_total += len(x)
    return n_correct / n_total


def test_batch_norm_is_refused_by_layer() -> None:
    net = build_net(
        NetConfig(name="conv", channels=(4,), width=8, norm="batch"),
        (1, 8, 8),
        Heads("class", (2, 2)),
    )
    with pytest.raises(MethodError, match=r"batch norms, and 'norms\.0' is one"):
        methods.build("hnet_tir", net, HYPER)
