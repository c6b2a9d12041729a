"""Methods of ours written as learners, as a user would write them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F

from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Method
from clsweep.methods.hyper_fields import Hyper, knob
from clsweep.methods.hypers import NoHyper, ReplayHyper
from clsweep.methods.parts import buffer
from clsweep.methods.parts.losses import label_loss
from clsweep.nets.net import Net
from clsweep.training.config import TrainingConfig
from clsweep.training.imperative import learn_imperatively
from clsweep.training.imperative_learner import ImperativeLearner
from clsweep.training.learnt_models import LearntSequence, SourceModel

SEED = 0


class Finetuning(ImperativeLearner):
    def learn(self, task: int, batches: Any) -> None:
        optimiser = batches.optimiser(self.net.parameters())
        for batch in batches:
            optimiser.zero_grad()
            label_loss(self.net(batch.x, task), batch).backward()
            optimiser.step()


class FreshFinetuning(Finetuning):
    starts_from_source = False


class Replay(ImperativeLearner):
    """Ours, with the draws of ours."""

    uses = ("source examples",)

    def __init__(self, net: Any, hyper: ReplayHyper, device: Any, rng: Any) -> None:
        super().__init__(net, hyper, device, rng)
        self.memory = buffer.empty(hyper.memory_size, net.image_shape, device)

    def learn(self, task: int, batches: Any) -> None:
        optimiser, size = batches.optimiser(self.net.parameters()), batches.training.batch_size
        per_epoch = -(-len(batches.examples) // size)
        for step, batch in enumerate(batches):
            epoch, here = divmod(step, per_epoch)
            if here == 0:
                rng = generator(SEED, "draw", "train", task, epoch)
                n = min(per_epoch, batches.n_steps - step)
                filled = self.memory.n_filled
                rows = buffer.example_indices(rng, filled, min(size, filled), n)
            loss = self._loss(batch, rows[here], task)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def _loss(self, batch: Any, index: torch.Tensor, task: int) -> torch.Tensor:
        n_new, stored = len(batch.x), self.memory
        h = self.net.features_of(torch.cat([batch.x, batch.scale(stored.raw[index])]))
        new = F.cross_entropy(self.net.logits_of(h[:n_new], task), batch.y)
        old = F.cross_entropy(self.net.logits_of(h[n_new:], task), stored.labels[index])
        return new + self.hyper.weight * old

    def absorb(self, task: int, examples: Any) -> None:
        rng = generator(SEED, "absorb", task)
        data = SimpleNamespace(index=task, train=examples)
        self.memory = buffer.balanced(self.memory, data, rng)

    def bytes(self) -> dict[str, int]:
        return {"data": sum(t.numel() * t.element_size() for t in self.memory[:3])}


class PullHyper(Hyper):
    lam: float = knob(1.0, 1e-3, 1e3, log=True, doc="λ")


def learnt_by(
    kind: type,
    net: Net,
    sequence: TaskSequence,
    training: TrainingConfig,
    source: SourceModel | None,
    hyper: Hyper | None = None,
    watch: Any = None,
) -> LearntSequence:
    """What a learner makes of a sequence."""
    method = Method(net, hyper or NoHyper(), (), learner=kind)
    return learn_imperatively(method, sequence, training, SEED, source, {}, None, watch)
