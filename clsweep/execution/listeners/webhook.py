"""`[callbacks] webhook`: an address that is told when a run is done, fails, or finds a difference.

Everything is sent by a thread of its own, so that no trial waits for a server. The study file
names an environment variable; the address in it is written nowhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clsweep.errors import RunnerError
from clsweep.execution.listeners.base import Listener, RunStart
from clsweep.execution.listeners.json_posts import JsonPosts
from clsweep.redaction import without_secrets
from clsweep.text import counted, duration, shortened

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Outcome, Summary
    from clsweep.records.schema import Record
    from clsweep.storage.remote_path import Place
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job
    from clsweep.study.study_tables import StudyTables

CLAIMS_EVERY_SECONDS = 300.0
_PATIENCE_SECONDS, _PATIENCE_WHEN_STOPPED = 30.0, 5.0
# Of thousands of failed trials nobody wants thousands of messages.
_TOLD_FAILURES = (1, 10, 100, 1_000, 10_000, 100_000)
_LONGEST_MESSAGE = 500


class Webhook(Listener):
    """Tells an address what a run does.

    Args:
        study: names the environment variable, and the events.
        environment: variables.
        clock: seconds, from any origin.

    Raises:
        RunnerError: the variable is not set, or holds no address.
    """

    name = "[callbacks] webhook"

    def __init__(
        self,
        study: StudyTables,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._events, self._clock = set(study.callbacks.webhook_events), clock
        self._study, self._out = study, ""
        self._place: Place | None = None
        self._n_failed = 0
        self._records: dict[str, Record] = {}
        self._has_stored = self._has_claim = False
        self._claims_due = 0.0
        self.posts: JsonPosts | None = None
        if study.callbacks.webhook:
            self.posts = JsonPosts(_address(study.callbacks.webhook, environment))

    def begin(self, start: RunStart) -> None:
        """Begin to send, where there is work; a study that is done has been told of."""
        if self.posts is None or not start.has_work:
            self.posts = None
            return
        self._place, self._out = start.out, str(start.out)
        self._claims_due = self._clock() + CLAIMS_EVERY_SECONDS
        self.posts.start()

    def finished(
        self,
        job: Job,
        outcome: Outcome,
        configuration: Configuration,
        record: Callable[[], Record],
    ) -> None:
        """Tell of the first failures, and now and then of the first claim."""
        if self.posts is None or job.kind != "trial":
            return
        if outcome.status in ("failed", "oom"):
            self._tell_failure(job, outcome, configuration)
        if "claim" not in self._events or self._has_claim:
            return
        self._records[job.key] = record()
        if self._clock() >= self._claims_due:
            self._claims_due = self._clock() + CLAIMS_EVERY_SECONDS
            self._look_for_claims()

    def end(self, summary: Summary) -> None:
        """Tell how it ended, and wait a little until all is sent."""
        if self.posts is None:
            return
        if "claim" in self._events and not self._has_claim:
            self._look_for_claims()
        left = summary.n_trials - summary.n_done
        event = "stopped" if left else "done"
        bad = summary.n_failed + summary.n_oom
        text = (
            f"{self._study.name}: {summary.n_done} of {counted(summary.n_trials, 'trial')} done "
            f"after {duration(summary.wall_seconds)}, {bad} failed, {summary.n_diverged} diverged"
        )
        if left:
            text = f"{text}; the run has ended before all were done"
        numbers = {
            "n_trials": summary.n_trials,
            "n_done": summary.n_done,
            "n_failed": bad,
            "n_diverged": summary.n_diverged,
            "wall_seconds": summary.wall_seconds,
        }
        self._tell(event, text, numbers)
        asked_to_stop = summary.interrupted or summary.terminated
        self._finish(_PATIENCE_WHEN_STOPPED if asked_to_stop else _PATIENCE_SECONDS)

    def failed(self, message: str) -> None:
        """Tell that the run cannot go on."""
        if self.posts is None:
            return
        if not self._out:  # it has not even begun
            self.posts.start()
        said = _message(message)
        self._tell(
            "failed", f"{self._study.name}: the run cannot go on: {said}", {"message": said}
        )
        self._finish(_PATIENCE_SECONDS)

    def _tell_failure(self, job: Job, outcome: Outcome, configuration: Configuration) -> None:
        self._n_failed += 1
        if self._n_failed not in _TOLD_FAILURES:
            return
        said = _message(outcome.message)
        numbers = configuration.hyper.model_dump(mode="json")
        which = {
            "label": job.label,
            "seed": job.seed,
            "hyper": numbers,
            "config_id": job.config_id,
        }
        text = (
            f"{self._study.name}: {counted(self._n_failed, 'trial')} failed in this run; the last "
            f"one, {job.label}, seed {job.seed}: {said or outcome.status}"
        )
        told = {**which, "status": outcome.status, "message": said, "n_failed": self._n_failed}
        self._tell("failed", text, told)

    def _look_for_claims(self) -> None:
        """In the thread that sends: with thousands of trials it takes a second."""
        assert self.posts is not None
        self.posts.put(self._first_claim)

    def _first_claim(self) -> Mapping[str, Any] | None:
        from clsweep.execution.listeners.validation_claims import validation_claims

        if self._has_claim:
            return None
        if not self._has_stored:
            for key, record in self._stored().items():
                self._records.setdefault(key, record)
            self._has_stored = True
        found = validation_claims([*self._records.copy().values()])
        if not found:
            return None
        self._has_claim = True
        first = max(found, key=lambda one: one.interval.low)
        text = f"{self._study.name}, on validation data so far: {first.sentence()}"
        return self._body(
            "claim",
            text,
            {
                "split": "validation",
                "above": first.above,
                "below": first.below,
                "difference": first.interval.mean,
                "low": first.interval.low,
                "high": first.interval.high,
                "n_seeds": first.interval.n,
                "n_claims": len(found),
            },
        )

    def _stored(self) -> dict[str, Record]:
        """What earlier runs have left, under the names of the study; read once."""
        from clsweep.search.stored_validation import of_its_study
        from clsweep.storage.store import Store

        assert self._place is not None
        records = of_its_study(Store(self._place, read_only=True), "validation")
        return {record["trial"]["trial_id"]: record for record in records}

    def _tell(self, event: str, text: str, numbers: Mapping[str, Any]) -> None:
        if self.posts is not None and event in self._events:
            body = self._body(event, text, numbers)
            self.posts.put(lambda: body)

    def _body(self, event: str, text: str, numbers: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "event": event,
            "text": text,  # what chats show
            "study": self._study.name,
            "folder": self._out,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            **numbers,
        }

    def _finish(self, patience: float) -> None:
        assert self.posts is not None
        lost = self.posts.finish(patience)
        self.posts = None
        if lost:
            self.warnings.append(lost)


def _message(text: str) -> str:
    return shortened(without_secrets(" ".join(text.split())), _LONGEST_MESSAGE)


def _address(named: str, environment: Mapping[str, str]) -> str:
    """The address in the variable that the study names."""
    name = named.removeprefix("${").removesuffix("}")
    url = environment.get(name, "").strip()
    if not url:
        raise RunnerError(
            f"the environment has no variable {name}, or an empty one",
            expected="the address that is to be told of this run",
            where="[callbacks] webhook",
            next_step=f"`export {name}=https://…`, or leave the key out",
        )
    try:
        parts = urlsplit(url)
        is_sound = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
        )
        is_sound = is_sound and parts.port != 0 and url.isascii() and url.isprintable()
    except ValueError:
        is_sound = False
    if not is_sound or " " in url:
        # The value itself is a secret.
        raise RunnerError(
            f"what the variable {name} holds is no address that can be told anything",
            expected="http://HOST/… or https://HOST/…, without user and password",
            where="[callbacks] webhook",
        )
    return url
