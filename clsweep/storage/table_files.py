"""The tables of a results folder as they lie there, parsed one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clsweep.errors import StoreError
from clsweep.storage.remote_path import Place

if TYPE_CHECKING:
    import pyarrow as pa

# The reverse of the order of replacement.
READ_ORDER = ("trials", "configs", "accuracy")


def table_data(directory: Place, name: str) -> bytes | None:
    """A table's file; None where there is none.

    Args:
        directory: the results folder.
        name: the table's.

    Raises:
        StoreError: it cannot be read.
    """
    path = directory / f"{name}.parquet"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read a result table: {error}", where=str(path)) from error


def table_of(directory: Place, name: str, data: bytes | None) -> pa.Table | None:
    """The table in a file; None without one.

    Args:
        directory: the results folder, for messages.
        name: the table's.
        data: the file.

    Raises:
        StoreError: it is damaged, or a newer clsweep's.
    """
    if data is None:
        return None
    from clsweep.records.tables import table_from_parquet

    return table_from_parquet(data, name, str(directory / f"{name}.parquet"))


def table_in(directory: Place, name: str) -> pa.Table | None:
    """A table of a results folder; None where there is none.

    Raises:
        StoreError: it cannot be read, is damaged, or a newer clsweep's.
    """
    return table_of(directory, name, table_data(directory, name))


def parsed_tables(
    directory: Place, data: Mapping[str, bytes | None] | None = None
) -> dict[str, pa.Table] | None:
    """All tables, each on its own; None where there is no table of trials.

    Args:
        directory: the results folder.
        data: their files, by name, where they have been read.

    Raises:
        StoreError: one cannot be read, is damaged, missing, or a newer clsweep's.
    """
    tables = {}
    for name in READ_ORDER:
        found = table_data(directory, name) if data is None else data[name]
        table = table_of(directory, name, found)
        if table is None and name == "trials":
            return None
        if table is None:
            raise missing_table(directory, name)
        tables[name] = table
    return tables


def missing_table(directory: Place, name: str) -> StoreError:
    """What is raised for a table that was taken away by hand.

    Args:
        directory: the results folder.
        name: the table's.
    """
    return StoreError(
        f"{name}.parquet is missing while other tables of its trials are there",
        where=str(directory),
        next_step="put back a copy of the file; nothing was changed or deleted",
    )
