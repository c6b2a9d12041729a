"""Synthetic records for the tests of everything right of the runner."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

Record = dict[str, Any]

STUDY_TOML = """\
name = "synthetic"
seeds = [0, 1, 2]

[benchmark]
name = "permuted"
dataset = "mnist"
n_tasks = 2
scenario = "domain"

[net]
name = "mlp"
hidden = [100, 100]

[training]
optimizer = "sgd"
lr = 0.1

[report]
drops = [1.0, 5.0]
"""

# label: method, knob, low, high (log10), bend (a larger one is a better front)
CURVES: dict[str, tuple[str, str, float, float, float]] = {
    "EWC": ("ewc", "lam", 0.0, 8.0, 3.0),
    "EWC online": ("ewc", "lam", 0.0, 8.0, 2.6),
    "MAS": ("mas", "lam", -3.0, 5.0, 2.8),
    "SI": ("si", "c", -3.0, 5.0, 2.0),
    "LwF": ("lwf", "lam", -2.0, 2.0, 1.6),
    "LwF, T = 4": ("lwf", "lam", -2.0, 2.0, 1.8),
    "replay": ("replay", "weight", -1.0, 1.0, 4.5),
    "replay, small memory": ("replay", "weight", -1.0, 1.0, 3.4),
}
REFERENCES = {
    "fine-tuning": ("finetune", 0.62, 0.975),
    "frozen trunk": ("frozen", 0.972, 0.70),
    "joint": ("joint", 0.974, 0.973),
}
SOURCE_BEFORE = 0.972


def config_id_of(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def make_record(
    label: str = "EWC",
    method: str = "ewc",
    seed: int = 0,
    hyper: dict[str, Any] | None = None,
    knobs: dict[str, float] | None = None,
    accuracy: list[list[Any]] | None = None,
    status: str = "ok",
    is_reference: bool = False,
    **trial: Any,
) -> Record:
    """One valid record; `trial` overrides fields of its trial part."""
    hyper = {"lam": 100.0} if hyper is None else hyper
    config_id = config_id_of(method, hyper)
    if accuracy is None:
        accuracy = two_task_rows(0.97, 0.90, 0.96) if status == "ok" else []
    return {
        "schema": 1,
        "trial": {
            "trial_id": f"{config_id}-{seed}",
            "config_id": config_id,
            "label": label,
            "method": method,
            "seed": seed,
            "status": status,
            "message": "" if status == "ok" else f"the trial {status}",
            "n_steps": 1000,
            "wall_seconds": 12.5,
            "peak_memory_bytes": 10**8,
            "memory_bytes": 4 * 10**6,
            "n_params": 89610,
            "device": "cpu",
            "stages": ["source-0123", "adapt-4567"],
            "attempts": 1,
            "finished_at": "2025-01-01T00:00:00+00:00",
            "versions": {"clsweep": "0.1.0", "torch": "2.9"},
            "counters": {"penalty": 0.1, "memory_steps": 3},
            **trial,
        },
        "config": {
            "config_id": config_id,
            "label": label,
            "method": method,
            "hyper": hyper,
            "training": {"optimizer": "sgd", "lr": 0.1, "hidden": [100, 100]},
            "knobs": {"lam": hyper["lam"]} if knobs is None and "lam" in hyper else knobs or {},
            "is_reference": is_reference,
        },
        "accuracy": accuracy,
    }


def two_task_rows(
    before: float, source: float, target: float, rng: np.random.Generator | None = None
) -> list[list[Any]]:
    """Accuracy rows of two tasks: `before` and `source` on the first task, `target` on the second.

    With `rng`, binomial draws around those accuracies; without, rounded counts.
    """
    rows: list[list[Any]] = []
    for split, n_total in (("test", 10_000), ("validation", 6_000)):
        for after, on, value in ((0, 0, before), (1, 0, source), (1, 1, target)):
            n_correct = rng.binomial(n_total, value) if rng else round(value * n_total)
            rows.append([after, on, split, int(n_correct), n_total])
    return sorted(rows)


def curve_point(label: str, u: float) -> tuple[float, float]:
    """Noise-free (source, target) of a label at position u in [0, 1] along its knob."""
    bend = CURVES[label][4]
    _, low_source, high_target = REFERENCES["fine-tuning"]
    _, high_source, low_target = REFERENCES["frozen trunk"]
    source = low_source + (high_source - low_source) * (1 - (1 - u) ** bend)
    target = low_target + (high_target - low_target) * (1 - u**bend)
    return source, target


def make_study(
    labels: tuple[str, ...] = tuple(CURVES),
    n_values: int = 9,
    n_seeds: int = 3,
    references: tuple[str, ...] = tuple(REFERENCES),
) -> list[Record]:
    """Records of a whole study: every label's knob grid, every seed, and the references."""
    records = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(1000 + seed)
        luck = rng.normal(0, 0.003, size=2)
        for label in labels:
            method, knob, low, high, _ = CURVES[label]
            for u in np.linspace(0, 1, n_values):
                source, target = curve_point(label, float(u)) + luck + rng.normal(0, 0.002, 2)
                value = float(f"{10 ** (low + (high - low) * u):.4g}")
                hyper: dict[str, Any] = {knob: value, "variant": label}
                rows = two_task_rows(SOURCE_BEFORE, min(source, 1), min(target, 1), rng)
                records.append(make_record(label, method, seed, hyper, {knob: value}, rows))
        for label in references:
            method, source, target = REFERENCES[label]
            rows = two_task_rows(SOURCE_BEFORE, source + luck[0], target + luck[1], rng)
            if method == "joint":
                rows = [row for row in rows if row[0] == 1]
            records.append(
                make_record(label, method, seed, {}, {}, rows, is_reference=True, n_steps=1000)
            )
    return records


def write_study(directory: Path, records: list[Record], toml: str = STUDY_TOML) -> Path:
    """A results folder that holds the records, compacted."""
    from clsweep.storage.store import Store

    with Store(directory).open_for_run("identity", toml, "synthetic") as store:
        for record in records:
            store.commit(record)
        store.compact()
    return directory


def split_rows(
    validation: tuple[float, float],
    test: tuple[float, float] | None = None,
    before: float = 0.97,
) -> list[list[Any]]:
    """Accuracy rows of two tasks with exact (source, target) accuracies on each split."""
    rows: list[list[Any]] = []
    for split, (source, target) in (("validation", validation), ("test", test or validation)):
        for after, on, value in ((0, 0, before), (1, 0, source), (1, 1, target)):
            rows.append([after, on, split, round(1000 * value), 1000])
    return sorted(rows)
