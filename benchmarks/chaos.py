"""Faults at random moments over studies on a cluster of three Ray nodes: what is lost.

    python benchmarks/chaos.py [--faults 50] [--seed 0]

A round is one study, started by `clsweep run STUDY --address ...` in a process of its own, and
seven faults in random order: SIGKILL, SIGTERM and Ctrl-C to the driver, after each of which the
same command is started again; twice SIGKILL to a worker; twice SIGKILL to all processes of a node,
in whose place a new one is started. A fault strikes a random time after a random number of trials
have been committed. Rounds take turns between a grid, a front that is filled and a
search by TPE, all on the bundled digits, until enough faults have struck. `--seed S` makes the
faults of the round that was printed with that seed, at the same numbers of trials and with the
same delays.

Found without clsweep: an observer keeps every record as it first lies in the folder, and how often
its trial had been started by then. At the end of a round

- *lost* counts the records that are not in the tables, or differ there in any value;
- *run twice* counts trials that were started, or committed, again after they had been committed;
- *different* counts what differs from a run of the same study that nothing disturbed, in one
  process without Ray: `accuracy.parquet` and `configs.parquet` as bytes, and of `trials.parquet`
  every column except `wall_seconds`, `finished_at`, `peak_memory_bytes` (of the process over its
  life) and `attempts`, and except `cpu_seconds` among its counters.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq

from benchmarks.observation import Observer, different, lost
from benchmarks.ray_nodes import Cluster

SHARED = """\
name = "{name}"
seeds = 2
[benchmark]
name = "split"
n_tasks = {n_tasks}
scenario = "domain"
[net]
hidden = [50]
[training]
batch_size = 10
lr = 0.05
steps = {steps}
[resources]
device = "cpu"
max_attempts = 10
[[methods]]
name = "finetune"
[[methods]]
name = "frozen"
"""
METHODS = """\
[[methods]]
name = "ewc"
form = "proximal"
lam = {lam}
[[methods]]
name = "mas"
form = "proximal"
lam = {lam}
"""
GRID = '[[methods]]\nname = "interpolate"\nbeta = [0.25, 0.5, 0.75]\n[[methods]]\nname = "joint"\n'
RANGE = "{ low = 1e-2, high = 1e6%s }"
KINDS = ("grid", "fill", "TPE")
FAULTS = ("SIGKILL", "SIGTERM", "Ctrl-C", "worker", "node")
# A driver that is started anew takes longest: so many more of the others in a round.
MORE_FAULTS = ("worker", "node")
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
STALLED_SECONDS = 240


def study_text(kind: str, *, small: bool = False) -> str:
    """A study of 32 or 40 trials of half a second or so; when small, of twelve longer ones."""
    n_tasks, steps = (2, 900) if small else (5, 120)
    text = SHARED.format(name=kind, n_tasks=2 if kind != "grid" else n_tasks, steps=steps)
    if kind == "grid":
        more = "" if small else GRID
        return text + METHODS.format(lam=RANGE % (", n = 2" if small else ", n = 5")) + more
    search = 'kind = "fill"\ngap = 0.02' if kind == "fill" else 'kind = "optuna"\nsampler = "tpe"'
    text = text.replace(f"steps = {steps}", f"steps = {4 * steps}")
    return f"{text}{METHODS.format(lam=RANGE % '')}[search]\n{search}\ntrials = 9\nat_once = 3\n"


class Fault(NamedTuple):
    """One fault of a round.

    Attributes:
        kind: one of `FAULTS`.
        after: trials committed before it strikes.
        delay: seconds that it waits then; four times as many from the driver's start on, where
            that finds so many trials committed already.
        share: chooses the worker or the node, in [0, 1).
    """

    kind: str
    after: int
    delay: float
    share: float


def faults_of(seed: int, n_trials: int, among: Sequence[str] = FAULTS) -> list[Fault]:
    """The faults of a round, in random order; the last one often when all is committed."""
    draw = random.Random(seed)
    points = sorted(draw.sample(range(n_trials), len(among)))
    if draw.random() < 0.4:
        points[-1] = n_trials
    kinds = draw.sample(among, len(among))
    return [
        Fault(kind, point, round(draw.uniform(0, 1.5), 3), round(draw.random(), 3))
        for kind, point in zip(kinds, points, strict=True)
    ]


class Round:
    """One study with its faults.

    Attributes:
        struck: the faults that found the driver at work.
        wrong: sentences about everything that should not have happened.
        codes: (kind of fault, how the driver ended) -> how often.
    """

    def __init__(self, cluster: Cluster, folder: Path, kind: str, seed: int, small: bool) -> None:
        self.cluster, self.folder, self.seed = cluster, folder, seed
        self.study, self.out = folder / "study.toml", folder / "out"
        self.expected = folder / "undisturbed"
        folder.mkdir(parents=True, exist_ok=True)
        self.study.write_text(study_text(kind, small=small), encoding="utf-8")
        self.among = FAULTS if small else FAULTS + MORE_FAULTS
        self.struck: list[Fault] = []
        self.wrong: list[str] = []
        self.codes: Counter[tuple[str, int]] = Counter()
        self.n_drivers = 0
        self.adding: list[threading.Thread] = []

    def run(self, limit: int) -> None:
        """Disturb the study at most `limit` times, let it end, and look at what is there."""
        subprocess.run(
            self._command("--inline", "--out", self.expected, "--quiet"),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        n_trials = pq.read_metadata(self.expected / "trials.parquet").num_rows
        self.observer = Observer(self.out)
        self.observer.start()
        self.driver, self.driver_began = self._start()
        try:
            for fault in faults_of(self.seed, n_trials, self.among)[:limit]:
                if not self._wait_for(fault):
                    break
                self._strike(fault)
            self._end(n_trials)
        finally:
            self.driver.kill()
            self._wait_for_nodes()
            self.observer.close()
        self.wrong += self.observer.run_twice
        self.wrong += lost(self.observer.records, self.out)
        self.wrong += different(self.expected, self.out)

    def _command(self, *options: object) -> list[str]:
        words = ("-m", "clsweep.cli.main", "run", self.study, *options)
        return [sys.executable, *map(str, words)]

    def _start(self) -> tuple[subprocess.Popen[bytes], float]:
        log = self.folder / f"driver{self.n_drivers}.log"
        self.n_drivers += 1
        with log.open("wb") as file:
            started = subprocess.Popen(
                self._command("--address", self.cluster.address, "--out", self.out),
                env=self.cluster.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return started, time.monotonic()

    def _wait_for(self, fault: Fault) -> bool:
        """Until it is the moment; whether the driver is still at work then."""
        began = time.monotonic()
        if len(self.observer.records) >= fault.after and self._is_fresh():
            moment = self.driver_began + 4 * fault.delay
        else:
            while len(self.observer.records) < fault.after and self.driver.poll() is None:
                self._check_progress(began)
                time.sleep(0.02)
            moment = time.monotonic() + fault.delay
        time.sleep(max(0.0, moment - time.monotonic()))
        while fault.kind == "worker" and not self.cluster.workers():
            if self.driver.poll() is not None:
                return False
            self._check_progress(began)
            time.sleep(0.02)
        return self.driver.poll() is None

    def _is_fresh(self) -> bool:
        return time.monotonic() - self.driver_began < 0.5

    def _check_progress(self, began: float) -> None:
        if time.monotonic() - began > STALLED_SECONDS:
            raise RuntimeError(f"nothing happens any more: see {self.folder}")

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "node":
            self._wait_for_nodes()
        n, age = len(self.observer.records), time.monotonic() - self.driver_began
        victim = "driver"
        if fault.kind == "worker":
            workers = self.cluster.workers()
            if not workers:
                return
            victim = f"worker {int(fault.share * len(workers))} of {len(workers)}"
            with contextlib.suppress(psutil.NoSuchProcess):
                workers[int(fault.share * len(workers))].kill()
        elif fault.kind == "node":
            victim = self.cluster.kill_node(fault.share)
            self.adding.append(threading.Thread(target=self.cluster.add_node))
            self.adding[-1].start()
        else:
            # To the group, as a terminal does; SIGTERM and SIGKILL to the driver alone.
            send = os.killpg if fault.kind == "Ctrl-C" else os.kill
            send(self.driver.pid, SIGNALS[fault.kind])
        self.struck.append(fault)
        print(
            f"  seed {self.seed}: {fault.kind} to {victim} after {n} trials "
            f"(drawn: {fault.after} and {fault.delay} s), {age:.1f} s after the driver's start",
            flush=True,
        )
        if victim == "driver":
            self._ended(fault.kind)
            self.driver, self.driver_began = self._start()

    def _wait_for_nodes(self) -> None:
        """Until the nodes are there that were started in place of others."""
        for thread in self.adding:
            thread.join()

    def _ended(self, kind: str) -> None:
        try:
            self.codes[kind, self.driver.wait(timeout=180)] += 1
        except subprocess.TimeoutExpired:
            self.wrong.append(f"the driver goes on for three minutes after {kind}")
            self.driver.kill()
            self.driver.wait()

    def _end(self, n_trials: int) -> None:
        """Let the study end; then the same command finds nothing to do."""
        for expected in (None, f"{n_trials} of {n_trials} trials done, 0 by this run"):
            began = time.monotonic()
            n_before = -1
            while self.driver.poll() is None:
                if len(self.observer.records) != n_before:
                    n_before, began = len(self.observer.records), time.monotonic()
                self._check_progress(began)
                time.sleep(0.05)
            log = (self.folder / f"driver{self.n_drivers - 1}.log").read_text(errors="replace")
            if self.driver.returncode not in (0, 1):
                self.wrong.append(f"the driver ended with {self.driver.returncode}: {log[-1500:]}")
            if expected is None:
                self.driver, self.driver_began = self._start()
            elif expected not in log:
                self.wrong.append(f"not '{expected}' but: {log[-1500:]}")
        for path in sorted(self.folder.glob("driver*.log")):
            if "Traceback" in path.read_text(errors="replace"):
                self.wrong.append(f"a traceback in {path}")


def rounds(n_faults: int, seed: int, folder: Path, *, small: bool = False) -> list[Round]:
    """Rounds on one cluster until so many faults have struck.

    Args:
        n_faults: how many.
        seed: of the first round; each further one has the next.
        folder: takes a folder per round, which stays where something was wrong.
        small: short studies, grids alone.
    """
    # A shell ignores SIGINT in what it starts in the background, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done: list[Round] = []
    left = n_faults
    with Cluster(3) as cluster:
        for number in itertools.count(seed):
            kind = "grid" if small else KINDS[number % len(KINDS)]
            one = Round(cluster, folder / str(number), kind, number, small)
            print(f"seed {number}: {kind}", flush=True)
            one.run(left)
            done.append(one)
            left -= len(one.struck)
            for sentence in one.wrong:
                print(f"  WRONG: {sentence}", flush=True)
            if left <= 0:
                return done
    raise AssertionError("numbers do not end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="short studies, grids alone")
    parser.add_argument("--keep", type=Path, help="a folder to keep the studies in")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="chaos"))
    began = time.monotonic()
    done = rounds(given.faults, given.seed, folder, small=given.small)
    struck = Counter(fault.kind for one in done for fault in one.struck)
    codes = sum((one.codes for one in done), Counter())
    wrong = [sentence for one in done for sentence in one.wrong]
    n_records = sum(len(one.observer.records) for one in done)
    print(f"{struck.total()} faults in {len(done)} studies: {dict(struck)}")
    print(f"drivers ended with: {dict(codes)}")
    print(
        f"{n_records} records: {sum(s.startswith('lost') for s in wrong)} lost, "
        f"{sum('again' in s for s in wrong)} run twice, "
        f"{sum(s.startswith('different') for s in wrong)} tables different, {len(wrong)} wrong "
        f"in all; {time.monotonic() - began:.0f} s"
    )
    sys.exit(int(bool(wrong)))


if __name__ == "__main__":
    main()
