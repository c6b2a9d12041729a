"""Measure what an object store adds to a trial: the same on local disk and over HTTP, in turns.

    python benchmarks/storage.py

Trials of one step of training, one after the other in this process, into a folder on the local
disk and into an S3 server on loopback; each round has a folder of its own. Per trial: everything
from the first trial to the last table written, divided by the number of trials. The server runs in
a process of its own on the same machine, so that the ratio holds its work, and no network's delay.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trial_overhead import STUDY

from clsweep.execution import runner
from clsweep.execution.listeners.base import Listener
from clsweep.study.jobs import Job
from clsweep.study.study import load_study

SERVER = """\
import boto3, sys, time
from moto.server import ThreadedMotoServer
import logging
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1").create_bucket(
    Bucket="bucket"
)
print(port, flush=True)
sys.stdin.read()
"""


class Noted(Listener):
    """Remembers when the first trial was handed out."""

    first_trial_at = 0.0

    def started(self, job: Job) -> None:
        """A job was handed out."""
        if job.kind == "trial" and not self.first_trial_at:
            self.first_trial_at = time.perf_counter()


def seconds_per_trial(study: Path, out: str, n_trials: int) -> float:
    noted = Noted()
    summary = runner.run(load_study(study), out=out, inline=True, listeners=[noted])
    assert (summary.n_new, summary.n_failed) == (n_trials, 0), summary
    return (time.perf_counter() - noted.first_trial_at) / n_trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    port = int(server.stdout.readline())
    options = f"endpoint_override=http%3A//127.0.0.1:{port}&scheme=http"
    local, remote = [], []
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.toml"
        study.write_text(STUDY.format(n=arguments.trials), encoding="utf-8")
        for i in range(arguments.rounds):
            local.append(seconds_per_trial(study, f"{folder}/{i}", arguments.trials))
            remote.append(seconds_per_trial(study, f"s3://bucket/{i}?{options}", arguments.trials))
            print(f"local {1000 * local[-1]:.1f} ms, S3 {1000 * remote[-1]:.1f} ms per trial")
    server.communicate()
    ratios = sorted(there / here for here, there in zip(local, remote, strict=True))
    here, there = statistics.median(local), statistics.median(remote)
    print(
        f"median of {arguments.rounds} rounds: local {1000 * here:.1f} ms, S3 on loopback "
        f"{1000 * there:.1f} ms per trial: {1000 * (there - here):.1f} ms more, "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
