"""A generator with a decoder per task: loss, penalty, stored decoders, equal shares of replay."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, TaskSequence
from clsweep.methods.base import Batch, Memory, Phase
from clsweep.methods.hypernetwork_hypers import (
    HnetReplayHyper,
    HnetTirHyper,
    ProtectedGeneratorHyper,
)
from clsweep.methods.parts import protected_generator
from clsweep.methods.parts.protected_generator import DECODERS, ENCODER
from clsweep.methods.parts.vae import pixels_of, vae_loss
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, n_elements, without_prefix
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase

SIZES = {
    "encoder": "6",
    "decoder": "5",
    "latent": 3,
    "generator_hidden": "6-5",
    "generator_task_embedding": 4,
    "generator_chunk_embedding": 3,
    "generator_chunk_size": 20,
}
HYPER = ProtectedGeneratorHyper(generator_beta=0.5, **SIZES)
ONE = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))


class Parts(NamedTuple):
    """A generator of three tasks, of which two have been learnt, and a batch of the third."""

    net: Net
    generator: protected_generator.Generator
    params: Params
    old: Params
    memory: Memory
    batch: Batch

    def loss(self, hyper: ProtectedGeneratorHyper, params: Params | None = None) -> Tensor:
        return phase_of(self.net, hyper).loss(params or self.params, self.memory, self.batch, 2)

    def decoder(self, params: Params, task: int) -> Params:
        return self.generator.hypernet.generated(without_prefix(params, DECODERS), task)


def phase_of(net: Net, hyper: ProtectedGeneratorHyper) -> Phase:
    made = protected_generator.generator_of(net, hyper)
    return protected_generator.generator_phase(made, hyper.look_ahead)


def parts(hyper: ProtectedGeneratorHyper = HYPER) -> Parts:
    net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads("class", (2, 2, 2)))
    made = protected_generator.generator_of(net, hyper)
    params, old = (made.init(generator(k, "init")) for k in (0, 1))
    stored = made.absorbed(old, made.empty(torch.device("cpu")), 2)
    rng = generator(0, "data")
    raw = torch.randint(0, 256, (4, 1, 2, 2), generator=rng).to(torch.uint8)
    draw = {"noise": torch.randn(6, 3, generator=rng)}
    batch = Batch(raw.float(), torch.zeros(4, dtype=torch.int64), raw, ONE, draw)
    return Parts(net, made, params, old, {"decoders": stored}, batch)


@pytest.mark.parametrize(
    ("hyper", "n_decoder", "n_hypernet"),
    [(HnetTirHyper(), 131_084, 552_808), (HnetReplayHyper(), 388_284, 553_288)],
    ids=["TIR", "R"],
)
def test_published_sizes_of_split_mnist(
    hyper: ProtectedGeneratorHyper, n_decoder: int, n_hypernet: int
) -> None:
    """Decoders 100-50-150-784 and 100-250-350-784, in pieces of 50,000."""
    net = build_net(NetConfig(), (1, 28, 28), Heads("class", (2,) * 5))
    made = protected_generator.generator_of(net, hyper)
    params = made.init(generator(0, "init"))
    assert made.hypernet.n_generated == n_decoder
    assert n_elements(without_prefix(params, DECODERS)) == n_hypernet
    encoder = 784 * 400 + 400 + 400 * 400 + 400 + 400 * 200 + 200
    assert n_elements(without_prefix(params, ENCODER)) == encoder
    memory = {"decoders": made.empty(torch.device("cpu"))}
    assert protected_generator.decoder_ratio(params, memory) == n_hypernet / n_decoder


def test_loss_by_hand() -> None:
    """The autoencoder's loss of the task's own decoder, and β_g times the mean over two tasks."""
    p = parts()
    encoder, decoder = without_prefix(p.params, ENCODER), p.decoder(p.params, 2)
    noise = p.batch.draw["noise"][:4]
    new = vae_loss(p.generator.vae, encoder, decoder, pixels_of(p.batch.raw), noise)
    moved = [
        (p.decoder(p.params, k)[name] - p.decoder(p.old, k)[name]).square().sum()
        for k in range(2)
        for name in decoder
    ]
    assert float(torch.stack(moved).sum()) > 0.1
    torch.testing.assert_close(p.loss(HYPER), new + 0.5 * torch.stack(moved).sum() / 2)


def test_penalty_is_nothing_at_the_first_step_of_a_task() -> None:
    """Where the decoders were stored, the loss and its gradient do not depend on β_g."""
    p = parts()
    found = []
    for beta in (0.0, 1e3):
        hyper = HYPER.model_copy(update={"generator_beta": beta})
        leaves = {n: v.clone().requires_grad_() for n, v in p.old.items()}
        loss = p.loss(hyper, leaves)
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        found.append([loss, *(torch.zeros(()) if g is None else g for g in grads)])
    for without, with_penalty in zip(*found, strict=True):
        torch.testing.assert_close(with_penalty, without)


def test_the_encoder_is_not_protected() -> None:
    p = parts()
    names = [n for n in p.params if n.startswith(ENCODER)]
    found = []
    for beta in (0.0, 1e3):
        leaves = {n: v.clone().requires_grad_() for n, v in p.params.items()}
        loss = p.loss(HYPER.model_copy(update={"generator_beta": beta}), leaves)
        found.append(torch.autograd.grad(loss, [leaves[n] for n in names]))
    for without, with_penalty in zip(*found, strict=True):
        torch.testing.assert_close(with_penalty, without)


def test_stored_decoders_reproduce_the_images() -> None:
    """Right after `absorbed`, replay is what the hypernetwork decodes itself, up to rounding."""
    p = parts()
    stored = p.generator.absorbed(p.params, p.memory["decoders"], 2)
    codes = torch.randn(8, 3, generator=generator(0, "codes"))
    replayed = p.generator.replayed(stored, codes, 2)
    assert replayed.shape == (6, 1, 2, 2)
    for k, images in enumerate(replayed.split(3)):
        own = p.generator.vae.generated(p.decoder(p.params, k), codes[3 * k : 3 * k + 3])
        # Pixels in 0..255. Two decoders of one product there, one each here.
        torch.testing.assert_close(images, own, atol=1e-3, rtol=1e-5)
    assert not stored[2].any()
    assert not stored.requires_grad
    before = p.generator.replayed(p.memory["decoders"], codes, 2)
    assert (replayed - before).abs().max() > 1


@pytest.mark.parametrize("n_asked", [1, 4, 5, 128])
@pytest.mark.parametrize("n_past", [1, 2, 3, 4])
def test_every_past_task_is_replayed_alike(n_asked: int, n_past: int) -> None:
    """Decoders that give one grey each: the batch holds ⌈B / K⌉ of every grey, in order."""
    net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads("domain", (2,) * 5))
    made = protected_generator.generator_of(net, HYPER)
    stored = made.empty(torch.device("cpu"))
    greys = torch.tensor([0.2, 0.4, 0.6, 0.8, 0.9])
    for k, grey in enumerate(greys):
        made.hypernet.shaped(stored[k])["1.bias"].copy_(grey.logit())
    draws = protected_generator.replay_codes(made, n_asked, generator(0, "draw"), 3)
    images = made.replayed(stored, draws["codes"][1], n_past)
    n_each = -(-n_asked // n_past)
    expected = (255 * greys[:n_past]).repeat_interleave(n_each)
    torch.testing.assert_close(images, expected[:, None, None, None].expand(-1, 1, 2, 2))


def test_codes_are_standard_normal_and_as_many_as_asked() -> None:
    net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads("domain", (2,) * 5))
    for replay_batch, n in ((0, 64), (40, 40)):
        hyper = HnetReplayHyper(**SIZES, replay_batch=replay_batch)
        phase = methods.build("hnet_replay", net, hyper).phases[1]
        codes = phase.draw(generator(0, "draw"), {}, 100, 64)["codes"]
        assert codes.shape == (100, n + 4, 3)
        assert abs(float(codes.mean())) < 0.05
        assert abs(float(codes.std()) - 1) < 0.05


def test_old_embeddings_are_frozen_and_all_else_is_trained(
    sequences: dict[str, TaskSequence],
) -> None:
    before, after = _trained(sequences["class"], HYPER.model_copy(update={"generator_beta": 1.0}))
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {f"{DECODERS}embeddings.{k}" for k in (0, 2, 3, 4)}


def _trained(sequence: TaskSequence, hyper: ProtectedGeneratorHyper) -> tuple[Params, Params]:
    """The generator before and after sixty steps on the second task."""
    net = build_net(NetConfig(hidden=(5,)), sequence.input_shape, sequence.heads)
    made = protected_generator.generator_of(net, hyper)
    before = made.init(generator(0, "init"))
    stored = made.absorbed(before, made.empty(torch.device("cpu")), 1)
    training = TrainingConfig(optimizer="adam", lr=0.003, batch_size=20)
    run = train_phase(
        phase_of(net, hyper),
        State(before, {"decoders": stored}),
        sequence.tasks[1].train,
        Setting(net, sequence.scale, training, 0),
        task=1,
        n_steps=60,
    )
    return before, run.params


@pytest.mark.parametrize("look_ahead", [False, True])
def test_old_decoders_stay_under_a_huge_penalty_and_move_without(
    look_ahead: bool, sequences: dict[str, TaskSequence]
) -> None:
    """Distance of the first task's generated decoder, over its size."""
    sequence, moved = sequences["class"], {}
    for beta in (0.0, 1e4):
        numbers = {"generator_beta": beta, "look_ahead": look_ahead, "generator_chunk_size": 200}
        hyper = HYPER.model_copy(update=numbers)
        net = build_net(NetConfig(hidden=(5,)), sequence.input_shape, sequence.heads)
        made = protected_generator.generator_of(net, hyper)
        empty = made.empty(torch.device("cpu"))
        flat = [made.absorbed(p, empty, 1)[0] for p in _trained(sequence, hyper)]
        moved[beta] = float((flat[1] - flat[0]).norm() / flat[0].norm())
    assert moved[0.0] > 0.3
    assert moved[1e4] < 0.05 * moved[0.0]


def test_look_ahead_takes_the_penalty_where_the_step_would_lead() -> None:
    p = parts()
    hyper = HYPER.model_copy(update={"look_ahead": True})
    plain = HYPER.model_copy(update={"generator_beta": 0.0})
    torch.testing.assert_close(p.loss(hyper), p.loss(plain))
    phase = phase_of(p.net, hyper)
    assert phase_of(p.net, HYPER).foresee is None
    grads = {n: torch.full_like(v, 0.01) for n, v in phase.open(p.params, p.memory, 2).items()}
    ahead = {n: v - 0.3 * grads[n] if n in grads else v for n, v in p.params.items()}
    found = phase.foresee(grads, ahead, p.memory, p.batch, 2)
    leaves = {n: ahead[n].clone().requires_grad_() for n in grads}
    value = p.generator.penalty({**ahead, **leaves}, p.memory["decoders"], 2, {})
    pull = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    for (name, grad), extra in zip(grads.items(), pull, strict=True):
        torch.testing.assert_close(found[name], grad if extra is None else grad + extra)
    assert {name for name in grads if torch.equal(found[name], grads[name])} == {
        *(name for name in grads if name.startswith(ENCODER)),
        f"{DECODERS}embeddings.2",
    }


def test_first_task_has_no_penalty() -> None:
    p = parts()
    heavy = HYPER.model_copy(update={"generator_beta": 1e6})
    light = HYPER.model_copy(update={"generator_beta": 0.0})
    found = [
        phase_of(p.net, hyper).loss(p.params, p.memory, p.batch, 0) for hyper in (heavy, light)
    ]
    assert torch.equal(*found)
