"""Numbers of the methods with hypernetworks: declared as in `hypers`, and without torch or ray."""

from __future__ import annotations

from typing import Literal

from clsweep.methods.hyper_fields import Hyper, fixed, knob, nuisance, widths
from clsweep.methods.shared_numbers import TWO_TASKS

Activation = Literal["relu", "elu", "sigmoid", "linear"]

_WITHOUT_WEIGHT = {"weight": 0}
_WITHOUT_BETA = {"beta": 0}
_WITHOUT_GENERATOR_BETA = {"generator_beta": 0}
_WITHOUT_BETAS = {"beta": 0, "generator_beta": 0}

_LOOK_AHEAD_DOC = "take the penalty's gradient where the optimiser's step on the task would lead"
_PENALTY_TASKS_DOC = (
    "past tasks whose penalty is computed in a step, drawn anew for every step; 0 for all"
)
_STD_DOC = "standard deviation with which {} are drawn"
_REPLAY_BATCH_DOC = (
    "generated images per step, rounded up to equally many of every past task; 0 for as many as "
    "the training batch"
)


class GeneratedNetHyper(Hyper):
    """Numbers of a hypernetwork that generates each task's network."""

    beta: float = knob(
        0.01, 1e-4, 1e3, log=True, doc="β, weight of the penalty on old tasks' generated weights"
    )
    hidden: str = widths(
        "10-10", doc="units of the hypernetwork's hidden layers", may_be_none=True
    )
    activation: Activation = fixed(
        "relu", doc="nonlinearity of the hypernetwork", unless={"hidden": "none"}
    )
    task_embedding: int = fixed(96, doc="dimensions of a task's embedding", at_least=1)
    chunk_embedding: int = fixed(96, doc="dimensions of a chunk's embedding", at_least=1)
    chunk_size: int = fixed(42000, doc="parameters generated at once", at_least=1)
    look_ahead: bool = fixed(False, doc=_LOOK_AHEAD_DOC, unless=_WITHOUT_BETA)
    penalty_tasks: int = fixed(
        0, doc=_PENALTY_TASKS_DOC, at_least=0, unless=(_WITHOUT_BETA, TWO_TASKS)
    )
    task_embedding_std: float = fixed(
        1.0, doc=_STD_DOC.format("the tasks' embeddings"), at_least=0
    )
    chunk_embedding_std: float = fixed(
        1.0, doc=_STD_DOC.format("the chunks' embeddings"), at_least=0
    )
    penalty_heads: Literal["all", "own"] = fixed(
        "all",
        doc="whose generated outputs the penalty for an old task counts: those of 'all' tasks, or "
        "its 'own' alone, as in the published runs",
        where={"benchmark.scenario": ("task", "class")},
        unless=_WITHOUT_BETA,
    )


class HnetHyper(GeneratedNetHyper):
    """Numbers of `hnet`."""

    inference: Literal["entropy"] = fixed(
        "entropy",
        doc="how the task of a test example is found: 'entropy' takes the task whose network is "
        "surest",
        where={"benchmark.scenario": ("domain", "class")},
    )
    statistics: Literal["per_task", "shared"] = fixed(
        "per_task",
        doc="running statistics of batch norms: 'per_task', which later tasks leave alone, or "
        "'shared', those of the last task for all",
        unless=({"net.norm": ("none", "group")}, {"net.bn_mode": "frozen"}),
    )


class ProtectedGeneratorHyper(Hyper):
    """Numbers of a generator whose decoders come from a hypernetwork."""

    generator_beta: float = fixed(
        0.01, doc="β_g, weight of the penalty on old tasks' generated decoders", at_least=0
    )
    encoder: str = widths("400-400", doc="units of the encoder's hidden layers")
    decoder: str = widths("250-350", doc="units of the decoders' hidden layers")
    latent: int = fixed(100, doc="dimensions of the generator's code z", at_least=1)
    generator_hidden: str = widths(
        "10-10",
        doc="units of the hidden layers of the decoders' hypernetwork",
        may_be_none=True,
    )
    generator_activation: Activation = fixed(
        "elu",
        doc="nonlinearity of the decoders' hypernetwork",
        unless={"generator_hidden": "none"},
    )
    generator_task_embedding: int = fixed(
        96, doc="dimensions of a task's embedding in the decoders' hypernetwork", at_least=1
    )
    generator_chunk_embedding: int = fixed(
        96, doc="dimensions of a chunk's embedding in the decoders' hypernetwork", at_least=1
    )
    generator_chunk_size: int = fixed(
        50000, doc="parameters of a decoder generated at once", at_least=1
    )
    replay_batch: int = fixed(0, doc=_REPLAY_BATCH_DOC, at_least=0)
    look_ahead: bool = fixed(False, doc=_LOOK_AHEAD_DOC, unless=_WITHOUT_GENERATOR_BETA)
    penalty_tasks: int = fixed(
        0,
        doc=_PENALTY_TASKS_DOC,
        at_least=0,
        # What the generator learns of the last task is not replayed.
        unless=(_WITHOUT_GENERATOR_BETA, {"benchmark.n_tasks": (2, 3)}),
    )
    generator_task_embedding_std: float = fixed(
        1.0,
        doc=_STD_DOC.format("the tasks' embeddings in the decoders' hypernetwork"),
        at_least=0,
    )
    generator_chunk_embedding_std: float = fixed(
        1.0,
        doc=_STD_DOC.format("the chunks' embeddings in the decoders' hypernetwork"),
        at_least=0,
    )


class HnetTirHyper(ProtectedGeneratorHyper, GeneratedNetHyper):
    """Numbers of `hnet_tir`."""

    decoder: str = widths("50-150", doc="units of the decoders' hidden layers")
    look_ahead: bool = fixed(False, doc=_LOOK_AHEAD_DOC, unless=_WITHOUT_BETAS)
    penalty_tasks: int = fixed(
        0, doc=_PENALTY_TASKS_DOC, at_least=0, unless=(_WITHOUT_BETAS, TWO_TASKS)
    )

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        """The hypernetwork, the generator, and the classifier of tasks."""
        return n_steps, n_steps, n_steps


class HnetReplayHyper(ProtectedGeneratorHyper):
    """Numbers of `hnet_replay`."""

    weight: float = knob(
        0.5,
        0.05,
        0.95,
        log=False,
        at_most=1,
        doc="w in (1 − w) L_new + w T² L_replay, whatever the number of past tasks",
    )
    temperature: float = nuisance(
        2.0,
        1.0,
        4.0,
        log=False,
        doc="T, temperature of the distillation",
        at_least=1e-3,
        unless=_WITHOUT_WEIGHT,
    )
    replay_batch: int = fixed(0, doc=_REPLAY_BATCH_DOC, at_least=0, unless=_WITHOUT_WEIGHT)

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        """The generator, then the classifier."""
        return n_steps, n_steps

    def first_steps(self, n_steps: int) -> tuple[int, ...]:
        """The generator."""
        return (n_steps,)
