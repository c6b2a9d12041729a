"""Peak memory of a study whose data are larger: a mapped array of 4 GiB.

    python benchmarks/memory_map.py [--gib 4] [--folder DIR]

A folder of .npy files of float32 images, 3 x 64 x 64, is planned and then run: standardised,
fine-tuned, with a replay memory and with EWC, of a small network and few steps each, evaluated on
every row. `plan` and `run --inline` are processes of their own; the figures are the largest
resident set of each, torch's libraries and mapped pages included. The files are sparse: rows that
nobody wrote are zeros, and are read as any others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

SHAPE = (3, 64, 64)
N_CLASSES = 4
# Every so many rows one that is not zero.
WRITTEN = 64
STUDY = """\
name = "large"
seeds = 1
[benchmark]
name = "split"
dataset = "arrays:large"
n_tasks = 2
features = "standardized"
[net]
hidden = [16]
[training]
steps = 50
lr = 0.001
[[methods]]
name = "finetune"
[[methods]]
name = "replay"
memory_size = 32
[[methods]]
name = "ewc"
lam = 1.0
fisher_examples = 200
"""


def write_arrays(folder: Path, gib: float) -> None:
    """Training rows, and a quarter as many for testing, `gib` GiB in all."""
    rng = np.random.default_rng(0)
    n_rows = int(gib * 2**30) // (4 * int(np.prod(SHAPE)))
    for part, share in (("train", 0.8), ("test", 0.2)):
        n = int(n_rows * share)
        y = np.arange(n) % N_CLASSES
        x = open_memmap(folder / f"{part}_x.npy", "w+", np.float32, (n, *SHAPE))
        for row in range(0, n - N_CLASSES, WRITTEN):
            for label in range(N_CLASSES):
                x[row + label] = rng.normal(size=SHAPE) + label
        np.save(folder / f"{part}_y.npy", y)


def peak_bytes(folder: Path, *words: str) -> int:
    """Largest resident set of a command of clsweep."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clsweep", *words], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"clsweep {words[0]} ended with {os.waitstatus_to_exitcode(status)}"
    return usage.ru_maxrss * 1024


def measure(folder: Path, gib: float) -> dict[str, int]:
    """Peak of `plan` and of `run` on arrays of `gib` GiB, bytes."""
    (folder / "large").mkdir()
    write_arrays(folder / "large", gib)
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    plan = peak_bytes(folder, "plan", "study.toml")
    return {"plan": plan, "run": peak_bytes(folder, "run", "study.toml", "--inline", "--quiet")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--folder", type=Path, help="where the files are written for a while")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        peaks = measure(Path(folder), args.gib)
    print(
        f"{args.gib:g} GiB of arrays: plan {peaks['plan'] / 2**20:.0f} MiB, "
        f"run {peaks['run'] / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
