"""Study files as text, with a message for every way in which there is none."""

from __future__ import annotations

from pathlib import Path

from clsweep.errors import StudyError, closest_name

__all__ = ["file_text"]


def file_text(path: Path) -> str:
    """What a study file holds.

    Args:
        path: the file.

    Raises:
        StudyError: it is not there, or no text.
    """
    try:
        # utf-8-sig: editors on Windows may start the file with a byte-order mark.
        return path.read_text(encoding="utf-8-sig")
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


def _no_file(path: Path) -> StudyError:
    known = sorted(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    expected = closest_name(path.name, known) if known else "a study file in TOML"
    return StudyError(
        f"there is no file {path}",
        expected=expected,
        next_step="`clsweep init --out study.toml` writes a study to start from",
    )
