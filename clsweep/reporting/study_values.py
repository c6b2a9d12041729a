"""What a report takes from a study file, as plain values.

Results outlive their study file: what somebody broke in it must not hide them, so that nothing
here relies on its types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clsweep.text import printable

DEFAULT_DROPS = (1.0, 5.0)
DEFAULT_MARGIN = 1.0
DEFAULT_SEEDS = 3


def table_of(study: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table of the study file; empty where there is none."""
    found = study.get(name)
    return found if isinstance(found, dict) else {}


def labels_of(study: Mapping[str, Any]) -> list[str]:
    """The labels of the methods, in the order of the file."""
    methods = study.get("methods")
    entries = methods if isinstance(methods, list) else []
    return [str(entry.get("label", "")) for entry in entries if isinstance(entry, dict)]


def drops_of(study: Mapping[str, Any]) -> Sequence[float]:
    """Points below fine-tuning's target accuracy that are allowed, one per requirement."""
    drops = table_of(study, "report").get("drops")
    sound = isinstance(drops, list) and all(isinstance(drop, (int, float)) for drop in drops)
    return drops if isinstance(drops, list) and sound else DEFAULT_DROPS


def choose_on_of(study: Mapping[str, Any]) -> tuple[int, ...]:
    """Seeds that choose while the others are shown; empty where all do both."""
    seeds = table_of(study, "report").get("choose_on")
    found = seeds if isinstance(seeds, list) else []
    return tuple(sorted({s for s in found if isinstance(s, int) and not isinstance(s, bool)}))


def margin_of(study: Mapping[str, Any]) -> float:
    """Standard errors by which a choice must exceed a required target accuracy."""
    margin = table_of(study, "report").get("margin")
    sound = isinstance(margin, (int, float)) and not isinstance(margin, bool) and margin >= 0
    return float(margin) if margin is not None and sound else DEFAULT_MARGIN


def benchmark_text(benchmark: Mapping[str, Any]) -> str:
    """The benchmark in a few words."""
    if not benchmark:
        return "unknown benchmark"
    data = str(benchmark.get("dataset", "digits"))
    listed = benchmark.get("datasets")
    if isinstance(listed, list) and listed:
        data, *rest = map(str, listed)
        benchmark = {**benchmark, "target": rest}
    target = benchmark.get("target", [])
    more = map(str, target if isinstance(target, list) else [target])
    name = " → ".join([data, *more])
    if name == data:
        name = f"{benchmark.get('name', '')} {data}".strip()
    parts = [name]
    if "n_tasks" in benchmark:
        parts.append(f"{benchmark['n_tasks']} tasks")
    if "scenario" in benchmark:
        parts.append(f"{benchmark['scenario']}-incremental")
    return printable(", ".join(parts))
