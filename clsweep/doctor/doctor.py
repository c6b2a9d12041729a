"""`clsweep doctor`: looks at all that a run stands on, and does not break where that is broken."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsweep.doctor import gpu_checks, machine_checks
from clsweep.doctor.findings import Finding, found_by, ok, warn, wrong
from clsweep.errors import ClsweepError
from clsweep.execution.ray.connection import before_ray
from clsweep.process_environment import home
from clsweep.storage.remote_path import Place, RemotePath
from clsweep.text import command

if TYPE_CHECKING:
    from clsweep.study.study import Study

_IMPORT_SECONDS, _STUDY_SECONDS, _CLUSTER_SECONDS = 300.0, 600.0, 120.0
_DRIVER = Path("/proc/driver/nvidia/version")


def examined(
    study_file: Path | None,
    *,
    address: str | None,
    data_root: Path | None,
    out: Place | None,
    stages: Place | None,
) -> Iterator[Finding]:
    """Everything that is found, one after the other.

    Args:
        study_file: a study that is to run here, or None.
        address: the cluster that it is to run on; None for this machine.
        data_root: folder that holds the data sets.
        out: the results folder, or one in an object store.
        stages: the stage cache, likewise.
    """
    study, about_study = _study(study_file, data_root)
    out = out or (study.results_folder if study else Path("results"))
    folders: dict[str, Place] = {"--out": out} | ({"--stages": stages} if stages else {})
    yield from found_by("python", machine_checks.python)
    yield from _libraries(study, address)
    fraction = study.resources.gpu_fraction if study else None
    yield from found_by(gpu_checks.CHECK, partial(gpu_checks.gpu_sharing, fraction, os.environ))
    yield from found_by("storage", partial(machine_checks.storage, folders))
    yield from found_by("disk space", partial(machine_checks.disk_space, folders))
    yield from found_by("open files", machine_checks.open_files)
    yield from found_by("shared memory", machine_checks.shared_memory)
    about_token = partial(machine_checks.token, os.environ, home(), address)
    yield from found_by("token", about_token)
    yield from found_by("threads", partial(machine_checks.threads, os.environ))
    yield from found_by("data", partial(machine_checks.data, data_root))
    asked = study.callbacks.named if study else ()
    yield from found_by("packages", partial(machine_checks.optional_packages, asked))
    yield from about_study
    places = [folder.absolute() for folder in folders.values()]
    yield from found_by("cluster", partial(_cluster, address, places))


# -------------------------------------------------------------------------------- the study's file


def _study(path: Path | None, root: Path | None) -> tuple[Study | None, list[Finding]]:
    if path is None:
        return None, []
    from clsweep.study.study import load_studies

    try:
        studies = [*load_studies(path, root).values()]
    except ClsweepError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        mend = f"`{command('clsweep plan', path)}` once it is mended"
        return None, [wrong("study", "; ".join(lines), mend)]
    # All of one file are alike in what the machine has to have.
    return studies[0], found_by("study", partial(_about_studies, studies, path, root))


def _about_studies(studies: list[Study], path: Path, root: Path | None) -> Iterator[Finding]:
    from clsweep.data.data_files import STORED, missing_files, place_of_data
    from clsweep.study.data_warnings import data_notes

    for note in dict.fromkeys(note for study in studies for note in data_notes(study, root)):
        yield warn("data", note, "`docs/data.md`, or [benchmark] of the study")
    place = place_of_data(root)
    needed = dict.fromkeys(name for study in studies for name in study.benchmark.datasets)
    absent = [name for name in needed if missing_files(name, root)]
    if absent:
        size = sum(STORED[name].megabytes for name in absent)
        yield warn(
            "study",
            f"{path} needs {', '.join(absent)}, not in {place}; a run would download it "
            f"({size} MB)",
            "copy it there if runs have no way to the internet",
        )
        return
    said = _asked_apart("clsweep.doctor.study_probe", [str(path), str(root or "")], _STUDY_SECONDS)
    if isinstance(said, str):
        mend = f"`{command('python -m clsweep.doctor.study_probe', path, root or '')}` shows it"
        yield wrong("study", f"loading the data and building the networks of {path} {said}", mend)
    elif said["error"]:
        yield wrong("study", said["error"], said["next"] or f"a run of {path} would end there")
    else:
        yield ok("study", f"{path} is sound: its data load, and its networks fit them")


# --------------------------------------------------------------------------------- torch and Ray


def _libraries(study: Study | None, address: str | None) -> Iterator[Finding]:
    said = _asked_apart("clsweep.doctor.import_probe", [], _IMPORT_SECONDS)
    if isinstance(said, str):
        mend = "`python -m clsweep.doctor.import_probe` shows it; reinstall what breaks"
        yield wrong("libraries", f"importing torch, torchvision and Ray {said}", mend)
        return
    yield from found_by("torch", partial(_torch, said["torch"]))
    wants = study is not None and study.resources.device == "cuda" and address is None
    yield from found_by("cuda", partial(_cuda, said["torch"], wants))
    yield from found_by("torchvision", partial(_torchvision, said["torchvision"], said["torch"]))
    yield from found_by("ray", partial(_ray, said["ray"]))


def _torch(said: dict[str, Any]) -> Iterator[Finding]:
    if "error" in said:
        mend = "`pip install --force-reinstall torch torchvision`"
        yield wrong("torch", f"cannot be imported: {said['error']}", mend)
    else:
        yield ok("torch", said["version"])


def _cuda(said: dict[str, Any], is_wanted: bool) -> Iterator[Finding]:
    devices = said.get("devices", [])
    for index, device in enumerate(devices):
        memory = ""
        if "total_bytes" in device:
            free, total = (device[key] / 2**30 for key in ("free_bytes", "total_bytes"))
            memory = f", {free:.1f} of {total:.1f} GiB free"
        text = f"GPU {index}: {device['name']}{memory}"
        if "error" in device:
            mend = "install the build of torch that fits this GPU; see pytorch.org"
            yield wrong("cuda", f"{text}; a sum on it fails: {device['error']}", mend)
        else:
            yield ok("cuda", text)
    if devices or "error" in said:
        return
    reason = said.get("cuda_error") or "; ".join(said.get("warnings", []))
    mend = "update the driver, or install the build of torch for its CUDA version"
    if _DRIVER.exists() and said["cuda"]:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = f"; CUDA_VISIBLE_DEVICES={hidden}" if hidden is not None else ""
        yield wrong(
            "cuda", f"there is an NVIDIA driver, and torch sees no GPU: {reason}{seen}", mend
        )
    elif _DRIVER.exists():
        text = f"there is an NVIDIA driver, and torch {said['version']} is a build for CPUs"
        yield warn("cuda", text, "install the build of torch for its CUDA version")
    elif is_wanted:
        text = "the study asks for device = 'cuda', and this machine has no GPU"
        yield wrong("cuda", text, "write device = 'auto', or run where the GPUs are")
    else:
        yield ok("cuda", "no GPU: trials run on CPU cores")


def _torchvision(said: dict[str, Any], torch: dict[str, Any]) -> Iterator[Finding]:
    if "error" not in said:
        yield ok("torchvision", said["version"])
    elif "error" in torch:
        yield warn("torchvision", "needs torch", "mend torch first")
    else:
        text = f"does not fit torch {torch['version']}: {said['error']}"
        yield wrong("torchvision", text, "`pip install --force-reinstall torch torchvision`")


def _ray(said: dict[str, Any]) -> Iterator[Finding]:
    if "error" in said:
        mend = "`pip install --force-reinstall 'ray[tune]'`; until then `clsweep run --inline`"
        yield wrong("ray", f"cannot be imported: {said['error']}", mend)
    else:
        yield ok("ray", said["version"])


# ------------------------------------------------------------------------------------ the cluster


def _cluster(address: str | None, folders: Sequence[Place]) -> Iterator[Finding]:
    if address is None:
        yield ok("dashboard", "none: a run on this machine starts Ray without one")
        return
    before_ray()  # as a run does
    has_mode = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    mend = "check the address, and that Ray runs there (`ray status`); if the cluster asks for a "
    mend += "token, " + ("is this one its own?" if has_mode else "`export RAY_AUTH_MODE=token`")
    refused = _refusal(address)
    if refused:
        yield wrong("cluster", f"nothing answers at {address}: {refused}", mend)
        return
    said = _asked_apart("clsweep.doctor.cluster_probe", [address, *folders], _CLUSTER_SECONDS)
    if isinstance(said, str):
        yield wrong("cluster", f"the connection to {address} {said}", mend)
    elif "error" in said:
        yield wrong("cluster", f"no connection to {address}: {said['error']}", mend)
    else:
        yield from _about_cluster(address, said)


def _about_cluster(address: str, said: dict[str, Any]) -> Iterator[Finding]:
    alive = [node for node in said["nodes"] if node["is_alive"]]
    cpus, gpus = (sum(node[key] for node in alive) for key in ("cpus", "gpus"))
    text = f"{address}: Ray {said['ray']}, {len(alive)} nodes alive, {cpus:g} CPU, {gpus:g} GPU"
    yield ok("cluster", text)
    if not os.environ.get("RAY_AUTH_MODE"):
        yield warn(
            "cluster",
            "it lets in whoever reaches it, without a token",
            "start it with RAY_AUTH_MODE=token in the environment of `ray start`",
        )
    yield from _dashboard(said["dashboard"])
    ours = machine_versions()
    for node in said["nodes"]:
        yield from _node(node, ours)


def _dashboard(url: str) -> Iterator[Finding]:
    if not url:
        yield ok("dashboard", "none")
    elif re.match(r"(?:https?://)?(?:127\.|localhost|\[::1\])", url):
        yield ok("dashboard", f"{url}, which only the head node itself reaches")
    else:
        mend = (
            "start Ray without --dashboard-host, and reach it through `ssh -L 8265:localhost:8265`"
        )
        yield warn("dashboard", f"{url} can be reached from other machines", mend)


def machine_versions() -> dict[str, str]:
    """Versions that the nodes of a cluster have to share."""
    from clsweep.versions import versions

    return {key: value for key, value in versions().items() if key != "numpy"}


def _node(node: dict[str, Any], ours: dict[str, str]) -> Iterator[Finding]:
    name = f"{node['address']} ({node['host']})"
    if not node["is_alive"]:
        yield warn("node", f"{name} is gone", "start it again, or leave it: trials go elsewhere")
        return
    size = f"{node['cpus']:g} CPU, {node['gpus']:g} GPU, {node['memory_bytes'] / 2**30:.1f} GiB"
    if "error" in node:
        mend = "the same Python environment on every node, with clsweep installed"
        yield wrong("node", f"{name}, {size}: {node['error']}", mend)
        return
    yield ok("node", f"{name}, {size}")
    for package, version in node["versions"].items():
        if version != ours.get(package, version):
            here = f"{package} {version or 'not installed'}, here {ours[package]}"
            # Python and Ray refuse other patch levels, clsweep's records other schemas.
            level = warn if package in ("torch", "torchvision") else wrong
            yield level("node", f"{name} has {here}", f"install {package} {ours[package]} there")
    for complaint in node["storage"]:
        mend = "results and stages must lie in a folder that all nodes share, under one path; "
        mend += "an object store needs its credentials in the environment of every node"
        yield wrong("storage", f"on {name}: {complaint}", mend)


def _refusal(address: str) -> str:
    """Why nobody answers at a host and port; '' for an address of another form."""
    found = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^\[\]/]+)\]?:(?P<port>\d+)", address)
    if found is None:
        return ""
    try:
        socket.create_connection((found["host"], int(found["port"])), timeout=10).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return ""


def _asked_apart(
    module: str, words: Sequence[str | Place], seconds: float
) -> dict[str, Any] | str:
    """What a program of this package prints, or what became of it instead, as a predicate.

    A URI may hold credentials, and a command line can be read by everybody: URIs are written to
    the program's standard input, and '-' stands for them.
    """
    remote = [word for word in words if isinstance(word, RemotePath)]
    told = [str(word) for word in words if word not in remote]
    uris = [place.uri for place in remote]
    # Not by `-m`, which looks for modules in the current folder before all others.
    ours = str(Path(__file__).parents[2])
    program = f"import sys; sys.path[:] = [*filter(None, sys.path), {ours!r}]; import runpy; "
    program += f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", program, *told, *(["-"] if uris else [])]
    given = json.dumps(uris) if uris else None
    as_text: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
    try:
        ran = subprocess.run(command, input=given, capture_output=True, timeout=seconds, **as_text)
    except subprocess.TimeoutExpired:
        return f"takes more than {seconds:.0f} s"
    last = ran.stdout.strip().splitlines()[-1:]
    try:
        return dict(json.loads(last[0]))
    except (IndexError, ValueError):
        pass
    if ran.returncode < 0:
        return f"ends the process: {signal.Signals(-ran.returncode).name}"
    complaint = ran.stderr.strip().splitlines()[-1:] or [f"exit code {ran.returncode}"]
    return f"fails: {complaint[0].strip()}"
