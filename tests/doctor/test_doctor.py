"""`clsweep doctor`: says what is wrong and how to mend it, whatever is broken."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.fs
import pytest

from clsweep.doctor import doctor, findings, machine_checks, storage_probe
from clsweep.doctor.cluster_probe import _visit
from clsweep.doctor.findings import Finding, found_by, wrong
from clsweep.doctor.study_probe import answer
from clsweep.errors import StoreError
from clsweep.storage import remote_path
from clsweep.storage.remote_path import RemotePath, place_of
from tests.support.command_line import CommandLine, tiny_study
from tests.support.object_stores import Denying, ObjectStore, asked_once, object_store

HEALTHY: dict[str, Any] = {
    "torch": {"version": "2.14.1", "cuda": "13.0", "devices": [], "warnings": []},
    "torchvision": {"version": "0.29.1"},
    "ray": {"version": "2.60.0"},
}
GIB = 2**30


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("CLSWEEP_DATA", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return CommandLine(capsys)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the programs that look at libraries and cluster say; to be changed by a test."""
    answers: dict[str, Any] = {
        "clsweep.doctor.import_probe": json.loads(json.dumps(HEALTHY)),
        "clsweep.doctor.cluster_probe": None,
        "clsweep.doctor.study_probe": {"error": "", "next": ""},
    }
    monkeypatch.setattr(doctor, "_asked_apart", lambda module, words, seconds: answers[module])
    monkeypatch.setattr(doctor, "_refusal", lambda address: "")
    monkeypatch.setattr(doctor, "_DRIVER", Path("/nowhere"))
    return answers


def _levels(found: list[Finding] | Iterator[Finding]) -> list[str]:
    return [finding.level for finding in found]


def _at(text: str, check: str) -> str:
    """The lines of a check, each with how to mend it."""
    lines, kept = text.splitlines(), []
    for index, line in enumerate(lines):
        if line[6:].startswith(f"{check}: "):
            kept.append(line)
            kept += [later for later in lines[index + 1 : index + 2] if later.startswith("   ")]
    return "\n".join(kept)


# -------------------------------------------------------------------------------------- in whole


def test_a_sound_machine(cli: CommandLine, said: dict[str, Any], tmp_path: Path) -> None:
    ran = cli("doctor", tiny_study(tmp_path))
    assert ran.code == 0, ran.out
    assert "wrong " not in ran.out
    assert "nothing is wrong" in ran.out.splitlines()[-1]
    checks = {line[6:].split(":")[0] for line in ran.out.splitlines() if line[:2] == "ok"}
    assert checks >= {
        "python", "torch", "cuda", "torchvision", "ray", "storage", "disk space", "open files",
        "token", "threads", "data", "packages", "study", "dashboard",
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"study.toml"}, "nothing is left behind"


def test_json(cli: CommandLine, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    said["clsweep.doctor.import_probe"]["ray"] = {"error": "ImportError: no"}
    ran = cli("doctor", "--json")
    assert ran.code == 1
    told = json.loads(ran.out)
    assert (told["format"], told["n_wrong"]) == (1, 1)
    assert told["n_warn"] >= 1
    by_check = {one["check"]: one for one in told["findings"]}
    assert by_check["threads"]["found"] == "OMP_NUM_THREADS=8"
    assert "export OMP_NUM_THREADS=1" in by_check["threads"]["mend"]
    assert by_check["ray"]["level"] == "wrong"
    assert {*by_check["ray"]} == {"check", "level", "found", "mend"}


def test_it_imports_neither_torch_nor_ray_itself(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from clsweep.doctor import doctor\n"
        "doctor._asked_apart = lambda *_: 'is not asked'\n"
        "given = {'address': None, 'data_root': None, 'out': Path(sys.argv[1]), 'stages': None}\n"
        "assert len(list(doctor.examined(Path('study.toml'), **given))) > 9\n"
        "assert not {'torch', 'ray'} & set(sys.modules)"
    )
    tiny_study(tmp_path)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=tmp_path)


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        yield findings.ok("disk", "so far")
        raise OSError("Input/output error")

    (finding,) = found_by("disk", broken)
    assert (finding.level, "Input/output error" in finding.found) == ("wrong", True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef")
    (finding,) = found_by("x", lambda: [wrong("x", "at 0123456789abcdef", "m")])
    assert finding.found == "at [removed]"


# -------------------------------------------------------------------------------- torch and Ray


class Case(NamedTuple):
    torch: dict[str, Any]
    has_driver: bool
    level: str
    words: str


NO_GPU = {"cuda_error": "The NVIDIA driver on your system is too old (found version 11040)."}
GPU = {"name": "NVIDIA H100", "free_bytes": 78 * GIB, "total_bytes": 80 * GIB}
CASES = {
    "none": Case({}, False, "ok", "no GPU"),
    "two": Case({"devices": [GPU, GPU]}, True, "ok", "GPU 1: NVIDIA H100, 78.0 of 80.0 GiB free"),
    "old driver": Case(NO_GPU, True, "wrong", "too old (found version 11040)"),
    "CPU build": Case({"cuda": None}, True, "warn", "a build for CPUs"),
    "no kernel": Case(
        {"devices": [{**GPU, "error": "no kernel image is available"}]}, True, "wrong", "no kernel"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gpus(
    case: Case, cli: CommandLine, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said["clsweep.doctor.import_probe"]["torch"] |= case.torch
    monkeypatch.setattr(doctor, "_DRIVER", Path("/") if case.has_driver else Path("/nowhere"))
    ran = cli("doctor")
    assert case.words in _at(ran.out, "cuda")
    assert _at(ran.out, "cuda").startswith(case.level)
    assert ran.code == int(case.level == "wrong")


def test_a_study_for_gpus_on_a_machine_without(
    cli: CommandLine, said: dict[str, Any], tmp_path: Path
) -> None:
    path = tiny_study(tmp_path)
    path.write_text(path.read_text().replace('device = "cpu"', 'device = "cuda"'))
    ran = cli("doctor", path)
    assert ran.code == 1
    assert "the study asks for device = 'cuda'" in _at(ran.out, "cuda")


def test_a_torchvision_for_another_torch(cli: CommandLine, said: dict[str, Any]) -> None:
    said["clsweep.doctor.import_probe"]["torchvision"] = {
        "error": "RuntimeError: operator torchvision::nms does not exist"
    }
    ran = cli("doctor")
    assert ran.code == 1
    assert "does not fit torch 2.14.1: RuntimeError: operator" in _at(ran.out, "torchvision")
    assert "pip install --force-reinstall torch torchvision" in _at(ran.out, "torchvision")


BROKEN = {
    "raises": ('raise ImportError("libcudart.so.13: cannot open")', "cannot be imported: Import"),
    "exits": ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
    "dies": ("import os; os.kill(os.getpid(), 11)", "ends the process: SIGSEGV"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_torch_that_breaks(
    kind: str, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text, words = BROKEN[kind]
    (tmp_path / "site").mkdir()
    for name in ("torch", "ray"):
        (tmp_path / "site" / f"{name}.py").write_text(text)
    here = str(Path(doctor.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), here]))
    ran = cli("doctor")
    assert ran.code == 1
    assert words in ran.out
    assert "ok    storage" in ran.out, "the other checks go on"


def test_a_program_that_says_nothing_or_never_ends() -> None:
    assert doctor._asked_apart("clsweep.text", [], 60) == "fails: exit code 0"
    assert doctor._asked_apart("this_is_no_module", [], 60) == (
        "fails: ImportError: No module named this_is_no_module"
    )
    said = doctor._asked_apart("timeit", ["-n1", "-r1", "import time; time.sleep(30)"], 0.2)
    assert said == "takes more than 0 s"


# -------------------------------------------------------------------------------------- storage


def test_a_folder_that_takes_no_files(
    cli: CommandLine, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(storage_probe.tempfile, "NamedTemporaryFile", refused)
    ran = cli("doctor", "--out", "a/b", "--stages", "cache")
    assert ran.code == 1
    assert f"{tmp_path}: Read-only file system" in _at(ran.out, "storage")
    assert "name another folder with --stages" in ran.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    assert "Permission denied" in storage_probe.storage_complaint(tmp_path / "locked")


def test_a_folder_that_others_do_not_see(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with storage_probe.probe_file(tmp_path / "a") as lit:
        assert storage_probe.storage_complaint(tmp_path / "a" / "new", lit) == ""
        elsewhere = tmp_path / "b" / lit.name
        assert "another folder" in storage_probe.storage_complaint(tmp_path / "b", elsewhere)
        elsewhere.write_bytes(b"x")
        assert "something else" in storage_probe.storage_complaint(tmp_path / "b", elsewhere)
    assert not lit.exists()


@pytest.mark.parametrize(("free", "level"), [(50, "wrong"), (500, "warn"), (5000, "ok")])
def test_disk_space(free: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int
        free: int

    usage = Usage(10**12, free * 2**20)
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda path: usage)
    assert _levels(machine_checks.disk_space({"--out": Path("/")})) == [level]


def test_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for soft, level in ((1024, "warn"), (65536, "ok"), (-1, "ok")):
        monkeypatch.setattr(resource, "getrlimit", lambda what, soft=soft: (soft, 65536))
        (finding,) = machine_checks.open_files()
        assert finding.level == level
    assert _levels(machine_checks.shared_memory(tmp_path / "nowhere")) == ["warn"]


# --------------------------------------------------------------------------------- object stores

USER = "AKIAKEY:hunter%2F2secret@"


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


def test_a_store_that_keeps_objects(
    cli: CommandLine, said: dict[str, Any], server: ObjectStore, tmp_path: Path
) -> None:
    out, stages = (server.uri(name, user=USER) for name in ("out", "stages"))
    ran = cli("doctor", tiny_study(tmp_path), "--out", out, "--stages", stages)
    assert ran.code == 0, ran.out
    for option in ("out", "stages"):
        (line,) = [x for x in ran.out.splitlines() if f"(--{option})" in x]
        assert line.startswith("ok    storage: s3://")
        assert line.endswith("an object was written, read, listed and deleted")
        assert server.keys(option) == [], "no object is left behind"
    assert "disk space" not in ran.out
    assert "hunter" not in ran.out + ran.err
    ran = cli("doctor", "--out", "here", "--stages", stages)
    assert "GiB are free for here" in _at(ran.out, "disk space")
    assert "stages" not in _at(ran.out, "disk space")
    assert {path.name for path in tmp_path.iterdir()} == {"study.toml"}


def test_a_store_without_the_bucket(
    cli: CommandLine, said: dict[str, Any], server: ObjectStore
) -> None:
    ran = cli("doctor", "--out", server.uri("x", bucket="no-bucket", user=USER))
    assert ran.code == 1
    assert "let this be written: NO_SUCH_BUCKET" in _at(ran.out, "storage")
    assert "mend: make the bucket, or correct its name" in _at(ran.out, "storage")
    assert "hunter" not in ran.out


def test_a_store_that_permits_nothing(
    cli: CommandLine, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    denying = pyarrow.fs.PyFileSystem(Denying())
    monkeypatch.setattr(remote_path, "_opened", lambda uri: (denying, "bucket/x"))
    ran = cli("doctor", "--out", "s3://me:hunter2@bucket/x", "--json")
    assert ran.code == 1
    (finding,) = [f for f in json.loads(ran.out)["findings"] if f["check"] == "storage"]
    assert finding["level"] == "wrong"
    assert "let this be written: ACCESS_DENIED" in finding["found"]
    assert "check the credentials in the environment" in finding["mend"]
    assert "hunter2" not in ran.out


def test_a_store_that_does_not_answer(cli: CommandLine, said: dict[str, Any]) -> None:
    with object_store() as gone:
        uri = gone.uri("x", user=USER)
    with asked_once():
        ran = cli("doctor", "--out", uri)
    assert ran.code == 1
    assert "NETWORK_CONNECTION" in _at(ran.out, "storage")
    assert "mend: check that the store answers" in ran.out
    assert "hunter" not in ran.out


@pytest.mark.parametrize(
    ("method", "does", "words"),
    [
        ("read_bytes", lambda path: b"another", "does not give back what was written"),
        ("glob", lambda path, pattern: iter(()), "does not list what was written"),
        ("unlink", lambda path, missing_ok: None, "what was deleted is still there"),
    ],
)
def test_a_store_that_forgets(
    server: ObjectStore, monkeypatch: pytest.MonkeyPatch, method: str, does: Any, words: str
) -> None:
    place = place_of(server.uri(method))
    monkeypatch.setattr(RemotePath, method, does)
    (finding,) = machine_checks.storage({"--out": place})
    assert (finding.level, words in finding.found) == ("wrong", True)
    assert "check which store this is" in finding.mend
    assert (server.keys(method) == []) == (method != "unlink")


def test_the_first_reason_is_told(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reading is refused, deleting may be refused as well."""

    def refused(what: str) -> Any:
        def refuse(path: RemotePath, **_: Any) -> None:
            raise StoreError(f"{what} is refused", next_step="ask for the permission")

        return refuse

    monkeypatch.setattr(RemotePath, "unlink", refused("deleting"))
    place = place_of(server.uri("first"))
    (finding,) = machine_checks.storage({"--out": place})
    assert finding.found.endswith("(--out): deleting is refused")
    monkeypatch.setattr(RemotePath, "read_bytes", refused("reading"))
    (finding,) = machine_checks.storage({"--out": place})
    assert finding.found.endswith("(--out): reading is refused")
    assert finding.mend == "ask for the permission"


# ---------------------------------------------------------------------------------------- token


@pytest.mark.parametrize(
    ("mode", "home_mode", "level"),
    [
        (0o600, 0o755, "ok"),
        (0o644, 0o755, "wrong"),
        (0o640, 0o755, "wrong"),
        (0o644, 0o700, "warn"),
    ],
)
def test_the_mode_of_the_token_file(mode: int, home_mode: int, level: str) -> None:
    # pytest's own folders keep others out already.
    home = Path(tempfile.mkdtemp())
    try:
        path = home / ".ray" / "auth_token"
        path.parent.mkdir(mode=0o755)
        path.write_text("secret of the token file")
        path.chmod(mode)
        home.chmod(home_mode)
        _, finding = machine_checks.token({}, home, None)
        assert finding.level == level
        assert f"mode {mode:04o}" in finding.found
        assert (f"chmod 600 {path}" in finding.mend) == (level != "ok")
        assert "secret" not in finding.found
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize(
    ("environment", "address", "levels", "words"),
    [
        ({}, None, ["ok"], "by itself"),
        ({}, "host:6379", ["warn"], "a cluster that asks for a token refuses"),
        ({"RAY_AUTH_MODE": "disabled"}, None, ["wrong"], "runs code here"),
        ({"RAY_AUTH_MODE": "token"}, "host:6379", ["ok", "wrong"], "there is no token in"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t"}, "host:6379", ["ok"], "=token"),
        ({"RAY_AUTH_TOKEN_PATH": "/dev/null/x"}, None, ["ok", "wrong"], "/dev/null/x"),
    ],
)
def test_the_mode_of_authentication(
    environment: dict[str, str],
    address: str | None,
    levels: list[str],
    words: str,
    tmp_path: Path,
) -> None:
    found = list(machine_checks.token(environment, tmp_path, address))
    assert _levels(found) == levels
    assert words in found[-1].found


# -------------------------------------------------------------------------- data, study, packages


def test_data(cli: CommandLine, said: dict[str, Any], tmp_path: Path) -> None:
    ran = cli("doctor", "--data-root", "nowhere")
    assert ran.code == 1
    assert "the data root nowhere is no folder" in _at(ran.out, "data")
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        file = tmp_path / "data" / "MNIST" / "raw" / f"{name}-ubyte.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    path = tiny_study(tmp_path)
    path.write_text(path.read_text().replace('name = "split"', 'name = "split"\ndataset = "svhn"'))
    ran = cli("doctor", "--data-root", "data", path)
    assert "digits (built in), mnist; in data" in _at(ran.out, "data")
    (tmp_path / "data" / "train_32x32.mat").write_text("one half of SVHN")
    half = "data set 'svhn' is incomplete: test_32x32.mat missing"
    assert half in _at(cli("doctor", "--data-root", "data").out, "data")
    assert "needs svhn, not in data; a run would download it (246 MB)" in _at(ran.out, "study")


def test_a_study_with_a_mistake(cli: CommandLine, said: dict[str, Any], tmp_path: Path) -> None:
    ran = cli("doctor", tiny_study(tmp_path, steps=-1))
    assert ran.code == 1
    assert "steps = -1; expected: at least 0" in _at(ran.out, "study")
    assert "there is no file" in _at(cli("doctor", "nowhere.toml").out, "study")


def test_packages_that_the_study_asks_for(
    cli: CommandLine, said: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, optional = importlib.util.find_spec, machine_checks._OPTIONAL
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in optional else real(name)
    )
    path = tiny_study(tmp_path)
    path.write_text(path.read_text() + '[callbacks]\nwandb = "fronts"\n')
    ran = cli("doctor", path)
    assert ran.code == 1
    assert _at(ran.out, "packages").splitlines()[0].startswith("wrong packages: wandb")
    assert "`pip install wandb`" in ran.out
    assert "installed: none" in ran.out
    assert cli("doctor").code == 0


# -------------------------------------------------------------------------------------- cluster


def _node(**changes: Any) -> dict[str, Any]:
    return {
        "address": "10.0.0.7",
        "host": "node7",
        "is_alive": True,
        "cpus": 8.0,
        "gpus": 1.0,
        "memory_bytes": 16 * GIB,
        "versions": doctor.machine_versions(),
        "storage": [],
        **changes,
    }


def _cluster(*nodes: dict[str, Any], dashboard: str = "127.0.0.1:8265") -> dict[str, Any]:
    return {"ray": "2.60.0", "dashboard": dashboard, "resources": {}, "nodes": list(nodes)}


def test_a_sound_cluster(
    cli: CommandLine, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef")
    said["clsweep.doctor.cluster_probe"] = _cluster(_node(), _node(cpus=4.0, gpus=0.0))
    ran = cli("doctor", "--address", "head:6379")
    assert ran.code == 0, ran.out
    assert "head:6379: Ray 2.60.0, 2 nodes alive, 12 CPU, 1 GPU" in _at(ran.out, "cluster")
    assert "10.0.0.7 (node7), 8 CPU, 1 GPU, 16.0 GiB" in _at(ran.out, "node")
    assert "only the head node itself reaches" in _at(ran.out, "dashboard")


def test_nodes_with_something_wrong(cli: CommandLine, said: dict[str, Any]) -> None:
    ours = doctor.machine_versions()
    said["clsweep.doctor.cluster_probe"] = _cluster(
        _node(is_alive=False),
        _node(error="no answer within 40 s"),
        _node(versions={**ours, "ray": "2.59.0", "torch": "2.0"}),
        _node(versions={**ours, "clsweep": ""}, storage=["/data: Permission denied"]),
        dashboard="10.0.0.7:8265",
    )
    ran = cli("doctor", "--address", "head:6379", "--json")
    assert ran.code == 1
    told = [(f["level"], f["check"], f["found"]) for f in json.loads(ran.out)["findings"]]
    for level, check, words in (
        ("warn", "cluster", "lets in whoever reaches it"),
        ("warn", "dashboard", "10.0.0.7:8265 can be reached from other machines"),
        ("warn", "node", "is gone"),
        ("wrong", "node", "no answer within 40 s"),
        ("wrong", "node", f"has ray 2.59.0, here {ours['ray']}"),
        ("warn", "node", f"has torch 2.0, here {ours['torch']}"),
        ("wrong", "node", "has clsweep not installed"),
        ("wrong", "storage", "on 10.0.0.7 (node7): /data: Permission denied"),
    ):
        assert [one for one in told if one[:2] == (level, check) and words in one[2]], words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "ConnectionError: Unauthenticated"}, "no connection to head:6379: Connection"),
        ("takes more than 120 s", "the connection to head:6379 takes more than 120 s"),
    ],
)
def test_a_cluster_that_does_not_let_in(
    cli: CommandLine, said: dict[str, Any], answer: Any, words: str
) -> None:
    said["clsweep.doctor.cluster_probe"] = answer
    ran = cli("doctor", "--address", "head:6379")
    assert ran.code == 1
    assert words in _at(ran.out, "cluster")
    assert "export RAY_AUTH_MODE=token" in _at(ran.out, "cluster")


def test_an_address_where_nothing_answers() -> None:
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "127.0.0.1:99999", "[::1]:9"):
        (finding,) = found_by("cluster", lambda address=address: doctor._cluster(address, []))
        assert finding.level == "wrong"
        assert f"nothing answers at {address}" in finding.found
    assert doctor._refusal("auto") == ""


def test_what_a_node_says(tmp_path: Path) -> None:
    with storage_probe.probe_file(tmp_path) as lit:
        said = _visit([(str(tmp_path), str(lit)), ("/proc/nothing", "")])
    assert said["versions"].items() <= doctor.machine_versions().items()
    assert len(said["storage"]) == 1
    assert "/proc" in said["storage"][0]


def test_what_a_node_says_of_a_store(server: ObjectStore, tmp_path: Path) -> None:
    uri, other = (server.uri(name, user=USER) for name in ("shared", "another"))
    with storage_probe.nearest_probe_file(place_of(uri)) as lit:
        assert _visit([(uri, lit.name), (uri, ""), (str(tmp_path), "")])["storage"] == []
        (complaint,) = _visit([(other, lit.name)])["storage"]
        assert "another store here than where the run is started" in complaint
    (complaint,) = _visit([(server.uri("x", bucket="no-bucket", user=USER), "")])["storage"]
    assert "NO_SUCH_BUCKET" in complaint
    assert "hunter" not in complaint
    assert server.keys("shared") == server.keys("another") == []


def test_no_command_line_shows_a_uri(
    server: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The program that joins the cluster is told of it where nobody else can read."""
    asked: list[list[str]] = []
    real = subprocess.run

    def noted(command: list[str], **options: Any) -> Any:
        asked.append(command)
        program = "import sys; print(sys.stdin.read().replace('[', '{\"uris\": [') + '}')"
        return real([sys.executable, "-c", program], **options)

    monkeypatch.setattr(subprocess, "run", noted)
    place = place_of(server.uri("x", user=USER))
    words = ["head:6379", str(tmp_path), place]
    assert doctor._asked_apart("clsweep.doctor.cluster_probe", words, 60) == {"uris": [place.uri]}
    assert "run_module('clsweep.doctor.cluster_probe'" in asked[0][2]
    assert asked[0][3:] == ["head:6379", str(tmp_path), "-"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: ObjectStore
) -> None:
    """Two nodes on this machine, behind a token."""
    scratch = tempfile.mkdtemp(prefix="cs", dir="/tmp")  # sockets have short names
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", 64 * "a")
    program = (
        "import sys; from ray.cluster_utils import Cluster\n"
        "small = {'object_store_memory': 80 * 2**20, 'include_dashboard': False}\n"
        f"head = {{'num_cpus': 1, 'temp_dir': '{scratch}', **small}}\n"
        "cluster = Cluster(True, head_node_args=head)\n"
        "cluster.add_node(num_cpus=2, **small)\n"
        "print(cluster.address, flush=True); sys.stdin.read(); cluster.shutdown()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        found = found_by("cluster", lambda: doctor._cluster(address, [str(tmp_path / "out")]))
        assert _levels(found) == ["ok"] * 4, found
        assert f"{address}: Ray" in found[0].found
        assert "2 nodes alive, 3 CPU, 0 GPU" in found[0].found
        assert list(tmp_path.iterdir()) == []
        shared = place_of(server.uri("nodes", user=USER))
        assert _levels(doctor._cluster(address, [shared])) == ["ok"] * 4
        assert server.keys("nodes") == []
        nowhere = place_of(server.uri("x", bucket="no-bucket", user=USER))
        found = found_by("cluster", lambda: doctor._cluster(address, [nowhere]))
        complaints = [one for one in found if one.level == "wrong"]
        assert len(complaints) == 2
        for one in complaints:
            assert "NO_SUCH_BUCKET" in one.found
            assert "in the environment of every node" in one.mend
            assert "hunter" not in one.found
    finally:
        process.communicate("", timeout=120)
        shutil.rmtree(scratch, ignore_errors=True)


def test_files_of_the_current_folder_are_not_taken_for_libraries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("json", "torch", "ray", "queue"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong file')")
    monkeypatch.chdir(tmp_path)
    # An address that Ray itself refuses, without trying to reach it.
    said = doctor._asked_apart("clsweep.doctor.cluster_probe", ["127.0.0.1:x"], 60)
    assert isinstance(said, dict)
    assert "port number" in said["error"]


# --------------------------------------------------------- what a run does before its first trial


def test_what_a_run_would_end_with_is_found(
    cli: CommandLine, said: dict[str, Any], tmp_path: Path
) -> None:
    path = tiny_study(tmp_path)
    assert "is sound: its data load" in _at(cli("doctor", path).out, "study")
    said["clsweep.doctor.study_probe"] = {"error": "the net is too deep", "next": "less of it"}
    ran = cli("doctor", path)
    assert ran.code == 1
    assert "the net is too deep" in _at(ran.out, "study")
    assert "less of it" in _at(ran.out, "study")
    said["clsweep.doctor.study_probe"] = "ends the process: SIGKILL"
    assert "building the networks of study.toml ends the process" in _at(
        cli("doctor", path.name).out, "study"
    )


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ("hidden = [4]", ""),
        ('name = "torchvision"\nmodel = "vgg11"', "8x8 pixels do not fit torchvision's 'vgg11'"),
        ('name = "custom"\nfactory = "torch.nn:Identity"', "torch.nn:Identity"),
    ],
)
def test_the_program_that_tries_a_study(net: str, words: str, tmp_path: Path) -> None:
    path = tiny_study(tmp_path)
    text = path.read_text()
    start = text.index("[net]")
    path.write_text(text[:start] + f"[net]\n{net}\n" + text[text.index("\n[", start) + 1 :])
    before = sorted(tmp_path.rglob("*"))
    error = answer(path, None)["error"]
    assert words in error
    assert bool(words) == bool(error)
    assert sorted(tmp_path.rglob("*")) == before
