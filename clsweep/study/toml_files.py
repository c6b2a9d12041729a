"""The study file as text and as TOML, before anything is known of what it asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from clsweep.config_section import Loc
from clsweep.errors import StudyError, closest_name
from clsweep.storage.remote_path import Place

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MOST_BYTES = 16 * 2**20
# A study needs four.
_MOST_LEVELS = 20


def toml_tables(text: str, where: str) -> dict[str, Any]:
    """What a TOML text says, as plain values.

    Args:
        text: the TOML text.
        where: its file, for messages.

    Raises:
        StudyError: it is no TOML, or nested without end.
    """
    try:
        tables = tomllib.loads(text)
        if _is_deeper(tables, _MOST_LEVELS):
            raise StudyError(
                "tables or lists lie in one another without end",
                expected=f"at most {_MOST_LEVELS} levels",
                where=where,
            )
        return tables
    except (ValueError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        quoted = text.splitlines()[int(line[1]) - 1].strip() if line else ""
        expected, next_step = "", "strings need quotes; numbers, true and false do not"
        if re.search("overwrite|twice", str(error)):
            is_methods = quoted.startswith(("[methods", "[[methods"))
            double = "[[methods]], in double brackets, for every method"
            expected, next_step = double if is_methods else "every key and table once", ""
        raise StudyError(
            f"not TOML: {error}",
            expected=expected,
            where=f"{where}: {quoted}" if quoted else where,
            next_step=next_step,
        ) from None


def _is_deeper(value: Any, n_levels: int) -> bool:
    """Whether containers lie in one another more than `n_levels` deep."""
    level = [value]
    for _ in range(n_levels):
        containers = [c for c in level if isinstance(c, dict | list)]
        level = [v for c in containers for v in (c.values() if isinstance(c, dict) else c)]
    return any(isinstance(value, dict | list) for value in level)


def leaves(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    """(location, value) of every scalar in a parsed file.

    Args:
        value: what `toml_tables` returns.
        loc: where it lies.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*loc, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*loc, index))
    else:
        yield loc, value


def file_text(path: Place) -> str:
    """The text of a study file.

    Args:
        path: the file.

    Raises:
        StudyError: it cannot be read, is no text, or is far too large to be a study.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise StudyError(
                f"{path} is larger than {_MOST_BYTES // 2**20} MiB",
                expected="a study file in TOML",
            )
        # Line ends of Windows; and editors there may start the file with a byte-order mark.
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise _no_file(path) from None
    except IsADirectoryError:
        inside = sorted(p.name for p in path.glob("*.toml"))
        raise StudyError(
            f"{path} is a folder",
            expected="a study file in TOML",
            next_step=f"it holds {', '.join(inside[:10])}" if inside else "",
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{path} is not UTF-8 text (byte {error.start})", expected="a study file in TOML"
        ) from None
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}") from None


def _no_file(path: Place) -> StudyError:
    known = sorted(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    expected = closest_name(path.name, known) if known else "a study file in TOML"
    return StudyError(
        f"there is no file {path}",
        expected=expected,
        next_step="`clsweep init --out study.toml` writes a study to start from",
    )
