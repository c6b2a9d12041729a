"""Peak memory of a worker: twenty permuted tasks against two, on the same images.

    python benchmarks/memory.py [--data-root DIR]

With a data root that holds MNIST the images are MNIST's, otherwise the bundled digits'. Each of
the two studies runs one EWC trial of few steps on one Ray worker of its own; the figure is the
largest resident set of that process over its life, torch's libraries included, as it stands in the
trial's row. Tasks share one tensor of images, hence the two should hardly differ.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from clsweep.execution import runner
from clsweep.study.study import load_study

STUDY = """\
name = "memory"
seeds = 1
[benchmark]
name = "permuted"
dataset = "{dataset}"
n_tasks = {n_tasks}
[training]
batch_size = 64
steps = 20
[resources]
device = "cpu"
[[methods]]
name = "ewc"
lam = 1.0
form = "proximal"
fisher = "empirical"
fisher_examples = 200
"""


def peak_bytes(n_tasks: int, data_root: Path | None) -> int:
    dataset = "mnist" if data_root else "digits"
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "study.toml", Path(folder) / "out"
        path.write_text(STUDY.format(dataset=dataset, n_tasks=n_tasks), encoding="utf-8")
        study = load_study(path, data_root)
        runner.run(study, out=out, workers=1, data_root=data_root)
        (row,) = pq.read_table(out / "trials.parquet").to_pylist()
    assert row["status"] == "ok", row["message"]
    return int(row["peak_memory_bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path)
    data_root = parser.parse_args().data_root
    peaks = {n_tasks: peak_bytes(n_tasks, data_root) / 2**20 for n_tasks in (2, 20)}
    print(
        f"{'MNIST' if data_root else 'digits'}: 2 tasks {peaks[2]:.0f} MiB, "
        f"20 tasks {peaks[20]:.0f} MiB, x{peaks[20] / peaks[2]:.2f}"
    )


if __name__ == "__main__":
    main()
