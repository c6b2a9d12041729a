"""Results folders of a small study with a run at work in them, on a disk and in a bucket."""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clsweep.execution.trial_record import record_of
from clsweep.status.reader import StatusReader
from clsweep.status.status import Status
from clsweep.storage.attempts import attempts_path, mark_attempt
from clsweep.storage.lock import LOCK, Lease
from clsweep.storage.remote_path import Place, RemotePath, place_of
from clsweep.storage.store import Store, commit_record
from clsweep.study.configurations import configurations, study_identity
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study
from tests.support.command_line import TINY
from tests.support.object_stores import ObjectStore

START = 1_700_000_000.0
USER = "AKIAKEY:hunter%2F2secret@"


class StudyFolder(ABC):
    """Fine-tuning and three λ with two seeds, and a run at work since second 0.

    Args:
        place: the folder.
        text: another study.

    Attributes:
        argument: the folder on the command line.
        began: second 0, in seconds since 1970.
    """

    argument: str
    began: float

    def __init__(self, place: Place, text: str = "") -> None:
        text = text or TINY.format(seeds=2, net="hidden = [4]", steps=2, lam="[1.0, 10.0, 100.0]")
        self.place, self.study, self.store = place, parse_study(text), Store(place)
        self.open(self.study)

    def open(self, study: Study) -> None:
        """Let a run begin in it."""
        self.study = study
        self.store.open_for_run(study_identity(study), resolved_toml(study), study.name)
        self.began = self._taken_at()

    def start(self, index: int, seed: int = 0, at: float = 0.0) -> Any:
        """Let a trial of a configuration start; returns the file that says so."""
        key = f"{configurations(self.study)[index].id}-{seed}"
        mark_attempt(self.place, key)
        return self._dated(attempts_path(self.place, key), at)

    def end(
        self, index: int, seed: int = 0, at: float = 0.0, status: str = "ok", **fields: Any
    ) -> Any:
        """Let a trial end; returns its record's file."""
        rows = [] if status != "ok" else [(1, t, "validation", 3, 4) for t in (0, 1)]
        configuration = configurations(self.study)[index]
        record: Any = record_of(configuration, seed, status, accuracy=rows, message="")
        record["trial"].update(fields)
        return self._dated(commit_record(self.place, record), at)

    def status(self, now: float = 0.0) -> Status:
        """How far it is, at a second."""
        return StatusReader(self.place).read(self.began + now)

    def iso(self, at: float) -> str:
        """A second, as it is shown."""
        moment = time.gmtime(self.began + at)
        return time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", moment)

    @abstractmethod
    def kill(self) -> None:
        """End the run as a kill would."""

    @abstractmethod
    def everything(self) -> Any:
        """All names and contents, to be compared."""

    @abstractmethod
    def _taken_at(self) -> float: ...

    @abstractmethod
    def _dated(self, path: Any, at: float) -> Any: ...


class DiskFolder(StudyFolder):
    """One on a disk."""

    place: Path

    def __init__(self, directory: Path, text: str = "") -> None:
        self.argument = str(directory)
        super().__init__(directory, text)

    def kill(self) -> None:
        """End the run; the kernel lets go of its lock."""
        self.store.close()

    def everything(self) -> dict[str, tuple[bytes, int]]:
        """Names, contents and times of change."""
        return {
            str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
            for path in [self.place, *sorted(self.place.rglob("*"))]
        }

    def _taken_at(self) -> float:
        os.utime(self.place / ".lock", (START, START))
        return START

    def _dated(self, path: Path, at: float) -> Path:
        os.utime(path, (START + at, START + at))
        return path


class BucketFolder(StudyFolder):
    """One in a bucket, behind a URI with credentials.

    Args:
        server: of the bucket.
        name: of the folder.
        text: another study.
    """

    place: RemotePath

    def __init__(self, server: ObjectStore, name: str, text: str = "") -> None:
        self.server, self.name = server, name
        self.argument = server.uri(quote(name), user=USER)
        super().__init__(place_of(self.argument), text)

    def kill(self) -> None:
        """End the run; its lease stays."""
        lock = self.store._lock
        assert isinstance(lock, Lease)
        lock._is_over.set()
        lock._renewal.join()

    def everything(self) -> dict[str, bytes]:
        """Names and contents but for the lease, which the run at work renews."""
        names = [name for name in self.server.keys(self.name) if name != LOCK]
        return {name: self.server.content(f"{self.name}/{name}") for name in names}

    def _taken_at(self) -> float:
        return float(json.loads(self.server.content(f"{self.name}/{LOCK}"))["taken_at"])

    def _dated(self, path: RemotePath, at: float) -> RemotePath:
        self.server.set_time(f"{self.name}/records/{path.name}", self.began + at)
        return path
