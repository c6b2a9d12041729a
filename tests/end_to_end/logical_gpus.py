"""`clsweep` for clusters whose GPUs exist in Ray's books alone; the processor computes instead.

Only what a worker does once it has been given a GPU is replaced: where the job runs, and what it
is told of its device, is what Ray and clsweep decide. Each job leaves a line about that in
`OUT/places/KEY`, and a network can read its share of the GPU from `SHARE_OF_GPU`.
"""

from __future__ import annotations

import functools
import os
import sys
from types import SimpleNamespace
from typing import Any

import ray
import torch

from clsweep.cli import main
from clsweep.execution import devices, outcomes, worker
from clsweep.execution.ray import executor
from clsweep.execution.ray.job_trials import WORK
from clsweep.study.jobs import Job


def execute(context: outcomes.Context, job: Job) -> outcomes.Outcome:
    """`worker.execute` with the processor in the GPU's place."""
    node = ray.get_runtime_context().get_node_id()
    share = f"{context.device} {context.memory_fraction:g}"
    os.environ["SHARE_OF_GPU"] = share
    places = context.out / "places"
    places.mkdir(exist_ok=True)
    with (places / job.key).open("a") as file:
        file.write(f"{share} {node}\n")
    worker.torch = devices.torch = _Torch()
    return worker.execute(context, job)


class _Torch:
    """torch, whose GPU is the processor."""

    cuda = SimpleNamespace(
        is_available=lambda: True,
        set_per_process_memory_fraction=lambda share: None,
        reset_peak_memory_stats=lambda: None,
        empty_cache=lambda: None,
        max_memory_allocated=lambda: 0,
        get_device_name=lambda: "a logical GPU",
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def device(name: str) -> torch.device:
        return torch.device("cpu")


if __name__ == "__main__":
    from tests.end_to_end.logical_gpus import execute as by_reference

    executor.run_on_ray = functools.partial(
        executor.run_on_ray, work=WORK._replace(execute=by_reference)
    )
    sys.exit(main.main())
