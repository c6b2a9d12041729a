"""Whether tables that were read are what clsweep writes: columns, types, ranges, and one another.

What is checked here is what everything that works on records relies on, so that a table that
another program has written, or changed, ends in one message. All checks are of whole columns: a
study of 10,000 trials has millions of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING

from clsweep.records.accuracy import is_of_sums
from clsweep.records.metrics import REGRESSION_METRICS
from clsweep.records.schema import (
    ADDED_TRIAL_COLUMNS,
    COUNTS,
    MAX_TASKS,
    PATH_POINT,
    SPLITS,
    STATUSES,
    trial_id_of,
)
from clsweep.text import UNFIT_NAME

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_NAMES = ("config_id", "label", "method", "device")
_KEYS = ("config_id", "seed", "after_task", "on_task", "split")


def fault_in(table: pa.Table, name: str, columns: Mapping[str, pa.DataType]) -> str:
    """What is wrong with one table; empty for nothing.

    Args:
        table: as it was read.
        name: 'accuracy', 'configs' or 'trials'.
        columns: the columns that it must have, and their types; `configs` may have more.
    """
    found = table.column_names
    missing = [column for column in columns if column not in found]
    if missing:
        return f"it has no column {missing}"
    if len(set(found)) < len(found):
        return "two of its columns have the same name"
    added = {*ADDED_TRIAL_COLUMNS, PATH_POINT} if name == "trials" else set()
    more = sorted(set(found) - set(columns) - added)
    if more and name != "configs":
        return f"it has unknown columns {more}"
    for column, kind in columns.items():
        if table.schema.field(column).type != kind:
            return f"column {column} is of type {table.schema.field(column).type}, not {kind}"
        if table[column].null_count:
            return f"column {column} has rows without a value"
        if column in _NAMES and _is_unfit(table[column]):
            return f"column {column} holds control characters"
    for column in set(found) & added:
        kind = {"code_dirty": "bool", PATH_POINT: "int64"}.get(column, "string")
        if str(table.schema.field(column).type) != kind:
            return f"column {column} is of type {table.schema.field(column).type}, not {kind}"
        if kind == "string" and _is_unfit(table[column]):
            return f"column {column} holds control characters"
    return _CHECKS[name](table)


def fault_between(tables: Mapping[str, pa.Table], without: Set[str]) -> str:
    """What of the tables does not belong together; empty for nothing.

    Args:
        tables: all three, each sound in itself.
        without: trials that need no rows of accuracy, because a record will replace them.
    """
    import pyarrow.compute as pc

    trials = tables["trials"]
    known = pc.is_in(trials["config_id"], tables["configs"]["config_id"].combine_chunks())
    if not pc.all(known, min_count=0).as_py():
        return "configs.parquet lacks configurations of trials.parquet"
    finished = trials.filter(pc.equal(trials["status"], "ok"))["trial_id"].to_pylist()
    lacking = set(finished) - without
    lacking -= trials_in(tables["accuracy"]) if lacking else set()
    if lacking:
        return f"accuracy.parquet lacks rows of {len(lacking):,} trials, such as {min(lacking)}"
    return ""


def trials_in(accuracy: pa.Table) -> set[str]:
    """Ids of the trials that an accuracy table has rows of."""
    import numpy as np

    if not len(accuracy):
        return set()
    owners = _numbered(accuracy["config_id"])
    code, seed = owners.indices.to_numpy(), accuracy["seed"].to_numpy()
    is_first = np.ones(len(code), dtype=bool)
    is_first[1:] = (np.diff(code) != 0) | (np.diff(seed) != 0)
    names = owners.dictionary.to_pylist()
    pairs = zip(code[is_first].tolist(), seed[is_first].tolist(), strict=True)
    return {trial_id_of(names[c], s) for c, s in pairs}


def _is_unfit(names: pa.ChunkedArray) -> bool:
    """Whether a name would drive a terminal; each is looked at once."""
    import pyarrow.compute as pc

    return bool(
        pc.any(pc.match_substring_regex(pc.unique(names), UNFIT_NAME), min_count=0).as_py()
    )


def _fault_in_accuracy(table: pa.Table) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    splits = pa.array(SPLITS)
    if not pc.all(pc.is_in(table["split"], splits), min_count=0).as_py():
        return f"column split holds something other than {list(SPLITS)}"
    fault = _fault_in_sums(table) if is_of_sums(table) else _fault_in_counts(table)
    if fault:
        return fault
    for name, least in (("after_task", -1), ("on_task", 0)):
        values = table[name].to_numpy()
        if (values < least).any() or (values >= MAX_TASKS).any():
            return f"column {name} is not between {least} and {MAX_TASKS - 1} in every row"
    return "the same row of accuracy appears twice" if _repeats(table) else ""


def _fault_in_counts(table: pa.Table) -> str:
    n_correct, n_total = (table[name].to_numpy() for name in ("n_correct", "n_total"))
    if (n_correct < 0).any() or (n_correct > n_total).any() or (n_total < 1).any():
        return "n_correct is not between 0 and n_total in every row"
    return ""


def _fault_in_sums(table: pa.Table) -> str:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if (table["n_total"].to_numpy() < 1).any():
        return "n_total is not at least 1 in every row"
    for name in ("squared_error", "fourth_power", "squared_deviation"):
        values = table[name].to_numpy()
        if not np.isfinite(values).all() or (values < 0).any():
            return f"column {name} holds something other than numbers of at least 0"
    if (table["squared_deviation"].to_numpy() == 0).any():
        return "column squared_deviation holds 0: no metric can be computed"
    metrics = pa.array(REGRESSION_METRICS)
    if not pc.all(pc.is_in(table["metric"], metrics), min_count=0).as_py():
        return f"column metric holds something other than {list(REGRESSION_METRICS)}"
    return ""


def _repeats(accuracy: pa.Table) -> bool:
    """Whether two rows have the same key; quick for sorted tables, as clsweep writes them."""
    import numpy as np

    # Of every row and the one before it: 1, 0 or −1, by the first column in which they differ.
    order = np.zeros(max(0, len(accuracy) - 1), dtype=np.int8)
    for name in _KEYS:
        code = _codes(accuracy, name)
        step = (code[1:] > code[:-1]).astype(np.int8) - (code[1:] < code[:-1])
        np.copyto(order, step, where=order == 0)
    if (order > 0).all():
        return False
    unique = accuracy.group_by(list(_KEYS)).aggregate([])
    return len(unique) < len(accuracy)


def _codes(table: pa.Table, name: str) -> NDArray[np.integer]:
    """A column as numbers; names are numbered as they come, which is their order when sorted."""
    column = table[name]
    numbers = _numbered(column).indices if name in ("config_id", "split") else column
    found: NDArray[np.integer] = numbers.to_numpy()
    return found


def _numbered(names: pa.ChunkedArray) -> pa.DictionaryArray:
    """Names as numbers and a dictionary; numbered first, since they are long when put together."""
    return names.dictionary_encode().combine_chunks()


def _fault_in_configs(table: pa.Table) -> str:
    import pyarrow.compute as pc

    if pc.count_distinct(table["config_id"]).as_py() < len(table):
        return "a configuration appears twice"
    lengths = (pc.list_value_length(table[name]) for name in ("knobs", "knob_values"))
    if not pc.all(pc.equal(*lengths), min_count=0).as_py():
        return "knobs and knob_values are not of one length in every row"
    values = pc.list_flatten(table["knob_values"])
    if values.null_count or not pc.all(pc.is_finite(values), min_count=0).as_py():
        return "column knob_values holds something other than finite numbers"
    return ""


def _fault_in_trials(table: pa.Table) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    seed = pc.cast(table["seed"], pa.string())
    expected = pc.binary_join_element_wise(table["config_id"], seed, "-")
    if not pc.all(pc.equal(table["trial_id"], expected), min_count=0).as_py():
        return "trial_id is not config_id and seed in every row"
    if pc.count_distinct(table["trial_id"]).as_py() < len(table):
        return "a trial appears twice"
    if not pc.all(pc.is_in(table["status"], pa.array(STATUSES)), min_count=0).as_py():
        return f"column status holds something other than {list(STATUSES)}"
    for name in COUNTS:
        at_least_0 = pc.greater_equal(table[name], 0)
        finite = pc.is_finite(pc.cast(table[name], pa.float64()))
        if not pc.all(pc.and_(at_least_0, finite), min_count=0).as_py():
            return f"column {name} holds something other than numbers of at least 0"
    return ""


_CHECKS: dict[str, Callable[[pa.Table], str]] = {
    "accuracy": _fault_in_accuracy,
    "configs": _fault_in_configs,
    "trials": _fault_in_trials,
}
