"""How NVIDIA's GPUs of this machine can be shared by processes: compute mode, MIG, MPS.

What is known comes from `nvidia-smi` and from the folder of the MPS daemon; torch is not asked.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clsweep.doctor.findings import Finding, ok, warn, wrong
from clsweep.text import counted

CHECK = "gpu sharing"
_SECONDS = 30.0
_QUERY = ("--query-gpu=index,name,compute_mode,mig.mode.current", "--format=csv,noheader")
_INSTANCE = re.compile(r"\s+MIG (?P<profile>\S+)\s+Device\s+\d+: \(UUID: (?P<uuid>MIG-\S+)\)")

# Arguments of `nvidia-smi` -> what it prints.
Asked = Callable[[Sequence[str]], str]


class Gpu(NamedTuple):
    """A GPU as `nvidia-smi` shows it.

    Attributes:
        number: counted from 0.
        name: its model.
        mode: the compute mode: 'Default', 'Exclusive_Process', 'Prohibited'.
        has_mig: whether it is divided into instances, or to be.
        instances: UUID -> profile of each instance, such as '1g.10gb'.
    """

    number: int
    name: str
    mode: str
    has_mig: bool
    instances: dict[str, str]


def gpu_sharing(
    gpu_fraction: float | None, environment: Mapping[str, str], ask: Asked | None = None
) -> Iterator[Finding]:
    """Whether several processes can use a GPU, and how.

    Args:
        gpu_fraction: what the study asks for; None without a study.
        environment: variables.
        ask: runs `nvidia-smi`; None for the program on this machine, if there is one.
    """
    if ask is None and shutil.which("nvidia-smi") is None:
        return
    ask = ask or _nvidia_smi
    try:
        gpus = found_gpus(ask(_QUERY), ask(("-L",)))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        text = f"`nvidia-smi` does not say how GPUs are shared: {_in_a_line(error)}"
        yield warn(CHECK, text, "`nvidia-smi` by itself shows why")
        return
    has_mps = False
    if gpus:
        folder = Path(environment.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps")
        has_mps = mps_runs(folder)
        yield _about_mps(has_mps, folder, environment)
    for gpu in gpus:
        if gpu.has_mig:
            yield _about_mig(gpu, environment.get("CUDA_VISIBLE_DEVICES", ""))
        else:
            yield _about_mode(gpu, gpu_fraction, has_mps)


def found_gpus(rows: str, listed: str) -> list[Gpu]:
    """The GPUs that `nvidia-smi` names.

    Args:
        rows: what it prints for index, name, compute mode and MIG mode, a line each.
        listed: what it prints for `-L`.

    Raises:
        ValueError: a line is not of that form.
    """
    instances: dict[int, dict[str, str]] = {}
    index = -1
    for line in listed.splitlines():
        if head := re.match(r"GPU (\d+):", line):
            index = int(head[1])
        elif found := _INSTANCE.match(line):
            instances.setdefault(index, {})[found["uuid"]] = found["profile"]
    gpus = []
    for line in filter(None, map(str.strip, rows.splitlines())):
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 4 or not parts[0].isdigit():
            raise ValueError(f"it prints '{line}'")
        number = int(parts[0])
        has_mig = parts[3] == "Enabled"
        gpus.append(Gpu(number, parts[1], parts[2], has_mig, instances.get(number, {})))
    return gpus


def mps_runs(folder: Path) -> bool:
    """Whether a daemon of MPS is at work.

    Args:
        folder: in which it has its pipes.
    """
    if not (folder / "control").exists():
        return False
    try:
        os.kill(int((folder / "nvidia-cuda-mps-control.pid").read_text()), 0)
    except PermissionError:  # it is another user's
        return True
    except (OSError, ValueError, OverflowError):  # what an earlier daemon has left
        return False
    return True


def _about_mps(runs: bool, folder: Path, environment: Mapping[str, str]) -> Finding:
    if not runs:
        text = f"MPS does not run ({folder}): processes on one GPU take turns"
        return ok(CHECK, text)
    share = environment.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "")
    limit = f"; CUDA_MPS_ACTIVE_THREAD_PERCENTAGE={share}" if share else ""
    return ok(CHECK, f"MPS runs ({folder}): processes on one GPU compute side by side{limit}")


def _about_mig(gpu: Gpu, visible: str) -> Finding:
    whole = f"GPU {gpu.number} ({gpu.name})"
    if not gpu.instances:
        text = f"{whole} has MIG switched on and no instance: no process can use it"
        mend = "`nvidia-smi mig -cgi PROFILE -C` makes one, `nvidia-smi -mig 0` switches MIG off"
        return wrong(CHECK, text, mend)
    kinds = ", ".join(f"{n} × {profile}" for profile, n in Counter(gpu.instances.values()).items())
    named = [uuid for uuid in gpu.instances if uuid in visible.split(",")]
    text = f"{whole} is divided by MIG into {kinds}; CUDA_VISIBLE_DEVICES names {len(named)}"
    if named:
        return ok(CHECK, f"{text}: start Ray with --num-gpus, and write gpu_fraction = 1")
    mend = f"`export CUDA_VISIBLE_DEVICES={','.join(gpu.instances)}` before `ray start --num-gpus="
    return warn(
        CHECK,
        f"{text}: a process sees one instance at most, and Ray counts the GPU as one",
        f"{mend}{len(gpu.instances)}`, and gpu_fraction = 1",
    )


def _about_mode(gpu: Gpu, fraction: float | None, has_mps: bool) -> Finding:
    whole = f"GPU {gpu.number} ({gpu.name})"
    if gpu.mode == "Prohibited":
        text = f"{whole} has the compute mode Prohibited: no process can use it"
        return wrong(CHECK, text, "`nvidia-smi -c DEFAULT`, by an administrator")
    if gpu.mode != "Exclusive_Process" or has_mps:
        return ok(CHECK, f"{whole}: compute mode {gpu.mode}, no MIG")
    text = f"{whole} has the compute mode Exclusive_Process, and MPS does not run: one process"
    mend = "gpu_fraction = 1; or start MPS (`nvidia-cuda-mps-control -d`), or `nvidia-smi -c "
    mend += "DEFAULT`, by an administrator"
    if fraction is None or not 0 < fraction < 1:
        return warn(CHECK, f"{text} at a time can use it", mend)
    n = counted(math.floor(1 / fraction), "trial")
    return wrong(CHECK, f"{text} at a time, and gpu_fraction = {fraction:g} puts {n} there", mend)


def _nvidia_smi(words: Sequence[str]) -> str:
    command = ["nvidia-smi", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if ran.returncode:
        raise subprocess.SubprocessError(ran.stdout or ran.stderr or f"exit code {ran.returncode}")
    return ran.stdout


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
