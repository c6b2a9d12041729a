"""The commands that watch: how far a sweep is, and whether a machine is fit for one."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clsweep.cli.console import show
from clsweep.cli.results_folders import each_place, results_by_benchmark, results_place
from clsweep.cli.streams import as_json_text
from clsweep.storage.remote_path import Place, place_of
from clsweep.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clsweep.doctor.findings import Finding
    from clsweep.live.server import LiveServer
    from clsweep.status.reader import StatusReader
    from clsweep.status.status import Status


def status(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A results folder, or its URI.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; keys: docs/watching.md.")
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Look again and again, until the run ends or Ctrl-C.", metavar="SECONDS"
        ),
    ] = None,
) -> None:
    """Say how far a sweep is, while it runs or after; reads the folder and changes nothing.

    Exit code: 0; 1 if a trial failed, diverged or ran out of memory; 3 if trials are to come and
    no run is at work; 2 for a mistake that is named; 130 after Ctrl-C.
    """
    from clsweep.status.reader import StatusReader

    if watch is None:
        place, labels = results_by_benchmark(directory)
        if labels:
            places = each_place(directory, labels, place)
            raise typer.Exit(_print_each(places, as_json=as_json))
    reader = StatusReader(results_place(directory))
    seen = reader.read(time.time())
    can_redraw = sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
    if watch is not None and not as_json and can_redraw:
        seen = _redrawn(reader, seen, watch)
    else:
        _print_status(seen, as_json=as_json, as_line=watch is not None)
        while watch is not None and _goes_on(seen):
            time.sleep(watch)
            seen = reader.read(time.time())
            _print_status(seen, as_json=as_json, as_line=True)
    raise typer.Exit(seen.exit_code)


def _print_each(places: list[Place], *, as_json: bool) -> int:
    """Print the status of each benchmark of a study file; the exit code for all."""
    from clsweep.status.reader import StatusReader
    from clsweep.status.status import plain

    seen = {place.name: StatusReader(place).read(time.time()) for place in places}
    if as_json:
        print(as_json_text({label: plain(one) for label, one in seen.items()}, 2), flush=True)
    else:
        for label, one in seen.items():
            print(printable(f"{label}:", one_line=True))
            _print_status(one, as_json=False, as_line=True)
    codes = {one.exit_code for one in seen.values()}
    return next((code for code in (1, 3) if code in codes), 0)


def serve(
    directories: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...", help="Results folders, their URIs, or study files: one page for all."
        ),
    ],
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="[default: 8642, or any that is free]"),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; 0.0.0.0 lets others on the network ask.", metavar="ADDRESS"
        ),
    ] = "127.0.0.1",
) -> None:
    """Show sweeps in a browser while they run, and their report when they are done.

    Accuracies are those of validation data until all trials are done. The folders are read when a
    browser asks. Ctrl-C ends it; no run notices.
    """
    from clsweep.live.server import opened_server
    from clsweep.live.watched_sweep import WatchedSweep
    from clsweep.signals import terminable

    watched = [WatchedSweep(place) for word in directories for place in _places(word)]
    with opened_server(watched, host, port) as server:
        print(served_text(server, [one.folder for one in watched]), flush=True)
        with contextlib.suppress(KeyboardInterrupt), terminable():
            server.serve_forever()
        print("\nno longer served; runs and folders are as they were")


def doctor(
    study: Annotated[
        Path | None, typer.Argument(metavar="STUDY.toml", help="A study that is to run here.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster to run on.", metavar="ADDRESS")
    ] = None,
    data_root: Annotated[
        str | None,
        typer.Option(help="Folder that holds data sets [default: CLSWEEP_DATA].", metavar="DIR"),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="Results folder, or a URI [default: results].", metavar="DIR"),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(help="Stage cache, or a URI [default: OUT/stages].", metavar="DIR"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; keys: docs/watching.md.")
    ] = False,
) -> None:
    """Check the machine, and the cluster with --address: what is wrong, and how to mend it.

    Exit code: 0 if nothing is wrong, else 1.
    """
    from clsweep.data.data_root import data_root as root_of
    from clsweep.doctor.doctor import examined
    from clsweep.doctor.findings import as_json as findings_json
    from clsweep.doctor.findings import summary

    findings = []
    root = root_of(data_root)
    found = examined(
        study,
        address=address,
        data_root=root,
        out=place_of(out) if out else None,
        stages=place_of(stages) if stages else None,
    )
    for finding in found:
        findings.append(finding)
        if not as_json:
            _print_finding(finding)
    if as_json:
        print(as_json_text(findings_json(findings), indent=2))
    else:
        print(summary(findings))
    raise typer.Exit(int(any(finding.level == "wrong" for finding in findings)))


def _places(word: str) -> list[Place]:
    """The results folders that a word names: of each benchmark where there are several."""
    place, labels = results_by_benchmark(word)
    return each_place(word, labels, place) if labels else [place]


def served_text(server: LiveServer, folders: Sequence[str]) -> str:
    """What is said when a server is there.

    Args:
        server: it listens.
        folders: by name, at least one.
    """
    from clsweep.live.access import is_this_machine_alone

    more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
    lines = [f"serving {folders[0]}{more}, read-only; Ctrl-C ends it", f"  {server.url}"]
    if is_this_machine_alone(server.host):
        tunnel = f"ssh -L {server.port}:127.0.0.1:{server.port} {socket.gethostname()}"
        lines.append(f"from another machine: `{tunnel}`, then the same address there")
    else:
        lines.append(
            "warning: the address listens to the network, and nothing is encrypted: whoever has "
            "the token, or reads along, sees the sweeps"
        )
    return "\n".join(lines)


def _print_finding(finding: Finding) -> None:
    from rich.text import Text

    style = {"ok": "green", "warn": "yellow", "wrong": "bold red"}[finding.level]
    show(Text.assemble((f"{finding.level:<6}", style), f"{finding.check}: {finding.found}"))
    if finding.mend:
        show(Text(f"      mend: {finding.mend}"))


def _goes_on(seen: Status) -> bool:
    return seen.state in ("running", "unknown")


def _redrawn(reader: StatusReader, seen: Status, every: float) -> Status:
    """Look until the run ends, in place on the terminal; what was seen last."""
    from rich.live import Live

    from clsweep.cli.status_view import status_view
    from clsweep.reporting.render.terminal_width import Fitted

    with Live(Fitted(status_view(seen)), auto_refresh=False) as live:
        while _goes_on(seen):
            time.sleep(every)
            seen = reader.read(time.time())
            live.update(Fitted(status_view(seen)), refresh=True)
    return seen


def _print_status(seen: Status, *, as_json: bool, as_line: bool) -> None:
    if as_json:
        from clsweep.status.status import plain

        indent = None if as_line else 2
        print(as_json_text(plain(seen), indent), flush=True)
        return
    from clsweep.cli.status_view import status_view

    show(status_view(seen))
    if as_line:
        print(flush=True)


# In the order in which the help lists them.
WATCHING = (status, serve, doctor)
