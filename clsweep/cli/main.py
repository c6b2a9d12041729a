"""The command line: every command parses, calls one function and prints."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any

import typer

from clsweep.cli.embedding_command import embeddings
from clsweep.cli.feature_commands import features
from clsweep.cli.forget_command import forget
from clsweep.cli.method_commands import OWN
from clsweep.cli.read_commands import COMMANDS
from clsweep.cli.run_commands import RUNNING
from clsweep.cli.streams import guarded_streams, lost_output, output_refused
from clsweep.cli.watch_commands import WATCHING
from clsweep.errors import ClsweepError

app = typer.Typer(
    help="Fair stability/plasticity fronts for continual-learning methods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
        command = _commands()
        command(args=None if arguments is None else list(arguments), prog_name="clsweep")
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


@lru_cache(maxsize=1)
def _commands() -> Any:
    """The commands as they are parsed, made once for all calls of a process."""
    return typer.main.get_command(app)


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


_ALL: tuple[Callable[..., None], ...] = (
    *RUNNING,
    features,
    *COMMANDS,
    embeddings,
    forget,
    *WATCHING,
    *OWN,
)
for _command in _ALL:
    app.command()(_command)


if __name__ == "__main__":
    sys.exit(main())
