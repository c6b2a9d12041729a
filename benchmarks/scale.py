"""Measure a trial's cost to the driver as studies grow: 100 to 10,000 trials on two Ray workers.

    python benchmarks/scale.py [--trials 100 1000 10000] [--keep FOLDER]
    python benchmarks/scale.py --ceiling

Every study is one EWC curve of so many λ with one seed, two tasks of 40 digits and one step per
task, so that each trial is a configuration of its own and next to nothing is trained. Each runs in
a process of its own, the driver, which notes when trials end and what it weighs.

- *seconds per trial*: from the end of the `SETTLED`-th trial to the end of the last, divided by
  the trials between. What comes before, of which most is Ray's start and that of both workers, and
  what comes after, Ray's shutdown and the compaction of records into tables, is printed by itself.
- *by tenths*: the same for every tenth of the run, which shows a driver that slows down.
- *driver*: its CPU seconds per trial over the same trials; their inverse is the number of trials
  per second that no number of slots can exceed.
- *memory*: growth of the driver's unique set (USS, what it alone holds) from the `SETTLED`-th
  trial to the last, per trial; and its peak resident set until the tables are written.

Then the finished study is planned again by `clsweep run` and `clsweep plan`, each in a process of
its own, three times: wall and CPU seconds, and how long the imports take that it makes.

`--ceiling` asks how many slots one driver keeps busy: trials that only sleep for each of `NAPS`
seconds, with 2 to 16 slots; the first of each worker waits until all workers are there. Workers
take no core then, so that the driver is what is measured: schedule, Tune and Ray. Printed are
trials per second over the second half of the run, beside what the slots could do.

Seconds on the clock: other work on the machine counts. Only the ratio between sizes is a target.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

from clsweep.execution import runner
from clsweep.execution.listeners.progress import Progress
from clsweep.execution.outcomes import Outcome
from clsweep.study.jobs import Job
from clsweep.study.study import load_study

STUDY = """\
name = "scale"
seeds = 1
[benchmark]
name = "split"
n_tasks = 2
scenario = "domain"
examples_per_task = 40
[net]
hidden = [4]
[training]
steps = 1
[resources]
device = "cpu"
[[methods]]
name = "ewc"
form = "proximal"
fisher = "empirical"
lam = {{ low = 1e-3, high = 1e3, n = {n} }}
"""
SETTLED = 50
NAPS = (0.2, 0.005)


class Used(NamedTuple):
    """What the driver had used when some trial ended."""

    at: float
    cpu: float
    unique: int


class Watched(Progress):
    """Remembers what this process had used at the ends of some trials, counted from 1."""

    def __init__(self, counts: Iterable[int]) -> None:
        super().__init__()
        self.counts = {*counts}
        self.used: dict[int, Used] = {}

    def finished(self, job: Job, *how: object) -> None:
        """A job ended."""
        super().finished(job, *how)  # type: ignore[arg-type]
        n = self.tally.n_finished
        if job.kind == "trial" and n in self.counts:
            self.used[n] = Used(time.perf_counter(), time.process_time(), unique_bytes())


def unique_bytes() -> int:
    """Memory that this process shares with no other."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    kib = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")]
    return 1024 * sum(kib)


def drive(study: Path, out: Path) -> dict[str, Any]:
    """Run the study from nothing; what was noted meanwhile."""
    began = time.perf_counter()
    n_trials = int(study.stem)
    cuts = [SETTLED + (n_trials - SETTLED) * tenth // 10 for tenth in range(11)]
    watched = Watched(cuts)
    summary = runner.run(load_study(study), out=out, workers=2, listeners=[watched])
    total = time.perf_counter() - began
    assert (summary.n_new, summary.n_failed) == (n_trials, 0), summary
    used = [watched.used[cut] for cut in cuts]
    tenths = [
        ((then.at - now.at) / (b - a), (then.cpu - now.cpu) / (b - a))
        for (a, now), (b, then) in pairwise(zip(cuts, used, strict=True))
    ]
    n = n_trials - SETTLED
    return {
        "n_trials": n_trials,
        "total": total,
        "before": used[0].at - began,
        "after": began + total - used[-1].at,
        "per_trial": (used[-1].at - used[0].at) / n,
        "driver_cpu": (used[-1].cpu - used[0].cpu) / n,
        "tenths": tenths,
        "growth": (used[-1].unique - used[0].unique) / n,
        "unique": [one.unique for one in used],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _nap(seconds: float, n_slots: int, ready: Path, context: object, job: object) -> Outcome:
    ready.mkdir(parents=True, exist_ok=True)
    mine = ready / str(os.getpid())
    if not mine.exists():
        mine.touch()
        began = time.monotonic()
        while len([*ready.iterdir()]) < n_slots and time.monotonic() - began < 120:
            time.sleep(0.1)
    time.sleep(seconds)
    return Outcome("ok", "", 0.5, seconds)


def drive_naps(study: Path, out: Path, n_slots: int, seconds: float) -> tuple[float, float]:
    """Trials per second and CPU seconds of the driver per trial, where trials only sleep."""
    from ray import cloudpickle

    from clsweep.execution.ray import executor
    from clsweep.execution.ray.job_trials import Work

    # The workers know no module of this name.
    cloudpickle.register_pickle_by_value(sys.modules[_nap.__module__])
    nap = partial(_nap, seconds, n_slots, out.parent / f"ready-{out.name}")
    work = Work(nap, lambda context: None, None)
    executor.run_on_ray = partial(executor.run_on_ray, work=work)
    n_trials = int(study.stem)
    watched = Watched([n_trials // 2, n_trials])
    summary = runner.run(load_study(study), out=out, workers=n_slots, listeners=[watched])
    assert summary.n_failed == 0, summary
    half, end = watched.used.values()
    n = n_trials - n_trials // 2
    return n / (end.at - half.at), (end.cpu - half.cpu) / n


def ceiling(folder: Path) -> None:
    for seconds, n_slots in product(NAPS, (2, 4, 8, 16)):
        n = max(200, 40 * n_slots) if seconds >= 0.1 else 1000 * n_slots
        study = folder / f"{n}.toml"
        study.write_text(STUDY.format(n=n), encoding="utf-8")
        out = folder / f"out-{seconds}-{n_slots}"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rate, cpu = pool.apply(drive_naps, (study, out, n_slots, seconds))
        print(
            f"{n_slots} slots, trials of {seconds} s: {rate:.1f} trials per second of "
            f"{n_slots / seconds:.0f}, driver's CPU {1000 * cpu:.1f} ms per trial",
            flush=True,
        )


def timed(command: list[str]) -> tuple[float, float]:
    """(wall, CPU) seconds of a command that must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with status {status}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def report(f: dict[str, Any]) -> None:
    print(
        f"{f['n_trials']:,} trials in {f['total']:.1f} s: {f['before']:.1f} s to the end of the "
        f"{SETTLED}th, {f['after']:.1f} s after the last; {1000 * f['per_trial']:.1f} ms per "
        f"trial between, driver's CPU {1000 * f['driver_cpu']:.1f} ms"
    )
    for what, index in (("ms per trial", 0), ("driver's CPU, ms", 1)):
        tenths = ", ".join(f"{1000 * tenth[index]:.1f}" for tenth in f["tenths"])
        print(f"  {what}, by tenths: {tenths}")
    unique = ", ".join(f"{size / 2**20:.0f}" for size in f["unique"])
    print(f"  memory: {f['growth'] / 1e3:.1f} KB per trial (unique set, MiB, by tenths: {unique})")
    print(f"  peak resident set: {f['peak'] / 2**20:.0f} MiB", flush=True)


def plan_again(study: Path, out: Path) -> None:
    clsweep = [sys.executable, "-m", "clsweep.cli.main"]
    commands = {
        "clsweep run": [*clsweep, "run", str(study), "--workers", "2", "--out", str(out)],
        "clsweep plan": [*clsweep, "plan", str(study), "--out", str(out)],
        "clsweep --version": [*clsweep, "--version"],
        "import torch": [sys.executable, "-c", "import torch"],
        "import pyarrow.parquet": [sys.executable, "-c", "import pyarrow.parquet"],
    }
    for name, command in commands.items():
        times = sorted(timed(command) for _ in range(3))
        (low, cpu), (high, _) = times[0], times[-1]
        print(f"  {name}: {low:.2f} to {high:.2f} s, CPU {cpu:.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--keep", type=Path, help="a folder to keep the studies in")
    parser.add_argument("--drive", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--ceiling", action="store_true", help="trials that only sleep")
    given = parser.parse_args()
    if given.drive:
        print(json.dumps(drive(*given.drive)))
        return
    if given.ceiling:
        with tempfile.TemporaryDirectory() as scratch:
            ceiling(Path(scratch))
        return
    per_trial = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for n in given.trials:
            study, out = folder / f"{n}.toml", folder / f"out-{n}"
            study.write_text(STUDY.format(n=n), encoding="utf-8")
            command = [sys.executable, __file__, "--drive", str(study), str(out)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            report(found)
            plan_again(study, out)
            per_trial[n] = found["per_trial"]
    smallest, largest = min(per_trial), max(per_trial)
    ratio = per_trial[largest] / per_trial[smallest]
    print(f"{largest:,} against {smallest:,} trials: {ratio:.2f} times the seconds per trial")


if __name__ == "__main__":
    main()
