"""A step of ResCL's combination against a step of fine-tuning, on the same net and batches.

    python benchmarks/rescl.py

Ratios of medians over rounds in which all variants take turns, in processor time of this process
(see `step_rate.py`), over two epochs: in the first the combination has two teachers to ask beside
its own forward pass. *held* trains through the merged network; *target* and *batch* (batch norms
on the statistics of the batch, of one network or of both) run both branches.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from step_rate import medians

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale
from clsweep.methods.hypers import ResclHyper
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.norms import without_statistics
from clsweep.training.batch_norm_statistics import with_population
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase

N_IMAGES = 1024
N_EPOCHS = 2
CASES: tuple[tuple[str, dict[str, Any], tuple[int, int, int], int], ...] = (
    ("784-100-100", {"hidden": (100, 100)}, (1, 28, 28), 10),
    ("784-400-400", {"hidden": (400, 400)}, (1, 28, 28), 128),
    ("resnet32, 8 layers", {"name": "resnet32", "depth": 8, "base_maps": 8}, (3, 32, 32), 32),
)


def loops(
    keys: dict[str, Any], shape: tuple[int, int, int], size: int
) -> dict[str, Callable[[], None]]:
    """Fine-tuning and the combination in its variants, on the second of two tasks."""
    rng = generator(0, "images")
    raw = torch.randint(0, 256, (N_IMAGES, *shape), dtype=torch.uint8, generator=rng)
    labels = torch.randint(0, 5, (N_IMAGES,), generator=rng)
    examples = Examples(raw, torch.arange(N_IMAGES), labels)
    scale = Scale(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))
    net = build_net(NetConfig(**keys), shape, Heads("task", (5, 5)))
    source, tuned = (
        with_population(net, net.init(generator(seed, "init")), examples, scale) for seed in (0, 1)
    )
    # What comes once, at the end of a phase, is no part of a step.
    combine = {
        kind: replace(
            methods.build("rescl", net, ResclHyper(statistics=kind)).phases[1], survey=None
        )
        for kind in (["held", "target", "batch"] if net.statistics else ["held"])
    }
    memory = {"source": source, "zero_share": torch.zeros(())}
    training = TrainingConfig(lr=0.01, batch_size=size, epochs=N_EPOCHS)
    n_steps = training.n_steps(N_IMAGES)
    variants = {
        "fine-tuning": (plain_phase(net), without_statistics(tuned), {}),
        **{kind: (phase, tuned, memory) for kind, phase in combine.items()},
    }

    def loop_of(phase: Any, params: Any, memory: Any) -> Callable[[], None]:
        # Without statistics, what the engine does once at the end of a phase is left out.
        bare = net._replace(statistics=frozenset())
        return lambda: (
            train_phase(
                phase,
                State(params, memory),
                examples,
                Setting(bare, scale, training, 0),
                task=1,
                n_steps=n_steps,
            )
            and None
        )

    return {name: loop_of(*variant) for name, variant in variants.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    n_rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for name, keys, shape, size in CASES:
        n_steps = TrainingConfig(batch_size=size, epochs=N_EPOCHS).n_steps(N_IMAGES)
        seconds = medians(loops(keys, shape, size), n_rounds)
        base = seconds.pop("fine-tuning")
        ratios = ", ".join(f"{kind} x{value / base:.2f}" for kind, value in seconds.items())
        print(f"{name}, batch {size}: fine-tuning {1e3 * base / n_steps:.2f} ms; {ratios}")


if __name__ == "__main__":
    main()
