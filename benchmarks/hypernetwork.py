"""Measure what the regulariser of a hypernetwork costs per past task.

    python benchmarks/hypernetwork.py

The method is that of configs/reproduce/hypernetworks_task.toml: a target of 784-400-400 with heads
of two classes, generated in 12 chunks; Adam, batches of 128. The target has ten heads here instead
of five, so that nine tasks can be past; images and labels are random. A step with K past tasks is
the step of task K + 1 of `clsweep run`: it generates one network for the batch and K for the
penalty, and passes back through all of them. It is timed with the look-ahead of the study, which
takes the penalty's gradient apart from the loss's, and without.

All variants take turns within one run. Ratios are step / step without a past task, of medians over
rounds. What is timed is the processor time of this process, which runs one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale, Task
from clsweep.methods.base import LearntTask
from clsweep.nets.build import build_net
from clsweep.study.configurations import configurations
from clsweep.study.study import load_study
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.learner import initial_params

STUDY = Path(__file__).resolve().parents[1] / "configs" / "reproduce" / "hypernetworks_task.toml"
PAST = (0, 1, 4, 9)
N_TASKS = 10
N_IMAGES = 2_000
SCALE = Scale(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))


def random_examples() -> Examples:
    rng = generator(0, "images")
    raw = torch.randint(0, 256, (N_IMAGES, 1, 28, 28), dtype=torch.uint8, generator=rng)
    labels = torch.randint(0, 2, (N_IMAGES,), generator=rng)
    return Examples(raw, torch.arange(N_IMAGES), labels)


class Steps:
    """Steps of the study's method on random images, after any number of past tasks."""

    def __init__(self) -> None:
        study = load_study(STUDY)
        (configuration,) = configurations(study)
        self.training, hyper = configuration.training, configuration.hyper
        net = build_net(study.net, (1, 28, 28), Heads("task", (2,) * N_TASKS))
        self.methods = {
            look_ahead: methods.build(
                "hnet", net, hyper.model_copy(update={"look_ahead": look_ahead})
            )
            for look_ahead in (True, False)
        }
        self.params = initial_params(self.methods[True].net, 0, torch.device("cpu"))
        self.data = random_examples()
        self.memories = {n_past: self._memory(n_past) for n_past in PAST}

    def _memory(self, n_past: int) -> dict[str, Any]:
        """What stands in the memory after `n_past` tasks."""
        method = self.methods[True]
        memory = method.begin(self.params)
        if n_past == 0:
            return memory
        task = Task(n_past - 1, self.data, self.data, self.data, 2)
        learnt = LearntTask(task, SCALE, None, 0, generator(0, "absorb"))
        return method.absorb(self.params, memory, {}, learnt)

    def seconds(self, n_past: int, look_ahead: bool, n_steps: int) -> float:
        """Processor seconds per step."""
        method, began = self.methods[look_ahead], time.process_time()
        train_phase(
            method.phases[0],
            State(self.params, self.memories[n_past]),
            self.data,
            Setting(method.net, SCALE, self.training, 0),
            task=n_past,
            n_steps=n_steps,
        )
        return (time.process_time() - began) / n_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10, help="steps per round and variant")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = Steps()
    found: dict[tuple[bool, int], list[float]] = {}
    for round_index in range(options.rounds + 1):
        for look_ahead in (True, False):
            for n_past in PAST:
                seconds = steps.seconds(n_past, look_ahead, options.steps)
                if round_index:  # the first round warms up
                    found.setdefault((look_ahead, n_past), []).append(seconds)
    medians = {key: statistics.median(values) for key, values in found.items()}
    for look_ahead in (True, False):
        base = medians[look_ahead, 0]
        print("with look-ahead:" if look_ahead else "without look-ahead:")
        for n_past in PAST:
            here = medians[look_ahead, n_past]
            each = f", {1e3 * (here - base) / n_past:.1f} ms per past task" if n_past else ""
            print(f"  {n_past} past tasks: {1e3 * here:.1f} ms per step, x{here / base:.2f}{each}")


if __name__ == "__main__":
    main()
