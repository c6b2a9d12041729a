"""Commands for methods of the user's own: their files, and whether they keep the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clsweep.errors import StudyError
from clsweep.text import counted

if TYPE_CHECKING:
    from clsweep.conformance.conform import Finding


def new(
    kind: Annotated[str, typer.Argument(metavar="method", help="What to write: 'method'.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of its module.")],
    learner: Annotated[
        bool,
        typer.Option("--learner", help="A class with training code of its own, not hooks."),
    ] = False,
    folder: Annotated[
        Path, typer.Option("--in", help="Where to [default: here].", metavar="DIR")
    ] = Path("."),
) -> None:
    """Write a method of your own that works: NAME.py, its test, a study file."""
    from clsweep.conformance.new_method import write_new_method

    if kind != "method":
        raise StudyError(f"'{kind}' cannot be written", expected="clsweep new method NAME")
    for path in write_new_method(folder, name, learner=learner):
        print(path)
    attribute = "Learner" if learner else "build"
    print(f"next: PYTHONPATH=. clsweep conform {name}:{attribute}")


def conform(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PACKAGE.MODULE:NAME",
            help="The function `build`, or the class of a learner; or a method's name.",
        ),
    ],
    at: Annotated[
        str,
        typer.Option(
            help="Numbers to check it with, as KEY=VALUE,... [default: its own].",
            metavar="NUMBERS",
        ),
    ] = "",
    zero: Annotated[
        str | None,
        typer.Option(
            help="Numbers under which it is fine-tuning, as KEY=VALUE,...; '' for none "
            "[default: the first knob at 0].",
            metavar="NUMBERS",
        ),
    ] = None,
) -> None:
    """Say whether a method keeps the contract of methods, check by check.

    Exit code: 0; 1 if a check fails; 2 for a mistake that is named.
    """
    from clsweep.conformance.conform import conform as findings
    from clsweep.conformance.conform import numbers_from

    n_failed = n_passed = 0
    at_zero = None if zero is None else numbers_from(zero)
    failures: Counter[str] = Counter()
    for finding in findings(path, numbers_from(at), at_zero):
        if finding.passed is False:
            failures[finding.said] += 1
        print(_line(finding, failures[finding.said] > 1), flush=True)
        n_failed += finding.passed is False
        n_passed += finding.passed is True
    n_all = n_failed + n_passed
    for said, n in failures.items():
        if n > 1:
            first, _, _ = said.partition("\n")
            print(f"in {n} of {counted(n_all, 'check')}: {first}")
    print(f"{path}: {counted(n_passed, 'check')} passed, {n_failed} failed")
    raise typer.Exit(int(n_failed > 0))


def _line(finding: Finding, is_repeated: bool) -> str:
    """One check; what is said again is counted when all have been made."""
    word = {True: "passes", False: "FAILS", None: "left out"}[finding.passed]
    told = "as above" if is_repeated else finding.said
    said = f": {told}" if told else ""
    return f"{word:8}  {finding.scenario:6}  {finding.check}{said}"


OWN: tuple[Callable[..., Any], ...] = (new, conform)
