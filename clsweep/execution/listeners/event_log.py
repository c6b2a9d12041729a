"""A run for machines: one JSON object per line and event (`clsweep run --log-json`).

Every line has `event` and `time`; what else, docs/watching.md says. A line is written and flushed
when the event happens, and holds nothing but validation accuracies.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from clsweep.errors import StoreError
from clsweep.execution.listeners.base import Listener, RunStart
from clsweep.redaction import without_secrets

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Outcome, Summary
    from clsweep.records.schema import Record
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job


def _now() -> datetime:
    return datetime.now(timezone.utc)


class EventLog(Listener):
    """Writes events.

    Args:
        stream: where to.
        clock: the time, with its zone.
    """

    name = "--log-json"

    def __init__(self, stream: TextIO, clock: Callable[[], datetime] = _now) -> None:
        super().__init__()
        self._stream, self._clock = stream, clock

    def begin(self, start: RunStart) -> None:
        """Write `begin`."""
        self._write(
            "begin",
            study=start.study.name,
            folder=str(start.out),
            n_trials=start.n_trials,
            is_upper_limit=start.is_upper_limit,
            n_done=start.n_done,
        )

    def started(self, job: Job) -> None:
        """Write `started`."""
        self._write("started", **_names(job))

    def finished(
        self,
        job: Job,
        outcome: Outcome,
        configuration: Configuration,
        record: Callable[[], Record],
    ) -> None:
        """Write `finished`."""
        average = outcome.average_accuracy
        self._write(
            "finished",
            **_names(job),
            status=outcome.status,
            message=without_secrets(outcome.message),
            hyper=configuration.hyper.model_dump(mode="json") if job.kind == "trial" else {},
            validation_average_accuracy=average if math.isfinite(average) else None,
            wall_seconds=outcome.wall_seconds,
        )

    def end(self, summary: Summary) -> None:
        """Write `end`."""
        told = summary._asdict()
        told["warnings"] = [without_secrets(warning) for warning in summary.warnings]
        self._write("end", **told)

    def failed(self, message: str) -> None:
        """Write `error`."""
        self._write("error", message=without_secrets(message))

    def _write(self, event: str, **what: Any) -> None:
        time = self._clock().isoformat(timespec="milliseconds")
        told = {"event": event, "time": time, **what}
        encoding = (self._stream.encoding or "utf-8").lower()
        line = json.dumps(told, ensure_ascii=not encoding.startswith("utf"))
        try:
            # In one piece: several writers of a pipe do not mix, and a reader sees whole lines.
            self._stream.write(line.encode("utf-8", "replace").decode() + "\n")
            self._stream.flush()
        except BrokenPipeError:
            # Python would complain once more while exiting.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise


@contextlib.contextmanager
def event_log(file: str) -> Iterator[EventLog]:
    """A log of events within the block.

    Args:
        file: lines are added at its end; '-' for the standard output, to which nothing else is
            written within the block: what is printed goes to the standard error.

    Raises:
        StoreError: the file cannot be written.
    """
    if file == "-":
        stream = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield EventLog(stream)
        return
    try:
        opened = Path(file).open("a", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"the log cannot be written: {error.strerror or error}",
            expected="a file in a folder that exists, or '-' for the standard output",
            where=f"--log-json {file}",
        ) from error
    with opened as stream:
        yield EventLog(stream)


def _names(job: Job) -> dict[str, Any]:
    config = job.config_id if job.kind == "trial" else ""
    return {
        "kind": job.kind,
        "job": job.key,
        "label": job.label,
        "config_id": config,
        "seed": job.seed,
    }
