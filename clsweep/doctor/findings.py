"""Findings of the checks of a machine: right, doubtful or wrong, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from clsweep.redaction import without_secrets
from clsweep.text import counted

FORMAT = 1
LEVELS = ("ok", "warn", "wrong")


@dataclass(frozen=True)
class Finding:
    """One line of `clsweep doctor`.

    Attributes:
        check: what was looked at.
        level: 'ok', 'warn' or 'wrong'.
        found: what was found.
        mend: what to do, if anything.
    """

    check: str
    level: str
    found: str
    mend: str = ""


def ok(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", found)


def warn(check: str, found: str, mend: str) -> Finding:
    """Something that may be meant, or may become wrong."""
    return Finding(check, "warn", found, mend)


def wrong(check: str, found: str, mend: str) -> Finding:
    """Something that stops runs, or lets strangers in."""
    return Finding(check, "wrong", found, mend)


def found_by(check: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of one check; that it breaks is a finding as well.

    Args:
        check: its name.
        look: the check.
    """
    try:
        findings = list(look())
    except Exception as error:  # on a machine that is broken, anything may raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        findings = [wrong(check, f"the check itself fails: {text}", "look at what it names")]
    return [
        Finding(f.check, f.level, without_secrets(f.found), without_secrets(f.mend))
        for f in findings
    ]


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """The findings as JSON values.

    Args:
        findings: in order.
    """
    listed = [asdict(finding) for finding in findings]
    n_of = {level: sum(one["level"] == level for one in listed) for level in LEVELS}
    return {
        "format": FORMAT,
        "n_wrong": n_of["wrong"],
        "n_warn": n_of["warn"],
        "findings": listed,
    }


def summary(findings: Iterable[Finding]) -> str:
    """The last line.

    Args:
        findings: all of them.
    """
    levels = [finding.level for finding in findings]
    n_wrong, n_warn = levels.count("wrong"), levels.count("warn")
    first = (
        counted(n_wrong, "thing is", "things are") + " wrong" if n_wrong else "nothing is wrong"
    )
    return first + (f"; {counted(n_warn, 'thing')} to think about" if n_warn else "")
