"""Dark experience replay++ (DER++): DER, and stored labels are trained along.

    L_t(θ) + α E_{(x', z') ~ M} (1/K) ‖z' − z_θ(x')‖² + β E_{(x', y') ~ M} CE(y', x')

Buzzega, Boschini, Porrello, Abati and Calderara 2020, "Dark experience for general continual
learning: a strong, simple baseline", NeurIPS. The two batches are drawn from the memory one apart
from the other, as in the authors' code. Logits, outputs, filling and the first task are those of
DER: `clsweep methods der`.

The cross-entropy of a stored example is that of its own task's head, or, in class-incremental
learning, over the outputs that are trained.
"""

from __future__ import annotations

from clsweep.methods.base import Method
from clsweep.methods.exemplar_hypers import DerppHyper
from clsweep.methods.parts.dark_replay import dark_replay
from clsweep.nets.net import Net


def build(net: Net, hyper: DerppHyper) -> Method:
    """DER++ of `net`; its memory is a buffer with logits."""
    return dark_replay(net, hyper, hyper.label_weight)
