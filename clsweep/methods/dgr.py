"""Deep generative replay (DGR), with hard labels or distillation.

    solver     L = (L_new + w k L_replay) / (1 + w k),   k = t − 1 past tasks, t counted from 1
    generator  the same sum of the autoencoder's loss on new images and on its own replay
    w = 1: L = (1/t) L_new + (1 − 1/t) L_replay
    replay: x̃ from the generator before task t, labelled by the solver before task t, with
    'hard': argmax of its logits;   'soft': softmax(logits / T), −Σ_c q_c log p_c, times T² if
    `t_squared` asks for it, as in the code of van de Ven and Tolias

Shin et al. 2017, "Continual learning with deep generative replay", NeurIPS; van de Ven and Tolias
2018, "Generative replay with feedback connections" (symmetric VAE, distillation, weights).

Heads. One head per task: every old head labels the same generated batch, L_replay is the mean
over heads. Class-incremental: the softmax runs over all classes seen, and soft targets are zero
for those of the new task. The prediction of a shared head is distilled as it is.

The solver starts from the shared source model. The generator (`clsweep.methods.parts.vae`) cannot:
it learns the first task within the trial, in a run as long as the solver's. It sees pixels in
[0, 1], the solver its usual inputs. Images are generated as means of their pixels, not sampled.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hyper_fields import layer_widths
from clsweep.methods.hypers import DgrHyper
from clsweep.methods.parts.losses import padded_distillation, task_loss
from clsweep.methods.parts.vae import Vae, pixels_of, uniform_layers, vae_loss
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, with_prefix, without_prefix

ENCODER, DECODER = "generator.encoder.", "generator.decoder."


def build(net: Net, hyper: DgrHyper) -> Method:
    """DGR for `net`; its memory is the solver and the decoder before the current task."""
    vae = _vae(net, hyper)
    phases = (_generator_phase(vae, hyper), _solver_phase(net, vae, hyper))
    return Method(
        _with_generator(net, vae),
        hyper,
        phases,
        first_phases=phases[:1],
        adds_params=True,
        begin=_copies,
        absorb=_absorb,
    )


def _absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
    return _copies(params)


def _copies(params: Params) -> Memory:
    return {"solver": _solver(params), "decoder": without_prefix(params, DECODER)}


def _solver(params: Params) -> Params:
    return {name: v for name, v in params.items() if not name.startswith((ENCODER, DECODER))}


def _vae(net: Net, hyper: DgrHyper) -> Vae:
    widths = layer_widths(hyper.generator_hidden)
    return Vae(net.input_shape, widths, widths[::-1], hyper.latent)


def _with_generator(net: Net, vae: Vae) -> Net:
    """`net` with an autoencoder's parameters beside its own."""

    def init(rng: torch.Generator) -> Params:
        solver = net.init(rng)
        encoder = with_prefix(uniform_layers(vae.encoder_shapes, rng), ENCODER)
        decoder = with_prefix(uniform_layers(vae.decoder_shapes, rng), DECODER)
        return {**solver, **encoder, **decoder}

    def features(params: Params, x: Tensor) -> Tensor:
        return net.features(_solver(params), x)

    return net._replace(init=init, features=features)


def _generator_phase(vae: Vae, hyper: DgrHyper) -> Phase:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        return {name: v for name, v in params.items() if name.startswith((ENCODER, DECODER))}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        encoder, decoder = without_prefix(full, ENCODER), without_prefix(full, DECODER)
        noise = batch.draw["noise"][: len(batch.raw)]
        new = vae_loss(vae, encoder, decoder, pixels_of(batch.raw), noise)
        if task == 0:
            return new
        replayed = pixels_of(vae.generated(memory["decoder"], batch.draw["codes"]))
        old = vae_loss(vae, encoder, decoder, replayed, batch.draw["noise_on_replay"])
        return _weighted(new, old, hyper, task)

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        n_replayed = hyper.replay_batch or batch_size
        sizes = {"noise": batch_size, "codes": n_replayed, "noise_on_replay": n_replayed}
        return {
            name: torch.randn(n_steps, size, hyper.latent, generator=rng)
            for name, size in sizes.items()
        }

    return Phase("generator", loss, open=opened, draw=draw, holds_statistics=True)


def _solver_phase(net: Net, vae: Vae, hyper: DgrHyper) -> Phase:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        return _solver(params)

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        solver = _solver(full)
        new = task_loss(net, solver, batch, task)
        raw = vae.generated(memory["decoder"], batch.draw["codes"])
        old = _replay_loss(net, solver, memory["solver"], batch.scale(raw), hyper, task)
        return _weighted(new, old, hyper, task)

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        n_replayed = hyper.replay_batch or batch_size
        return {"codes": torch.randn(n_steps, n_replayed, hyper.latent, generator=rng)}

    return Phase("solver", loss, open=opened, draw=draw)


def _replay_loss(
    net: Net, solver: Params, teacher: Params, x: Tensor, hyper: DgrHyper, task: int
) -> Tensor:
    """Mean loss of the solver on replayed inputs [B, C, H, W] under the teacher's labels."""
    h = net.features(solver, x)
    with torch.no_grad():
        h_old = net.features(teacher, x)
    scenario, terms = net.heads.scenario, []
    for k in range(task) if scenario == "task" else [task - 1]:
        with torch.no_grad():
            labels = net.head(teacher, h_old, k)
        logits = net.head(solver, h, task if scenario == "class" else k)
        if hyper.targets == "hard":
            terms.append(F.cross_entropy(logits, labels.argmax(1)))
        else:
            scale = hyper.temperature**2 if hyper.t_squared else 1.0
            terms.append(
                scale
                * padded_distillation(
                    logits, labels, hyper.temperature, per_output=hyper.per_output
                )
            )
    return torch.stack(terms).mean()


def _weighted(new: Tensor, old: Tensor, hyper: DgrHyper, task: int) -> Tensor:
    weight = hyper.weight * task
    return (new + weight * old) / (1 + weight)
