"""What a trial stores on request beside its record: counts per class, and measures of the user's.

    DIR/extras/ID.json                            of one trial, until it is compacted
    DIR/class_counts.parquet, measures.parquet    of all others; on a disk

`[report] per_class` and `measures` ask for it, and no identity depends on it. It belongs to the
record that was finished at the same moment: of a trial that ran again, older extras count no more.

    class_counts    config_id, seed, finished_at, on_task, split, label, predicted, class,
                    predicted_class, n        of the final network; rows of n = 0 are left out
    measures        config_id, seed, finished_at, measure, value, remark
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.records.checksums import json_of_sealed, sealed_json
from clsweep.records.schema import MAX_TASKS, SPLITS, bad_record, check_date, check_version
from clsweep.text import is_printable

if TYPE_CHECKING:
    import pyarrow as pa

EXTRA_TABLES = ("class_counts", "measures")
MEASURE_GROUP = "clsweep.measures"
_SCHEMA = 1
_TRIAL = ("config_id", "seed", "finished_at")
_MOST_OUTPUTS = 10**7


class ClassCount(NamedTuple):
    """How many examples of one class the final network took for another one, or for itself.

    Attributes:
        on_task: whose examples.
        split: 'validation' or 'test'.
        label: the class, in the numbering of the task's head.
        predicted: what it was taken for, likewise.
        class_name: its name.
        predicted_class: the other's name.
        n: examples, at least 1.
    """

    on_task: int
    split: str
    label: int
    predicted: int
    class_name: str
    predicted_class: str
    n: int


class MeasureValue(NamedTuple):
    """A measure of the user's, of one trial.

    Attributes:
        measure: as the study names it.
        value: what it returned; None where it failed.
        remark: how it failed; '' where it did not.
    """

    measure: str
    value: float | None
    remark: str = ""


class TrialExtras(NamedTuple):
    """The extras of one trial.

    Attributes:
        config_id: its configuration.
        seed: its seed.
        finished_at: as its record has it.
        class_counts: of the final network; empty where the study does not ask for them.
        measures: likewise.
    """

    config_id: str
    seed: int
    finished_at: str
    class_counts: tuple[ClassCount, ...] = ()
    measures: tuple[MeasureValue, ...] = ()


def extras_bytes(extras: TrialExtras) -> bytes:
    """Its file: JSON with a checksum.

    Args:
        extras: of one trial.
    """
    return sealed_json({"extras_schema": _SCHEMA, **extras._asdict()})


def extras_from_bytes(data: bytes, where: str) -> TrialExtras:
    """The extras in a file.

    Args:
        data: the whole file.
        where: the file, for messages.

    Raises:
        StoreError: it is damaged, or from a newer clsweep.
    """
    found = json_of_sealed(data, where)
    check_version(found.pop("extras_schema", None), where)
    try:
        counts = tuple(ClassCount(*row) for row in found.pop("class_counts"))
        measures = tuple(MeasureValue(*row) for row in found.pop("measures"))
        extras = TrialExtras(**found, class_counts=counts, measures=measures)
    except (TypeError, KeyError) as error:
        raise bad_record(f"other fields than those of extras: {error}", where) from error
    _check(extras, where)
    return extras


def merged_extras(
    tables: Mapping[str, pa.Table] | None, fresh: Sequence[TrialExtras]
) -> dict[str, pa.Table]:
    """The tables with the extras of further trials, which replace those that a trial had.

    Args:
        tables: so far, by name, or None.
        fresh: of trials, each once.
    """
    import pyarrow as pa

    made = {
        "class_counts": _table("class_counts", ((e, c) for e in fresh for c in e.class_counts)),
        "measures": _table("measures", ((e, m) for e in fresh for m in e.measures)),
    }
    if tables is None:
        return made
    replaced = {(e.config_id, e.seed) for e in fresh}
    return {
        name: pa.concat_tables([_without(tables[name], replaced), table]).sort_by(
            [("config_id", "ascending"), ("seed", "ascending")]
        )
        for name, table in made.items()
    }


def extras_table(data: bytes, name: str, where: str) -> pa.Table:
    """The table in a Parquet file's bytes.

    Args:
        data: the bytes of the whole file.
        name: of `EXTRA_TABLES`.
        where: the file, for messages.

    Raises:
        StoreError: it is damaged, is another table, or comes from a newer clsweep.
    """
    from clsweep.records.tables import damaged_table, sound_parquet

    table = sound_parquet(data, where)
    fault = _fault_in(table, name)
    if fault:
        raise damaged_table(fault, where)
    return table


def of_records(table: pa.Table, records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The rows that belong to records: of the same trial, finished at the same moment.

    Args:
        table: one of `merged_extras`.
        records: of the results folder.
    """
    import pyarrow as pa

    trials = [record["trial"] for record in records]
    wanted = pa.table(
        {key: pa.array([t[key] for t in trials], _columns("measures")[key]) for key in _TRIAL}
    )
    return table.join(wanted, keys=list(_TRIAL), join_type="left semi")


def _columns(name: str) -> dict[str, pa.DataType]:
    import pyarrow as pa

    text, whole = pa.string(), pa.int64()
    trial = {"config_id": text, "seed": whole, "finished_at": text}
    if name == "measures":
        return {**trial, "measure": text, "value": pa.float64(), "remark": text}
    return {
        **trial,
        "on_task": whole,
        "split": text,
        "label": whole,
        "predicted": whole,
        "class": text,
        "predicted_class": text,
        "n": whole,
    }


def _table(name: str, rows: Iterable[tuple[TrialExtras, Sequence[Any]]]) -> pa.Table:
    import pyarrow as pa

    columns = _columns(name)
    flat = [(*extras[:3], *row) for extras, row in rows]
    values = zip(*flat, strict=True) if flat else [()] * len(columns)
    arrays = [
        pa.array(list(column), kind) for column, kind in zip(values, columns.values(), strict=True)
    ]
    return pa.table(arrays, names=list(columns))


def _without(table: pa.Table, trials: set[tuple[str, int]]) -> pa.Table:
    import pyarrow as pa

    keys = zip(table["config_id"].to_pylist(), table["seed"].to_pylist(), strict=True)
    return table.filter(pa.array([key not in trials for key in keys], pa.bool_()))


def _fault_in(table: pa.Table, name: str) -> str:
    import pyarrow.compute as pc

    columns = _columns(name)
    if table.column_names != list(columns):
        return f"its columns are {table.column_names}, not {list(columns)}"
    for column, kind in columns.items():
        if table.schema.field(column).type != kind:
            return f"column {column} is of type {table.schema.field(column).type}, not {kind}"
        if table[column].null_count and column != "value":
            return f"column {column} has rows without a value"
        if kind == "string" and not all(map(is_printable, table[column].unique().to_pylist())):
            return f"column {column} holds control characters"
    ranges = {"on_task": (0, MAX_TASKS - 1), "n": (1, None)}
    ranges |= {"label": (0, _MOST_OUTPUTS), "predicted": (0, _MOST_OUTPUTS)}
    for column, (low, high) in ranges.items():
        if column not in columns or not len(table):
            continue
        found = pc.min_max(table[column]).as_py()
        if found["min"] < low or (high is not None and found["max"] > high):
            return f"column {column} holds numbers out of range"
    if name == "class_counts" and not {*table["split"].unique().to_pylist()} <= {*SPLITS}:
        return "column split holds what is no split"
    return ""


def _check(extras: TrialExtras, where: str) -> None:
    if not isinstance(extras.config_id, str) or type(extras.seed) is not int:
        raise bad_record("it names no trial", where)
    if not isinstance(extras.finished_at, str):
        raise bad_record("it has no date", where)
    check_date(extras.finished_at, where)
    for count in extras.class_counts:
        numbers = (count.on_task, count.label, count.predicted, count.n)
        names = (count.class_name, count.predicted_class)
        is_sound = all(type(n) is int and n >= 0 for n in numbers) and count.n > 0
        is_sound = is_sound and count.on_task < MAX_TASKS and count.split in SPLITS
        is_sound = is_sound and max(count.label, count.predicted) <= _MOST_OUTPUTS
        if not is_sound or not all(isinstance(n, str) and is_printable(n) for n in names):
            raise bad_record("a count per class makes no sense", where)
    for measure in extras.measures:
        texts = (measure.measure, measure.remark)
        value = measure.value
        is_sound = all(isinstance(t, str) and is_printable(t) for t in texts)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_sound or not (value is None or (is_number and math.isfinite(value))):
            raise bad_record("a measure makes no sense", where)
