"""Dark experience replay (DER): stored examples keep the outputs that the network had for them.

    L_t(θ) + α E_{(x', z') ~ M} (1/K) ‖z' − z_θ(x')‖²

    z'   the logits of x' at the step at which x' entered the memory, along the trajectory
    z_θ  the logits now, under the head that x' was trained with

Buzzega, Boschini, Porrello, Abati and Calderara 2020, "Dark experience for general continual
learning: a strong, simple baseline", NeurIPS. The paper writes ‖z' − z‖²; the authors' code
divides by the number of logits K, and so does this one: α is that of their code. The memory is a
reservoir of the stream with its logits, which count as stored bytes; a batch is drawn from it
without replacement.

Outputs. Class-incremental, the authors train all outputs from the first task on (`outputs =
"all"`): what an old example says about a class to come is held as well. With `outputs = "seen"`
the head grows, a logit that did not exist when its example was stored takes no part, and K counts
the others, example by example. Then nothing but the new task's loss holds the outputs of new
classes on old examples, and old classes are lost: on class-incremental Split MNIST with 200
examples 23 % are right at the end, and 85 % with all outputs. One head per task: logits of the
example's own head. Domain-incremental: all logits.

`recorded = "task_end"` replaces the logits of a task's examples by those of the network after the
task; `fill = "balanced"` takes the examples only then, with equal numbers per class.

First task. With `first_task = "own"`, as published, the method learns it too: the loss above, all
outputs, and a memory that fills from the first step on. The default begins at plain training of
the first task on the outputs of its own classes, which all methods share; a uniform sample of it
enters the memory when it ends, with the logits of that moment. The difference can decide: logits
of plain training at a high rate are large, and to hold them at that rate is not stable.
"""

from __future__ import annotations

from clsweep.methods.base import Method
from clsweep.methods.exemplar_hypers import DerHyper
from clsweep.methods.parts.dark_replay import dark_replay
from clsweep.nets.net import Net


def build(net: Net, hyper: DerHyper) -> Method:
    """DER of `net`; its memory is a buffer with logits."""
    return dark_replay(net, hyper)
