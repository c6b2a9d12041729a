"""The recipes of docs/clusters: that they parse, and keep what their page promises."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "clusters"
PAGE = (DOCS / "clusters.md").read_text(encoding="utf-8")
FILES = sorted(path.name for path in FOLDER.iterdir())
SCRIPTS = [name for name in FILES if name.endswith(".sh")]
STARTING = ("head.sh", "worker.sh", "slurm.sh", "up.yaml")  # those that start Ray themselves


def text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text(name)))


def test_the_page_links_every_file_and_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE)
    assert [name for name in FILES if f"clusters/{name}" not in links] == []
    inside = [link for link in links if link.startswith("clusters/") or link.startswith("../")]
    assert [link for link in inside if not (DOCS / link).exists()] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_bash_that_stops_at_the_first_mistake(name: str) -> None:
    checked = subprocess.run(["bash", "-n", FOLDER / name], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "\nset -euo pipefail\n" in text(name)
    assert (FOLDER / name).stat().st_mode & 0o100, "not executable"


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_open(name: str) -> None:
    content = text(name)
    assert "0.0.0.0" not in content
    assert not re.search(r"RAY_AUTH_MODE[=:]\s*disabled", content)
    assert "RAY_USAGE_STATS_ENABLED" in content


@pytest.mark.parametrize("name", STARTING)
def test_ray_is_started_with_a_token_that_is_its_owners_alone(name: str) -> None:
    content = text(name)
    starts = len(re.findall(r"ray start|ray symmetric-run", re.sub(r"(?m)^ *#.*$", "", content)))
    assert starts
    assert "RAY_AUTH_MODE=token" in content
    assert "OMP_NUM_THREADS=1" in content
    assert "chmod 600" in content
    for made in re.findall(r"(?m)^.*get-auth-token --generate.*$", content):
        assert "umask 077" in made
    assert "--include-dashboard" in content or name == "worker.sh"


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_not_run_says_so_first(name: str) -> None:
    said = "ot run" in "".join(line for line in text(name).splitlines()[:6] if line[:1] == "#")
    (row,) = re.findall(rf"\| \[`{re.escape(name)}`\]\([^|]*\|[^|]*\|([^|]*)\|", PAGE)
    assert said == ("not run" in row), row


@pytest.mark.parametrize("name", [*FILES, "../clusters.md"])
def test_no_path_or_host_of_some_machine(name: str) -> None:
    content = text(name)
    assert re.findall(r"/(?:work|root|home|Users)/\w+", content) == []
    addresses = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", content))
    assert all(a.startswith(("192.0.2.", "127.")) for a in addresses), addresses


def test_the_token_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    # With a `ray` that does what Ray does: it writes with whatever umask it finds.
    tools = tmp_path / "bin"
    tools.mkdir()
    ray = tools / "ray"
    ray.write_text(
        '#!/bin/bash\nif [[ $1 == get-auth-token ]]; then mkdir -p "$HOME/.ray"; '
        'echo secret > "$HOME/.ray/auth_token"; cat "$HOME/.ray/auth_token"; else env; fi\n'
        'printf "<%s>" "$@"\n'
    )
    ray.chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(tmp_path)}

    def head(**more: str) -> str:
        command = ["bash", FOLDER / "head.sh", "--num-cpus=3"]
        env = {**environment, **more}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    said = head(HEAD_IP="192.0.2.1")
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700
    assert "secret" not in said
    assert "RAY_AUTH_MODE=token\n" in said
    assert "<start><--head><--node-ip-address=192.0.2.1><--port=6379>" in said
    assert "<--include-dashboard=false><--dashboard-host=127.0.0.1><--num-cpus=3>" in said
    token.write_text("older")
    token.chmod(0o644)
    assert "<--include-dashboard=true><--dashboard-host=127.0.0.1>" in head(
        HEAD_IP="192.0.2.1", DASHBOARD="1"
    )
    assert (token.read_text(), token.stat().st_mode & 0o777) == ("older", 0o600)


def test_a_worker_without_the_token_says_so(tmp_path: Path) -> None:
    command = ["bash", FOLDER / "worker.sh"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HEAD": "192.0.2.1:6379"}
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"there is no token in {tmp_path}/.ray/auth_token")


def test_a_job_refuses_results_in_a_folder_that_ray_deletes() -> None:
    command = ["bash", FOLDER / "job.sh", ".", "study.toml", "results/mine"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("results/mine: relative to a temporary folder")


def test_slurm_gives_time_to_stop_and_goes_on_in_the_same_log() -> None:
    directives = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in text("slurm.sh").splitlines()
        if line.startswith("#SBATCH")
    )
    assert directives["signal"] == "B:TERM@180"
    assert {"requeue", "exclusive"} <= directives.keys()
    assert (directives["ntasks-per-node"], directives["open-mode"]) == ("1", "append")


SLURM = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; "$@"',
    "squeue": 'echo "$STATE"',
    "scontrol": 'echo "scontrol $*"',
    "getent": "echo '127.0.1.1 STREAM node'; echo '192.0.2.1 STREAM node'",
    # As Ray does, it passes no signal on, and ends with the code of what it ran.
    "ray": 'echo "ray $*"; while [[ $1 != -- ]]; do shift; done; shift; "$@"',
    "clsweep": 'trap "exit 143" TERM; echo "clsweep $*"; for i in {1..600}; do sleep 0.1; done',
}


@pytest.mark.parametrize(("state", "goes_on"), [("RUNNING", True), ("CANCELLED", False)])
def test_slurms_signal_reaches_clsweep_and_the_job_goes_on(
    state: str, goes_on: bool, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, lines in SLURM.items():
        (tools / name).write_text(f"#!/bin/bash\n{lines}\n")
        (tools / name).chmod(0o755)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("token")
    environment = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "STATE": state,
        "SLURMD_NODENAME": "node",
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "3",
    }
    job = subprocess.Popen(
        ["bash", FOLDER / "slurm.sh", "mine.toml", "out", "--workers", "2"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    said = [job.stdout.readline(), job.stdout.readline()]
    job.terminate()  # the shell alone, as --signal=B: does
    rest, _ = job.communicate(timeout=60)
    asked = "ray symmetric-run --address 192.0.2.1:6379 --min-nodes 2 --num-cpus=3 "
    assert said[0].startswith(asked + "--include-dashboard=false -- ")
    assert said[1] == "clsweep run mine.toml --address 192.0.2.1:6379 --out out --workers 2\n"
    assert job.returncode == 143
    assert rest == ("scontrol requeue 7\n" if goes_on else "")
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_the_rayjob_keeps_its_promises() -> None:
    job, claim, policy = documents("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert set(spec) <= {
        *("entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
        "rayClusterSpec",
    }
    assert "--address auto" in spec["entrypoint"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert cluster["authOptions"] == {"mode": "token"}
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"] == {"num-cpus": "0"}
    assert (head["serviceType"], head["enableIngress"]) == ("ClusterIP", False)
    common = {"rayStartParams", "template"}
    assert set(head) == common | {"serviceType", "enableIngress"}
    assert set(workers) == common | {"groupName", "replicas", "minReplicas", "maxReplicas"}
    pods = [group["template"]["spec"] for group in (head, workers)]
    containers = [pod["containers"][0] for pod in pods]
    assert len({container["image"] for container in containers}) == 1
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in containers[1]["env"]
    assert containers[1]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for pod, container in zip(pods, containers, strict=True):
        (volume,), (mount,) = pod["volumes"], container["volumeMounts"]
        assert volume["name"] == mount["name"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert f"--out {mount['mountPath']}/" in spec["entrypoint"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]


def test_the_cluster_file_is_what_ray_up_takes() -> None:
    import jsonschema

    (config,) = documents("up.yaml")
    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    schema = Path(ray.origin).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))
    assert config["provider"]["type"] == "local"
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        (start,) = (command for command in commands if " start " in command)
        assert "RAY_AUTH_MODE=token" in start
        assert "OMP_NUM_THREADS=1" in start
