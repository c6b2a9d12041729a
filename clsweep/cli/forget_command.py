"""`clsweep forget`: trials are taken out of a results folder, after a look at them."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from clsweep.cli.console import show
from clsweep.errors import StoreError
from clsweep.storage.remote_path import place_of
from clsweep.text import command, counted, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clsweep.records.schema import Record
    from clsweep.records.trial_conditions import Condition
    from clsweep.storage.remote_path import Place

_SHOWN = 20


def forget(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A results folder.")],
    where: Annotated[
        str,
        typer.Option(
            help='Which trials, such as \'method = "ewc" and lam > 100 and status != "ok"\'; '
            "keys: docs/runs.md.",
            metavar="CONDITIONS",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only show.")] = False,
) -> None:
    """Take trials out of a results folder, so that the next run computes them again.

    Without --yes it shows which, and changes nothing. Their records are moved to DIR/forgotten,
    and never deleted.
    """
    from clsweep.records.trial_conditions import conditions_in
    from clsweep.reporting.results_reader import check_folders
    from clsweep.storage.folder_kinds import folder_of
    from clsweep.storage.forgetting import FORGOTTEN, refuse_object_store
    from clsweep.storage.store import Store

    conditions, place = conditions_in(where), place_of(directory)
    check_folders([place])
    refuse_object_store(folder_of(place))
    store = Store(place, read_only=True)
    records = store.load("validation")
    for warning in store.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    chosen = _fitting(records, conditions, place, where)
    _show(chosen)
    again = command(f"{command('clsweep forget', place)} --where", where)
    if not yes:
        n_fits = counted(len(chosen), "trial")
        print(f"{n_fits} of {len(records)} would be forgotten; nothing changed")
        print(f"next: {again} --yes")
        return
    n = Store(place).forget({record["trial"]["trial_id"] for record in chosen})
    print(
        f"forgot {counted(n, 'trial')} of {len(records)}; their records lie in "
        f"{printable(str(place / FORGOTTEN), one_line=True)}"
    )
    run = command("clsweep run", place / "study.toml")
    print(f"next: {command(f'{run} --out', place)}")


def _fitting(
    records: Sequence[Record], conditions: Sequence[Condition], place: Place, where: str
) -> list[Record]:
    """The records that meet all conditions, at least one."""
    from clsweep.records.trial_conditions import check_keys, known_values, near_values
    from clsweep.storage.benchmark_folders import refuse_several
    from clsweep.storage.saved_files import saved_models

    models = saved_models(place)
    known = {
        record["trial"]["trial_id"]: known_values(record, record["trial"]["trial_id"] in models)
        for record in records
    }
    if not known:
        refuse_several(place)
    else:
        check_keys(conditions, known.values())
    fits = {key for key, values in known.items() if all(one.holds(values) for one in conditions)}
    if not fits:
        raise StoreError(
            f"none of {counted(len(known), 'trial')} fits",
            expected="; ".join(near_values(conditions, known.values())),
            where=f"{place}, --where {where}",
            next_step="`clsweep status` lists what is there; nothing was changed",
        )
    return [record for record in records if record["trial"]["trial_id"] in fits]


def _show(records: Sequence[Record]) -> None:
    from rich.table import Table
    from rich.text import Text

    from clsweep.text import axes_text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("trial", "label", "seed", "status", "knobs"):
        table.add_column(column, overflow="fold")
    for record in records[:_SHOWN]:
        trial = record["trial"]
        words = (trial["trial_id"], trial["label"], str(trial["seed"]), trial["status"])
        knobs = axes_text(record["config"]["knobs"])
        table.add_row(*(Text(printable(word, one_line=True)) for word in (*words, knobs)))
    show(table)
    if len(records) > _SHOWN:
        print(f"... and {len(records) - _SHOWN} more")
    counts = Counter((r["trial"]["label"], r["trial"]["status"]) for r in records)
    parts = (f"{label} {status} {n}" for (label, status), n in sorted(counts.items()))
    print(printable(f"in all: {', '.join(parts)}", one_line=True))
