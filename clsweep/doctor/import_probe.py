"""Probe of torch, torchvision and Ray, imported in a process of its own.

A broken library may end its process without an exception; `clsweep doctor` starts this program
(`python -m clsweep.doctor.import_probe`) and reads the JSON that it prints, if it comes to that.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from clsweep.process_environment import ensure_home


def answer() -> dict[str, Any]:
    """Versions and devices, or under 'error' what each library raises."""
    return {"torch": _asked(_torch), "torchvision": _asked(_torchvision), "ray": _asked(_ray)}


def _asked(question: Any) -> dict[str, Any]:
    try:
        return dict(question())
    except BaseException as error:  # a library that exits is broken as well
        text = " ".join(str(error).split())
        return {"error": f"{type(error).__name__}: {text}"}


def _torch() -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import torch

        found: dict[str, Any] = {"version": torch.__version__, "cuda": torch.version.cuda}
        is_there = torch.cuda.is_available()
        found["devices"] = [_device(index) for index in range(torch.cuda.device_count())]
        if torch.version.cuda and not is_there:
            found["cuda_error"] = _cuda_error(torch)
    found["warnings"] = [" ".join(str(one.message).split()) for one in caught]
    return found


def _device(index: int) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"name": torch.cuda.get_device_name(index)}
    try:
        free, total = torch.cuda.mem_get_info(index)
        found |= {"free_bytes": free, "total_bytes": total}
        # A build without code for this GPU is found out by the first sum.
        (torch.ones(2, device=f"cuda:{index}") + 1).sum().item()
    except RuntimeError as error:
        found["error"] = " ".join(str(error).split())
    return found


def _cuda_error(torch: Any) -> str:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split())
    return ""


def _torchvision() -> dict[str, Any]:
    import torch
    import torchvision

    # A wheel for another torch has operators that this one does not find.
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    torchvision.ops.nms(boxes, torch.ones(1), 0.5)
    return {"version": torchvision.__version__}


def _ray() -> dict[str, Any]:
    ensure_home()  # as a run does
    import ray
    import ray.tune

    return {"version": ray.__version__}


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(answer()) + "\n")
