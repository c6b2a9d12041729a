"""The first recipe of docs/clusters.md, on two machines with addresses of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.studies import accuracy_bytes, clsweep, trials, write_study
from tests.support.machines import Machine, two_machines, why_not

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]

RECIPES = Path(__file__).parents[2] / "docs" / "clusters"
SIZE = ("--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000")
TOKEN = {"RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    write_study(folder, lam="1.0, 10.0, 100.0", steps=200)
    return folder


@pytest.fixture(scope="module")
def machines(shared: Path) -> Iterator[tuple[Machine, Machine]]:
    with two_machines(shared) as (one, two):
        yield one, two


def test_a_study_runs_on_both_machines_and_nothing_is_left_of_ray(
    shared: Path, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, two = machines
    address = f"{one.address}:6379"
    one.run("bash", RECIPES / "head.sh", *SIZE, HEAD_IP=one.address)
    said = two.run("bash", RECIPES / "worker.sh", *SIZE, expect=2, HEAD=address)
    assert "there is no token" in said

    key = "~/.ray/auth_token"
    assert one.run("bash", "-c", f"stat -c %a {key}") == "600\n"
    token = one.run("bash", "-c", f"cat {key}")
    two.run("bash", "-c", f"umask 077 && mkdir -p ~/.ray && printf %s {token} > {key}")
    two.run("bash", RECIPES / "worker.sh", *SIZE, HEAD=address)

    # Neither has a dashboard, on whatever address.
    for machine in machines:
        assert ":8265" not in machine.run("ss", "-ltn")

    run = ("clsweep", "run", "study.toml", "--address")
    driver = one.start(*run, address, "--out", "results", **TOKEN)
    hosts: set[str] = set()
    while driver.poll() is None:
        for path in shared.glob("results/records/*.attempts"):
            try:
                hosts.update(line.split()[0] for line in path.read_text().splitlines())
            except FileNotFoundError:  # put into the tables meanwhile
                continue
        time.sleep(0.05)
    printed = driver.communicate()[0]
    assert driver.returncode == 0, printed
    assert hosts == {"one", "two"}

    # Any machine of the cluster finds it by itself.
    found = two.run(*run, "auto", "--out", "results", **TOKEN)
    assert "18 of 18 trials done" in found

    clsweep("run", shared / "study.toml", "--inline", "--out", tmp_path / "inline", "-q")
    assert accuracy_bytes(shared / "results") == accuracy_bytes(tmp_path / "inline")
    assert len(trials(shared / "results")) == 18

    for machine in (two, one):
        machine.run("ray", "stop", **TOKEN)
        assert "ray" not in machine.run("ps", "-eo", "comm=").split()
        assert "raylet" not in machine.run("ps", "-eo", "args=")
