"""The commands that run a study, or say what a run would do."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from clsweep.cli.console import show
from clsweep.cli.streams import excuse_lost_output, output_refused
from clsweep.errors import ClsweepError, RunnerError, StudyError
from clsweep.storage.benchmark_folders import note_benchmarks
from clsweep.storage.remote_path import Place, place_of
from clsweep.text import counted, seconds_in

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Summary
    from clsweep.study.study import Study

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
DataRoot = Annotated[
    str | None,
    typer.Option(help="Folder that holds data sets [default: CLSWEEP_DATA].", metavar="DIR"),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="Results folder, or a URI such as s3://BUCKET/PATH [default: results/NAME].",
        metavar="DIR",
    ),
]
Stages = Annotated[
    str | None,
    typer.Option(
        help="Stage cache, to share between studies; a folder or a URI [default: OUT/stages].",
        metavar="DIR",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster, HOST:PORT; 'auto' finds the one this machine belongs to "
        "[default: RAY_ADDRESS, or else Ray on this machine alone].",
        metavar="ADDRESS",
    ),
]
Inline = Annotated[
    bool, typer.Option("--inline", help="One trial after the other in this process, no Ray.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Trials at the same time [default: as many as fit]."),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Run trials again that failed or diverged.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        help="Run the trials of this label, and leave others for later; may be repeated.",
        metavar="LABEL",
    ),
]
TimeLimit = Annotated[
    str | None,
    typer.Option(
        help="Start no trial after this time from the start of the run, such as 2h or 90min; "
        "those that run end.",
        metavar="TIME",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
LogJson = Annotated[
    str | None,
    typer.Option(
        help="Add one JSON line per event to a file, '-' for the standard output; keys: "
        "docs/watching.md.",
        metavar="FILE",
    ),
]


def run(
    study: StudyFile,
    out: Out = None,
    address: Address = None,
    inline: Inline = False,
    workers: Workers = None,
    data_root: DataRoot = None,
    stages: Stages = None,
    retry_failed: RetryFailed = False,
    only: Only = None,
    time_limit: TimeLimit = None,
    quiet: Quiet = False,
    log_json: LogJson = None,
) -> None:
    """Run the trials of a study that have no record yet.

    Stopping it, and running it again with more seeds, longer grids or other methods, loses
    nothing. Exit code: 0; 1 if a trial failed, diverged or ran out of memory; 2 for a mistake
    that is named; 130 if interrupted or out of time; 143 if terminated.
    """
    asked_address, address = address, _cluster(address, inline)
    parts = _parts(study, data_root, out)
    from clsweep.cli.next_commands import after_run, run_command

    options = _Options(
        address=address,
        inline=inline,
        workers=workers,
        data_root=parts.root,
        stages=place_of(stages) if stages else None,
        retry_failed=retry_failed,
        only=only or (),
    )
    if parts.is_several:
        note_benchmarks(parts.folder, [*parts.studies])
    again = run_command(
        study,
        out,
        stages,
        data_root,
        address=asked_address,
        workers=workers,
        inline=inline,
        only=only or (),
        time_limit=time_limit,
    )
    try:
        summaries = list(_summaries(parts, options, _seconds(time_limit), log_json, quiet=quiet))
    except KeyboardInterrupt:  # before the first trial or after the last, where no summary is
        with contextlib.suppress(OSError):
            print(f"{_interrupted_text(parts)}\nnext: {again}", file=sys.stderr)
        raise
    told = sys.stderr if log_json == "-" else sys.stdout  # then for the log alone
    with contextlib.suppress(OSError):  # the trials are done, whoever hears of it
        if left := [*parts.studies][len(summaries) :]:
            print(f"left for later: {', '.join(left)}", file=told)
        print(after_run(max(summaries, key=_exit_code), parts.folder, again), file=told)
    if (lost := excuse_lost_output()) is not None:
        print(f"warning: {output_refused(lost)}", file=sys.stderr)
    raise typer.Exit(max(map(_exit_code, summaries)))


class _Options(NamedTuple):
    """What `runner.run` is told for every benchmark alike."""

    address: str | None
    inline: bool
    workers: int | None
    data_root: Path | None
    stages: Place | None
    retry_failed: bool
    only: Sequence[str]


def _summaries(
    parts: _Parts,
    options: _Options,
    seconds: float | None,
    log_json: str | None,
    *,
    quiet: bool,
) -> Iterator[Summary]:
    """Run one benchmark after the other, and say how each ended, until one is stopped."""
    from clsweep.cli.listings import summary_text
    from clsweep.execution import runner
    from clsweep.execution.listeners.event_log import event_log
    from clsweep.execution.listeners.notebook_progress import progress_on

    until = None if seconds is None else time.monotonic() + seconds
    if len(parts.studies) > 1 and options.address is None:  # nodes of a cluster have their own
        _fetch_data(parts)
    ended: dict[str, Summary] = {}
    with event_log(log_json) if log_json else contextlib.nullcontext() as log:
        for label, loaded in parts.studies.items():
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            try:
                summary = runner.run(
                    loaded,
                    out=parts.folder_of(label),
                    time_limit=left,
                    listeners=[progress_on(sys.stderr, quiet=quiet), *([log] if log else [])],
                    **options._asdict(),
                )
            except ClsweepError:
                if ended:
                    print(_kept_text(label, ended), file=sys.stderr)
                raise
            ended[label] = summary
            for warning in summary.warnings:
                print(f"warning: {warning}", file=sys.stderr)
            with contextlib.suppress(OSError):
                print(f"{label}: " * parts.is_several + summary_text(summary))
            yield summary
            if summary.terminated or summary.interrupted or summary.out_of_time:
                return


def _fetch_data(parts: _Parts) -> None:
    """Download what benchmarks with trials to do lack, before the first of them is trained.

    Raises:
        StudyError: it cannot be downloaded.
    """
    from clsweep.data.data_files import missing_files

    for label, loaded in parts.studies.items():
        names = dict.fromkeys(loaded.benchmark.datasets)
        lacking = [name for name in names if missing_files(name, parts.root)]
        if not lacking or not _has_work(loaded, parts, label):
            continue
        from clsweep.data.datasets import fetch

        for name in lacking:
            try:
                fetch(name, parts.root)
            except StudyError as error:
                raise StudyError(
                    f"benchmark '{label}', before any training: {error.found}",
                    expected=error.expected,
                    where=error.where,
                    next_step=error.next_step,
                ) from error


def _has_work(study: Study, parts: _Parts, label: str) -> bool:
    from clsweep.execution import dry_run

    return dry_run.plan(study, parts.folder_of(label), data_root=parts.root).n_left > 0


def _interrupted_text(parts: _Parts) -> str:
    """What is stored where a run was interrupted outside of its trials."""
    from clsweep.storage.store import Store

    places = [parts.folder_of(label) for label in parts.studies]
    try:
        n = sum(len(Store(one, read_only=True).statuses()) for one in places if one.is_dir())
    except ClsweepError as error:  # that it was interrupted is what decides the exit code
        return f"stopped (Ctrl-C); what is stored cannot be counted: {error.found}"
    kept = f"{counted(n, 'trial')} stored, and kept"
    return f"stopped (Ctrl-C): {kept}; the next command does the rest"


def _kept_text(label: str, ended: Mapping[str, Summary]) -> str:
    """What stays of the benchmarks that ran before one that cannot."""
    kept = ", ".join(f"{k} ({s.n_done} of {s.n_trials} trials done)" for k, s in ended.items())
    return f"benchmark '{label}' could not be run; kept: {kept}"


def plan(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    stages: Stages = None,
) -> None:
    """Check a study; say what a run would do and cost."""
    parts = _parts(study, data_root, out)
    from clsweep.cli.listings import plan_table, plan_text
    from clsweep.cli.next_commands import after_plan, run_command
    from clsweep.execution import dry_run

    plans = []
    for label, loaded in parts.studies.items():
        folder = parts.folder_of(label)
        planned = dry_run.plan(loaded, folder, data_root=parts.root, stages=stages)
        plans.append(planned)
        for warning in planned.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if parts.is_several:
            print(f"{label}:")
        show(plan_table(planned))
        print()
        print(plan_text(planned, folder))
        if parts.is_several:
            print()
    if parts.is_several:
        n_trials, n_left = (sum(getattr(p, key) for p in plans) for key in ("n_trials", "n_left"))
        benchmarks = counted(len(plans), "benchmark")
        print(f"in all: {benchmarks}, {counted(n_trials, 'trial')}, {n_left} to do")
    run = run_command(study, out, stages, data_root)
    print(after_plan(max(plans, key=lambda one: one.n_left), parts.folder, run))


def _seconds(time_limit: str | None) -> float | None:
    """The time limit in seconds."""
    if time_limit is None:
        return None
    seconds = seconds_in(time_limit)
    if not seconds:
        raise RunnerError(
            f"'{time_limit}' is no time",
            expected="numbers with units, such as 2h, 90min, 1h30min or 45s",
            where="--time-limit",
        )
    return seconds


def _cluster(address: str | None, inline: bool) -> str | None:
    """The cluster to use: that of the option, or else, as Ray has it, of the environment.

    Ray sets the variable for what `ray job submit` starts.
    """
    if address is None and not inline:
        address = os.environ.get("RAY_ADDRESS")
    if address and address.startswith(("http://", "https://")):
        raise RunnerError(
            f"{address} is the address of a dashboard, not of a cluster",
            expected="HOST:PORT, or 'auto'",
            where="--address, or RAY_ADDRESS in the environment",
            next_step="give `--address`; for `ray job submit`, the variable to set is "
            "RAY_API_SERVER_ADDRESS",
        )
    return None if address in ("", "local") else address


class _Parts(NamedTuple):
    """The studies that the arguments ask for.

    Attributes:
        studies: label of its benchmark to each; empty label: the file has one benchmark.
        root: where data sets lie.
        folder: the results folder, or with several benchmarks the one that holds theirs.
    """

    studies: dict[str, Study]
    root: Path | None
    folder: Place

    @property
    def is_several(self) -> bool:
        """Whether the file names its benchmarks, be it one."""
        return "" not in self.studies

    def folder_of(self, label: str) -> Place:
        """The results folder of a benchmark."""
        return self.folder / label if label else self.folder


def _parts(path: Path, data_root: str | None, out: str | None) -> _Parts:
    """The studies of a file, checked."""
    from clsweep.data.data_root import data_root as root_of
    from clsweep.study.study import load_studies, results_folder_of

    folder = place_of(out) if out else None
    root = root_of(data_root)
    studies = load_studies(path, root)
    return _Parts(studies, root, folder or results_folder_of(path))


def _exit_code(summary: Summary) -> int:
    if summary.terminated:
        return 143
    if summary.interrupted or summary.out_of_time:
        return 130
    return int(summary.n_failed + summary.n_diverged + summary.n_oom > 0)


# In the order in which the help lists them.
RUNNING = (run, plan)
