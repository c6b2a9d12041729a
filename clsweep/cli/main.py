"""The command line: every command parses, calls one function and prints."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clsweep.cli.console import show
from clsweep.cli.feature_commands import features
from clsweep.cli.forget_command import forget
from clsweep.cli.method_commands import OWN
from clsweep.cli.read_commands import COMMANDS
from clsweep.cli.streams import excuse_lost_output, guarded_streams, lost_output, output_refused
from clsweep.cli.watch_commands import WATCHING
from clsweep.errors import ClsweepError, RunnerError
from clsweep.storage.remote_path import Place, place_of
from clsweep.text import seconds_in

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Summary
    from clsweep.study.study import Study

app = typer.Typer(
    help="Fair stability/plasticity fronts for continual-learning methods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Mistakes of the user end in a message and a 2.

    Args:
        arguments: the words after the program's name; those of the process if None.
    """
    with guarded_streams():
        try:
            code = _code_of(arguments)
        except OSError:
            if lost_output() is None:
                raise
            code = 2
        lost = lost_output()
        if isinstance(lost, BrokenPipeError):
            # Whoever read the output has had enough; what a shell says of other programs then.
            return 128 + signal.SIGPIPE
        if lost is not None:
            print(f"error: {output_refused(lost)}", file=sys.stderr)
            return 2
        return code


def _code_of(arguments: Sequence[str] | None) -> int:
    try:
        app(args=None if arguments is None else list(arguments), prog_name="clsweep")
    except ClsweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError:
        if _has_folder():
            raise
        print(
            "error: the current folder does not exist any more\n"
            "  next: `cd` to one that does, and give the command again there",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _has_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from clsweep.versions import versions

        print(f"clsweep {versions()['clsweep']}")
        raise typer.Exit()


@app.command()
def run(
    study: StudyFile,
    out: Out = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="A running Ray cluster, HOST:PORT; 'auto' finds the one this machine belongs to "
            "[default: RAY_ADDRESS, or else Ray on this machine alone].",
            metavar="ADDRESS",
        ),
    ] = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="One trial after the other in this process, no Ray.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at the same time [default: as many as fit]."),
    ] = None,
    data_root: DataRoot = None,
    stages: Stages = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that failed or diverged.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Run the trials of this label, and leave others for later; may be repeated.",
            metavar="LABEL",
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            help="Start no trial after this time, such as 2h or 90min; those that run end.",
            metavar="TIME",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    log_json: Annotated[
        str | None,
        typer.Option(
            help="Add one JSON line per event to a file, '-' for the standard output; keys: "
            "docs/watching.md.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Run the trials of a study that have no record yet.

    Stopping it, and running it again with more seeds, longer grids or other methods, loses
    nothing. Exit code: 0; 1 if a trial failed, diverged or ran out of memory; 2 for a mistake
    that is named; 130 if interrupted or out of time; 143 if terminated.
    """
    asked_address, address = address, _cluster(address, inline)
    loaded, root, folder = _loaded(study, data_root, out)
    from clsweep.cli.listings import summary_text
    from clsweep.cli.next_commands import after_run, run_command
    from clsweep.execution import runner
    from clsweep.execution.listeners.event_log import event_log
    from clsweep.execution.listeners.progress import progress_on

    with event_log(log_json) if log_json else contextlib.nullcontext() as log:
        summary = runner.run(
            loaded,
            out=folder,
            address=address,
            inline=inline,
            workers=workers,
            data_root=root,
            stages=place_of(stages) if stages else None,
            retry_failed=retry_failed,
            only=only or (),
            time_limit=_seconds(time_limit),
            listeners=[progress_on(sys.stderr, quiet=quiet), *([log] if log else [])],
        )
        for warning in summary.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        with contextlib.suppress(OSError):  # the trials are done, whoever hears of it
            print(summary_text(summary))
            again = run_command(
                study,
                out,
                stages,
                data_root,
                address=asked_address,
                workers=workers,
                inline=inline,
            )
            print(after_run(summary, folder, again))
    if (lost := excuse_lost_output()) is not None:
        print(f"warning: {output_refused(lost)}", file=sys.stderr)
    raise typer.Exit(_exit_code(summary))


@app.command()
def plan(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    stages: Stages = None,
) -> None:
    """Check a study; say what a run would do and cost."""
    loaded, root, folder = _loaded(study, data_root, out)
    from clsweep.cli.listings import plan_table, plan_text
    from clsweep.cli.next_commands import after_plan, run_command
    from clsweep.execution import dry_run

    planned = dry_run.plan(loaded, folder, data_root=root, stages=stages)
    for warning in planned.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    show(plan_table(planned))
    print()
    print(plan_text(planned, folder))
    print(after_plan(planned, folder, run_command(study, out, stages, data_root)))


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


def _loaded(
    path: Path, data_root: str | None, out: str | None
) -> tuple[Study, Path | None, Place]:
    """(study, data root, results folder) that the arguments ask for."""
    from clsweep.data.dataset_specs import data_root as root_of
    from clsweep.study.study import load_study

    folder = place_of(out) if out else None
    root = root_of(data_root)
    study = load_study(path, root)
    return study, root, folder or study.results_folder


def _exit_code(summary: Summary) -> int:
    if summary.terminated:
        return 143
    if summary.interrupted or summary.out_of_time:
        return 130
    return int(summary.n_failed + summary.n_diverged + summary.n_oom > 0)


_ALL: tuple[Callable[..., None], ...] = (features, *COMMANDS, forget, *WATCHING, *OWN)
for _command in _ALL:
    app.command()(_command)


if __name__ == "__main__":
    sys.exit(main())
