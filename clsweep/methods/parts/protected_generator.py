"""A generator that remembers old tasks' images: a hypernetwork gives every task its decoder.

    Φ_t = f_g(e_t; Θ_g)   the decoder of task t; one encoder for all tasks
    L_t = VAE(encoder, Φ_t) + (β_g / (t − 1)) Σ_{k<t} ‖f_g(e_k; Θ_g*) − f_g(e_k; Θ_g)‖²
    replay before task t: z ~ N(0, I) through f_g(e_k; Θ_g*), ⌈B / (t − 1)⌉ images of every k < t

von Oswald, Henning, Sacramento and Grewe 2020, "Continual learning with hypernetworks", ICLR. The
autoencoder's loss is that of `clsweep.methods.parts.vae`, the penalty that of
`clsweep.methods.parts.hypernets`. The decoders are protected by the penalty, the encoder by
nothing: it is not asked for old images again. Images are generated as means of their pixels.

Deviation. Their decoder also sees a fixed random vector of the task beside z; decoders that differ
from task to task in all of their weights do not need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.methods.base import Batch, Memory, Phase
from clsweep.methods.hyper_fields import layer_widths
from clsweep.methods.hypernetwork_hypers import ProtectedGeneratorHyper
from clsweep.methods.parts.hypernets import Hypernet, looked_ahead, trained_on
from clsweep.methods.parts.vae import Vae, pixels_of, vae_loss, xavier_layers
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, n_elements, with_prefix, without_prefix

GENERATOR = "generator."
ENCODER, DECODERS = f"{GENERATOR}encoder.", f"{GENERATOR}decoders."


class Generator(NamedTuple):
    """The shape of a generator; its parameters are handed in.

    Attributes:
        vae: encoder and decoder of one task.
        hypernet: generates the decoders; an embedding for every task.
        beta: β_g.
    """

    vae: Vae
    hypernet: Hypernet
    beta: float

    def init(self, rng: torch.Generator) -> Params:
        """Parameters of the encoder and of the hypernetwork, under `ENCODER` and `DECODERS`.

        Args:
            rng: draws them.
        """
        encoder = with_prefix(xavier_layers(self.vae.encoder_shapes, rng), ENCODER)
        return {**encoder, **with_prefix(self.hypernet.init(rng), DECODERS)}

    def empty(self, device: torch.device) -> Tensor:
        """Room for what the hypernetwork generates, [T, n_generated] zeros.

        Args:
            device: where.
        """
        return torch.zeros(self.hypernet.n_tasks, self.hypernet.n_generated, device=device)

    def absorbed(self, params: Params, stored: Tensor, n_past: int) -> Tensor:
        """The stored decoders after a task, [T, n_generated], a new tensor.

        Args:
            params: all parameters of the method.
            stored: the decoders before the task.
            n_past: tasks learnt so far, at least 1.
        """
        return self.hypernet.snapshot(without_prefix(params, DECODERS), stored, n_past)

    def penalty(
        self, params: Params, stored: Tensor, n_past: int, draw: Mapping[str, Tensor]
    ) -> Tensor:
        """The second term of L_t, shape ().

        Args:
            params: all parameters of the method.
            stored: f_g(e_k; Θ_g*) in row k.
            n_past: t − 1.
            draw: of this step.
        """
        held = without_prefix(params, DECODERS)
        return self.beta * self.hypernet.penalty(held, stored, n_past, draw)

    def replayed(self, stored: Tensor, codes: Tensor, n_past: int) -> Tensor:
        """Images of all past tasks, task by task, equally many of each, [N, C, H, W] in 0..255.

        Args:
            stored: decoders of the tasks learnt so far.
            codes: from `replay_codes`, [B + T − 1, latent].
            n_past: t − 1, at least 1.
        """
        n_asked = len(codes) - self.hypernet.n_tasks + 1
        n_each = -(-n_asked // n_past)
        parts = codes[: n_each * n_past].split(n_each)
        return torch.cat(
            [self.vae.generated(self.hypernet.shaped(stored[k]), z) for k, z in enumerate(parts)]
        )


def generator_of(net: Net, hyper: ProtectedGeneratorHyper) -> Generator:
    """The generator of images that `net` classifies.

    Args:
        net: the study's network.
        hyper: sizes of the generator.
    """
    encoder, decoder = layer_widths(hyper.encoder), layer_widths(hyper.decoder)
    vae = Vae(net.input_shape, encoder, decoder, hyper.latent)
    hypernet = Hypernet(
        vae.decoder_shapes,
        len(net.heads.sizes),
        layer_widths(hyper.generator_hidden),
        hyper.generator_activation,
        hyper.generator_task_embedding,
        hyper.generator_chunk_embedding,
        hyper.generator_chunk_size,
        hyper.penalty_tasks,
        hyper.generator_task_embedding_std,
        hyper.generator_chunk_embedding_std,
    )
    return Generator(vae, hypernet, hyper.generator_beta)


def generator_phase(generator: Generator, look_ahead: bool) -> Phase:
    """Training of the generator on a task; the decoders are at 'decoders' in the memory.

    Args:
        generator: what is trained.
        look_ahead: whether the penalty's gradient is taken where the step on the task would lead.
    """

    def opened(params: Params, memory: Memory, task: int) -> Params:
        encoder = {name: v for name, v in params.items() if name.startswith(ENCODER)}
        held = trained_on(without_prefix(params, DECODERS), task)
        return {**encoder, **with_prefix(held, DECODERS)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        encoder = without_prefix(full, ENCODER)
        decoder = generator.hypernet.generated(without_prefix(full, DECODERS), task)
        noise = batch.draw["noise"][: len(batch.raw)]
        new = vae_loss(generator.vae, encoder, decoder, pixels_of(batch.raw), noise)
        if look_ahead:
            return new
        return new + generator.penalty(full, memory["decoders"], task, batch.draw)

    def foresee(grads: Params, ahead: Params, memory: Memory, batch: Batch, task: int) -> Params:
        if task == 0:
            return grads
        stored = memory["decoders"]
        return looked_ahead(
            grads, ahead, lambda full: generator.penalty(full, stored, task, batch.draw)
        )

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        noise = torch.randn(n_steps, batch_size, generator.vae.latent, generator=rng)
        return {"noise": noise, **generator.hypernet.penalty_keys(rng, n_steps)}

    return Phase(
        "generator",
        loss,
        open=opened,
        draw=draw,
        foresee=foresee if look_ahead else None,
        holds_statistics=True,
    )


def replay_codes(
    generator: Generator, n_images: int, rng: torch.Generator, n_steps: int
) -> dict[str, Tensor]:
    """Draws of a phase with replay: 'codes' z of B images a step, and of T − 1 to round up.

    Args:
        generator: of the decoders of T tasks.
        n_images: B.
        rng: draws them.
        n_steps: steps of the epoch.
    """
    n_codes = n_images + generator.hypernet.n_tasks - 1
    return {"codes": torch.randn(n_steps, n_codes, generator.vae.latent, generator=rng)}


def decoder_ratio(params: Params, memory: Memory) -> float:
    """(Θ_g and all e_t) / (parameters of one decoder).

    Args:
        params: all parameters of the method.
        memory: holds 'decoders'.
    """
    n_decoder: int = memory["decoders"].shape[1]
    return n_elements(without_prefix(params, DECODERS)) / n_decoder
