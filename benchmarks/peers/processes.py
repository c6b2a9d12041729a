"""Run a command and measure its whole tree of processes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36
_PERIOD = 0.25  # seconds between looks


class Measured(NamedTuple):
    """What a command took.

    Attributes:
        wall: seconds from its start to the end of the command itself.
        cpu: user and system seconds of all its processes, daemons included; of each as it was last
            seen, at most a quarter of a second before its end.
        code: its exit status; −9 where it was killed.
        was_killed: whether it had not ended in time.
    """

    wall: float
    cpu: float
    code: int
    was_killed: bool = False


def measured(command: list[str], log: Path, folder: Path, kill_after: float = 0.0) -> Measured:
    """Run a command in `folder`, its output in `log`; wait until all that it started has ended.

    Args:
        command: the words.
        log: written to.
        folder: where it runs.
        kill_after: seconds after which the command alone gets SIGKILL; 0 for never.
    """
    # Daemons whose parent ends become children of this process, and are seen and waited for.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    seconds: dict[tuple[int, str], float] = {}
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(os.getpid(), seconds, stop))
    began = time.perf_counter()
    with log.open("wb") as stream:
        child = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT)
        watcher.start()
        was_killed = False
        try:
            code = child.wait(kill_after or None)
        except subprocess.TimeoutExpired:
            was_killed = True
            child.kill()
            code = child.wait()
        wall = time.perf_counter() - began
    _wait_for_the_rest()
    stop.set()
    watcher.join()
    return Measured(wall, sum(seconds.values()), code, was_killed)


def _watch(root: int, seconds: dict[tuple[int, str], float], stop: threading.Event) -> None:
    while not stop.wait(_PERIOD):
        seconds.update(_descendants(root))


def _descendants(root: int) -> dict[tuple[int, str], float]:
    """CPU seconds by (process, time of its start)."""
    rows = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name stands in brackets and may hold anything.
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        rows[int(entry.name)] = (int(fields[1]), fields[19], sum(map(int, fields[11:13])) / _TICK)
    found, parents = {}, {root}
    while parents:
        children = {pid for pid, (parent, _, _) in rows.items() if parent in parents}
        found.update({(pid, rows[pid][1]): rows[pid][2] for pid in children})
        parents = children
    return found


def _wait_for_the_rest(patience: float = 15.0) -> None:
    """Reap what the command left; what is still there after a while is killed."""
    until = time.monotonic() + patience
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > until:
                for left, _ in _descendants(os.getpid()):
                    os.kill(left, signal.SIGKILL)
            time.sleep(0.05)
