"""The last line of a command: the one command that makes sense next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.storage.remote_path import Place
from clsweep.text import command

if TYPE_CHECKING:
    from clsweep.execution.forecast import Forecast
    from clsweep.execution.outcomes import Summary
    from clsweep.reporting.report_data import ReportData


def run_command(
    study: Path,
    out: str | None,
    stages: str | None,
    data_root: str | None,
    *,
    address: str | None = None,
    workers: int | None = None,
    inline: bool = False,
) -> str:
    """`clsweep run` with the options that say what is run, and where.

    Args:
        study: the study file, as it was named.
        out: the results folder, if one was named.
        stages: the stage cache, if one was named.
        data_root: the data, if a folder was named.
        address: the cluster, if one was named.
        workers: trials at the same time, if a number was named.
        inline: whether no Ray was wanted.
    """
    text = command("clsweep run", study)
    options = {"out": out, "stages": stages, "data-root": data_root, "address": address}
    options["workers"] = None if workers is None else str(workers)
    for name, value in options.items():
        if value is not None:
            text = command(f"{text} --{name}", value)
    return f"{text} --inline" if inline else text


def after_run(summary: Summary, folder: Place, again: str) -> str:
    """What comes after a run: the rest of it, or its report.

    Args:
        summary: how it ended.
        folder: its results.
        again: the command that goes on with it.
    """
    is_cut_short = summary.interrupted or summary.terminated or summary.out_of_time
    return f"next: {again if is_cut_short else command('clsweep report', folder)}"


def after_plan(plan: Forecast, folder: Place, run: str) -> str:
    """What comes after a plan: the run, or the report of what is done.

    Args:
        plan: what a run would do.
        folder: the results folder.
        run: the command that does it.
    """
    return f"next: {run if plan.n_left else command('clsweep report', folder)}"


def after_report(data: ReportData, folder: Place) -> str:
    """What comes after a report: the trials that it misses, or the study of what it chose.

    Args:
        data: what was reported.
        folder: the first results folder.
    """
    comparison = data.comparison
    if comparison.unanswered or not any(curve.points for curve in comparison.all_curves):
        return f"next: {command('clsweep status', folder)}"
    name = f"{data.name}-chosen.toml"
    export = command("clsweep export", folder)
    return f"next: {command(f'{export} --study', name)}"
