"""Protocols of the user's own: `rule(candidates, table)`, by import path or entry point.

A rule is asked once per label, and gets copies that hold validation accuracies alone: no test
count is in them, and nothing leads from them to one. It returns one of the candidates, its
`config_id`, or None for no choice; the same ones for the same accuracies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clsweep.search.validation_table import Candidate, ValidationTable
from clsweep.user_code import UserCode, is_installed, user_code

GROUP = "clsweep.protocols"
_EXPECTED = (
    "rule(candidates, table) -> one of the candidates, its config_id, or None; see docs/search.md"
)


def own_protocol(name: str, known: bool) -> UserCode | None:
    """The user's rule of a name; None where clsweep's own are meant.

    Args:
        name: as in `clsweep report --protocol`.
        known: whether clsweep has a rule of that name.

    Raises:
        StudyError: it cannot be imported.
    """
    if known or (":" not in name and not is_installed(name, GROUP)):
        return None
    return user_code(name, where="--protocol", expected=_EXPECTED, group=GROUP)


def meaning(code: UserCode) -> str:
    """The first line of its docstring, or where it stands.

    Args:
        code: the rule.
    """
    said = (getattr(code.found, "__doc__", None) or "").strip().partition("\n")[0]
    return said or f"the rule '{code.name}'"


def choice(
    code: UserCode, own: tuple[Candidate, ...], table: ValidationTable
) -> tuple[Candidate | None, str]:
    """What the rule chooses among the candidates of one label, and why it chose nothing.

    Args:
        code: the rule.
        own: the label's candidates, at least one.
        table: all candidates.

    Raises:
        StudyError: it raises, returns what is no candidate, or answers differently when asked
            again.
    """
    first, second = (_asked(code, own, table) for _ in range(2))
    if first is not second:
        raise code.mistake(
            f"'{code.name}' chooses {_named(first)} for '{own[0].label}', and then "
            f"{_named(second)} from the same accuracies"
        )
    return first, "" if first is not None else f"'{code.name}' chooses none"


def _asked(code: UserCode, own: tuple[Candidate, ...], table: ValidationTable) -> Candidate | None:
    lent = {candidate.config_id: _lent(candidate) for candidate in table.candidates}
    copies = replace(table, candidates=tuple(lent.values()))
    returned: Any = code.called(tuple(lent[c.config_id] for c in own), copies)
    if returned is None:
        return None
    key = getattr(returned, "config_id", returned)
    for candidate in own:
        if candidate.config_id == key:
            return candidate
    raise code.mistake(
        f"'{code.name}' returned {_shown(returned)}, which is none of the {len(own)} candidates "
        f"of '{own[0].label}'"
    )


def _lent(candidate: Candidate) -> Candidate:
    """A copy that may be read and not changed."""
    table = candidate.acc_STT.copy()
    table.flags.writeable = False
    return replace(
        candidate,
        knobs=dict(candidate.knobs),
        hyper=dict(candidate.hyper),
        training=dict(candidate.training),
        acc_STT=table,
    )


def _named(candidate: Candidate | None) -> str:
    return "none" if candidate is None else candidate.config_id


def _shown(returned: Any) -> str:
    if isinstance(returned, Candidate):
        return f"the configuration {returned.config_id} of '{returned.label}'"
    return f"'{returned}'" if isinstance(returned, str) else f"a {type(returned).__name__}"
