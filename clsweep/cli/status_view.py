"""Output of `clsweep status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clsweep.text import counted, duration, printable

if TYPE_CHECKING:
    from clsweep.status.status import Error, Running, Status

_N_RUNNING = 8


def status_view(status: Status) -> Group:
    """How far a sweep is, as something that rich can print.

    Args:
        status: how far it is.
    """
    parts: list[RenderableType] = [Text(line) for line in _head(status)]
    if len(status.curves) > 1:
        parts.append(_curve_table(status))
    if status.running:
        parts.append(Text("running, longest first:"))
        parts += [Text(f"  {_running_text(one)}") for one in status.running[:_N_RUNNING]]
        if len(status.running) > _N_RUNNING:
            parts.append(Text(f"  and {len(status.running) - _N_RUNNING} more"))
    if status.errors:
        parts.append(Text("not ok, the latest first:"))
        parts += [Text(f"  {_error_text(one)}", style="red") for one in status.errors]
    parts += [Text(f"warning: {warning}") for warning in status.warnings]
    return Group(*parts)


def _head(s: Status) -> list[str]:
    at_most = "at most " if s.is_upper_limit else ""
    ends = [(s.n_failed, "failed"), (s.n_diverged, "diverged"), (s.n_oom, "out of memory")]
    ends.append((s.n_stopped, "stopped early"))
    not_ok = "".join(f", {n} {word}" for n, word in ends if n)
    left = f", of which {s.n_left_behind} had begun in a run that ended" if s.n_left_behind else ""
    lines = [
        f"study {s.study} in {printable(s.folder, one_line=True)}: {_state(s)}",
        f"{s.n_done} of {at_most}{counted(s.n_trials, 'trial')} done: {s.n_ok} ok{not_ok}; "
        f"{s.n_running} running; {at_most}{s.n_to_come} to come{left}",
    ]
    if s.trials_per_minute is not None and s.seconds_left is not None:
        lines.append(
            f"{s.trials_per_minute:.3g} trials per minute, {at_most or 'about '}"
            f"{duration(s.seconds_left)} left"
        )
    elif s.state == "running":
        lines.append("no trial of this run has ended yet, so no estimate of the time")
    if s.state == "running" and not s.n_running and s.n_to_come:
        lines.append("no trial is at work: the run is starting, or makes a stage that they share")
    if s.state == "stopped":
        lines.append(
            "nothing computes the trials to come: to go on, give the same `clsweep run` again"
        )
    return lines


def _state(s: Status) -> str:
    since = f" since {s.held_since[:19].replace('T', ' ')} UTC" if s.held_since else ""
    if s.state == "running":
        return f"{s.holder or 'a process'} is at work{since}"
    if s.state == "unknown":
        return (
            f"taken by {s.holder}{since}, a machine that cannot be asked from here whether it is "
            "still at work"
        )
    return s.state


def _curve_table(status: Status) -> Table:
    table = Table("label", box=None, header_style="bold", pad_edge=False)
    for name in ("done", "not ok", "running", "of"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in status.curves:
        counts = (c.n_done, c.n_not_ok, c.n_running, c.n_trials)
        table.add_row(Text(c.label), *(str(n) if n else "–" for n in counts))
    return table


def _running_text(one: Running) -> str:
    again = f", start {one.n_starts}" if one.n_starts > 1 else ""
    return f"{_named(one)}: {duration(one.seconds)}{again}"


def _error_text(one: Error) -> str:
    message = " ".join(one.message.split())
    return f"{_named(one)}: {one.status}" + (f": {message}" if message else "")


def _named(one: Running | Error) -> str:
    numbers = f", {one.configuration}" if one.configuration else ""
    return f"{one.label}{numbers}, seed {one.seed}"
