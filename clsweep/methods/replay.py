"""Experience replay: stored examples of earlier tasks are trained along.

    L_t(θ) + λ L_M(θ),   L_M the mean cross-entropy of examples drawn from the memory M
    (both divided by 1 + λ with `average`)

Ratcliff 1990; Chaudhry et al. 2019, "On tiny episodic memories in continual learning". Each
stored example is classified by the head of its own task. It is drawn without replacement.

The memory holds `memory_size` examples over all tasks: 'balanced' gives every class of every task
the same share and is filled when a task ends; 'reservoir' keeps a uniform sample of the stream
(Vitter 1985), so that it holds examples of the current task too. 'ring' keeps the newest examples
of every task in ⌊M / T⌋ slots of its own (Lopez-Paz and Ranzato 2017); 'loss_aware' is a reservoir
in which the example that makes room is drawn by a small last loss and a frequent class (Buzzega et
al. 2020, "Rethinking experience replay", ICPR; the losses count as stored bytes, the scores are
those before the batch). The first task is plain training
in all, and is absorbed when it ends; with `first_task = "own"` the reservoir fills from its first
step on and is replayed in it already, as in the code of Mammoth.
"""

from __future__ import annotations

from clsweep.methods.base import Method
from clsweep.methods.hypers import ReplayHyper
from clsweep.methods.parts.example_replay import example_replay
from clsweep.methods.parts.losses import label_loss
from clsweep.nets.net import Net


def build(net: Net, hyper: ReplayHyper) -> Method:
    """Replay for `net`; its memory is a buffer."""
    return example_replay(net, hyper, label_loss, hyper.fill, hyper.average)
