"""Study files with several benchmarks: the same methods on each of them.

Each benchmark makes a study of its own, with the identities that it would have in a file alone,
and a results folder of its own, `results/NAME/LABEL`. So a benchmark that is added, taken out or
moved leaves the results of all others as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clsweep.data.benchmark_specs import BENCHMARKS
from clsweep.errors import StudyError
from clsweep.text import counted

MAX_BENCHMARKS = 100
# What a [[benchmarks]] table says beside the keys of [benchmark].
_BESIDE = ("label", "net", "training")
_LABEL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def tables_by_benchmark(raw: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """The tables of a study for each benchmark, by its label; none if the file has one benchmark.

    `[[benchmarks]]` are benchmarks that take from `[benchmark]` what they do not say; each may
    also say keys of `[net]` and `[training]`. A list `dataset` of `[benchmark]` is short for
    tables that say a data set alone.

    Args:
        raw: the tables of the file.
        where: the file, for messages.

    Raises:
        StudyError: a table or a label is none.
    """
    shared = raw.get("benchmark", {})
    return {
        label: _tables_of(raw, label, both, table)
        for label, (both, table) in _labelled(shared, raw.get("benchmarks"), where).items()
    }


def refuse_several(shared: Any, listed: Any, where: str) -> None:
    """Refuse a file with several benchmarks where one study is wanted.

    Args:
        shared: its `[benchmark]`.
        listed: its `[[benchmarks]]`; None without any.
        where: the file, for messages.

    Raises:
        StudyError: it has `[[benchmarks]]`, or a list of data sets.
    """
    if labels := [*_labelled(shared, listed, where)]:
        raise StudyError(
            f"the file has {counted(len(labels), 'benchmark')}: {', '.join(labels)}",
            expected="one [benchmark] with one dataset",
            where=where,
            next_step="`clsweep run`, `plan`, `report` and `status` take all of them; in Python "
            "clsweep.load_studies does. Elsewhere name the results folder of one",
        )


def _labelled(
    shared: Any, listed: Any, where: str
) -> dict[str, tuple[dict[str, Any], Mapping[str, Any]]]:
    """Label -> a whole `[benchmark]`, and the `[[benchmarks]]` table that it comes from."""
    if not isinstance(shared, Mapping):
        return {}  # what it is instead is told where one benchmark is checked
    names = shared.get("dataset")
    if isinstance(names, list):
        if listed is not None:
            raise StudyError(
                "both [[benchmarks]] and a list of data sets",
                expected="one of them: a list is short for tables that differ in their data alone",
                where=f"{where}: benchmark.dataset",
            )
        _check_list(names, str, "names of data sets", f"{where}: benchmark.dataset")
        listed = [{"dataset": name, "label": _stem(name)} for name in names]
    if listed is None:
        return {}
    _check_list(listed, Mapping, "a [[benchmarks]] table for each", f"{where}: benchmarks")
    found: dict[str, tuple[dict[str, Any], Mapping[str, Any]]] = {}
    for index, table in enumerate(listed):
        benchmark = {**shared, **{key: table[key] for key in table if key not in _BESIDE}}
        label = table.get("label", _default_label(benchmark))
        _check_label(label, found, f"{where}: benchmarks[{index}]")
        found[label] = benchmark, table
    return found


def _tables_of(
    raw: Mapping[str, Any], label: str, benchmark: dict[str, Any], table: Mapping[str, Any]
) -> dict[str, Any]:
    made = {key: value for key, value in raw.items() if key != "benchmarks"}
    made["benchmark"] = benchmark
    if isinstance(raw.get("name"), str):
        made["name"] = f"{raw['name']}-{label}"
    for key in ("net", "training"):
        if key in table:
            both = [raw.get(key, {}), table[key]]
            is_table = all(isinstance(one, Mapping) for one in both)
            made[key] = {**both[0], **both[1]} if is_table else table[key]
    return made


def _check_list(listed: Any, kind: type, expected: str, where: str) -> None:
    is_right = isinstance(listed, list) and all(isinstance(one, kind) for one in listed)
    if not is_right or not 1 <= len(listed) <= MAX_BENCHMARKS:
        raise StudyError(
            "no list of benchmarks" if not is_right else counted(len(listed), "benchmark"),
            expected=f"{expected}, from 1 to {MAX_BENCHMARKS}",
            where=where,
        )


def _check_label(label: Any, others: Mapping[str, Any], where: str) -> None:
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise StudyError(
            f"the label {label!r}",
            expected="letters, digits, '.', '_' and '-': it names a folder",
            where=where,
        )
    if label.casefold() in map(str.casefold, others):
        raise StudyError(
            f"two benchmarks are labelled '{label}'",
            expected="a different label for every benchmark",
            where=where,
            next_step='write [[benchmarks]] tables with label = "..."',
        )


def _default_label(benchmark: Mapping[str, Any]) -> str:
    """A label that depends on its own table alone, so that other tables never rename it."""
    name = str(benchmark.get("name", ""))
    kind = BENCHMARKS.get(name)
    dataset = benchmark.get("dataset") or (kind and kind.model_fields["dataset"].default)
    return f"{name}-{_stem(str(dataset))}" if dataset else name


def _stem(dataset: str) -> str:
    """`cifar` of `arrays:features/cifar.npz`: the last part, in characters of a label."""
    last = re.split(r"[/:\\]", dataset.rstrip("/\\"))[-1]
    last = re.sub(r"\.(npz|npy|parquet|arrow|feather)$", "", last)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).lstrip(".")
