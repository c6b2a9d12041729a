"""Two machines within this one, each with its own address, processes, host name, home and /tmp.

They are Linux namespaces, which need root. A folder is shared, as a network file system would be;
nothing else is, and no packet leaves the pair. Within a machine `ray stop` sees its own processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADDRESSES = ("192.0.2.1", "192.0.2.2")  # set aside for documentation: no real host has them

_APART = ["unshare", "--net", "--pid", "--uts", "--ipc", "--mount", "--fork", "--kill-child"]

# Process 1 of a machine: collects the dead, and ends all others when its input is closed.
_INIT = """\
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
sys.stdin.read()
"""

# /mnt is the shared folder; it is bound before /tmp is covered, under which it may lie.
_SET_UP = """\
set -e
mount --make-rprivate /
mount --bind "$1" /mnt
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t proc proc /proc
mkdir -m 700 /tmp/home
printf '127.0.0.1 localhost\\n192.0.2.1 one\\n192.0.2.2 two\\n' > /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
hostname "$2"
exec "$3" -c "$4"
"""


class Machine:
    """One of the two.

    Args:
        name: its host name, 'one' or 'two'.
        shared: the folder that is /mnt on both.

    Attributes:
        address: where the other one reaches it.
    """

    def __init__(self, name: str, shared: Path) -> None:
        self.name, self.address = name, ADDRESSES[("one", "two").index(name)]
        self._outer = subprocess.Popen(
            [*_APART, "bash", "-c", _SET_UP, "-", str(shared), name, sys.executable, _INIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != "up\n":
            raise AssertionError(f"machine {name} does not start")
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        self.pid = int(children.read_text())

    def start(self, *command: object, **environment: str) -> subprocess.Popen[str]:
        """Start a command there, with the shared folder as its directory."""
        inside = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": "/tmp/home",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        words = ["nsenter", f"--target={self.pid}", "--all", "--wdns=/mnt", "env", "-i"]
        words += [f"{key}={value}" for key, value in inside.items()]
        return subprocess.Popen(
            [*words, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: object, expect: int = 0, seconds: float = 240, **env: str) -> str:
        """Run a command there to its end; what it printed, after checking its exit code."""
        process = self.start(*command, **env)
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{command} does not end") from None
        assert process.returncode == expect, f"{command}: exit code {process.returncode}\n{said}"
        return said

    def close(self) -> None:
        """Switch the machine off."""
        assert self._outer.stdin is not None
        self._outer.stdin.close()
        try:
            self._outer.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._outer.kill()
            self._outer.wait()


def why_not() -> str:
    """Why there can be no such machines here; '' if there can."""
    missing = [name for name in ("unshare", "nsenter", "ip", "mount") if not shutil.which(name)]
    if missing:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run([*_APART, "true"], capture_output=True, text=True)
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode else ""


@contextlib.contextmanager
def two_machines(shared: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines joined by a cable, switched off with the block."""
    with contextlib.ExitStack() as stack:
        one, two = Machine("one", shared), None
        stack.callback(one.close)
        two = Machine("two", shared)
        stack.callback(two.close)
        cable = f"ip link add wire netns {one.pid} type veth peer name wire netns {two.pid}"
        subprocess.run(cable.split(), check=True)
        for machine, other in ((one, two), (two, one)):
            # Its own address stays when the other is switched off, which takes the cable along.
            machine.run("ip", "link", "set", "lo", "up")
            machine.run("ip", "addr", "add", f"{machine.address}/32", "dev", "lo")
            machine.run("ip", "link", "set", "wire", "up")
            way = ("dev", "wire", "src", machine.address)
            machine.run("ip", "route", "add", f"{other.address}/32", *way)
        deadline = time.monotonic() + 10
        while "state UP" not in one.run("ip", "link", "show", "wire"):
            assert time.monotonic() < deadline, "the machines do not see each other"
            time.sleep(0.1)
        yield one, two
