"""Time and memory of `clsweep report` on a synthetic study of 10,000 trials and 20 tasks.

The tables are written directly, then the command runs in a process of its own. Printed are its
wall time, its CPU time, its peak resident memory and the sizes of what it wrote. Not a ratio: wall
time says something on an idle machine only.

    python benchmarks/big_report.py [--values 249] [--tasks 20]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from clsweep.execution.trial_record import record_of
from clsweep.records.tables import TABLES, merged_tables, parquet_bytes
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations, study_identity
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import load_study

STUDY = """\
name = "big"
seeds = [0, 1, 2, 3, 4]
[benchmark]
name = "permuted"
dataset = "digits"
n_tasks = {n_tasks}
scenario = "domain"
[[methods]]
name = "finetune"
[[methods]]
name = "joint"
"""
LABELS = ("ewc", "mas", "l2", "lwf", "rescl", "dgr", "hnet", "si")
KNOBS = {"dgr": "weight", "hnet": "beta", "si": "c"}


def write_study(folder: Path, n_values: int, n_tasks: int) -> int:
    """A results folder of the study; returns the number of its trials."""
    text = STUDY.format(n_tasks=n_tasks)
    for name in LABELS:
        knob = KNOBS.get(name, "lam")
        text += f'[[methods]]\nname = "{name}"\n'
        text += f"{knob} = {{ low = 1e-3, high = 1e3, n = {n_values} }}\n"
    path = folder / "study.toml"
    path.write_text(text)
    study = load_study(path)
    rng = np.random.default_rng(0)
    records, columns = [], []
    for configuration in configurations(study):
        knob = next(iter(configuration.knobs.values()), 1.0)
        strength = np.clip((np.log10(max(knob, 1e-3)) + 3) / 6, 0, 1)
        for seed in study.seeds:
            measured = {"n_steps": 2000, "wall_seconds": 20.0, "memory_bytes": 10**6}
            records.append(record_of(configuration, seed, "ok", **measured))
            columns.append(accuracy_columns(configuration.id, seed, strength, n_tasks, rng))
    tables = merged_tables(None, records)
    tables["accuracy"] = pa.concat_tables(columns).sort_by(
        [(name, "ascending") for name in ("config_id", "seed", "after_task", "on_task", "split")]
    )
    results = folder / "results"
    with Store(results).open_for_run(study_identity(study), resolved_toml(study), study.name):
        for name in TABLES:
            (results / f"{name}.parquet").write_bytes(parquet_bytes(tables[name]))
    return len(records)


def accuracy_columns(
    config_id: str, seed: int, strength: float, n_tasks: int, rng: np.random.Generator
) -> pa.Table:
    """Rows of one trial: after each task, every task so far, on both splits."""
    after, on = np.tril_indices(n_tasks)
    kept = 0.95 - 0.3 * (1 - strength) ** 2 * (after - on) / n_tasks - 0.2 * strength**4
    after, on = np.tile(after, 2), np.tile(on, 2)
    n = len(after)
    return pa.table(
        {
            "config_id": pa.array([config_id] * n),
            "seed": pa.array(np.full(n, seed)),
            "after_task": pa.array(after, pa.int32()),
            "on_task": pa.array(on, pa.int32()),
            "split": pa.array(["test"] * (n // 2) + ["validation"] * (n // 2)),
            "n_correct": pa.array(rng.binomial(1000, np.tile(kept, 2))),
            "n_total": pa.array(np.full(n, 1000)),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=249)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="a folder to keep the study in")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "results").is_dir():
            # In a process of its own: a child starts with the peak memory of its parent.
            sizes = (folder, arguments.values, arguments.tasks)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(f"{pool.apply(write_study, sizes):,} trials")
        command = [sys.executable, "-m", "clsweep.cli.main", "report", str(folder / "results")]
        started = time.perf_counter()
        options = ["--out", str(folder / "report")]
        process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if status:
            sys.exit(f"clsweep report ended with status {status}")
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        print(f"wall {wall:.2f} s, CPU {cpu:.2f} s, peak memory {peak:.0f} MiB")
        for path in sorted((folder / "report").iterdir()):
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
