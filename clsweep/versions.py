"""The versions of what a result was computed with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("clsweep", "torch", "torchvision", "ray", "numpy", "pyarrow", "scikit-learn")
# Module of a bridge -> the package whose code it runs.
_BRIDGED = {"clsweep.bridges.avalanche": "avalanche-lib"}
_ABSENT = "not installed"


@cache
def versions() -> dict[str, str]:
    """Versions of everything that can move a number, by package name.

    What only a bridge runs is left out where it is not installed.
    """
    found = {"python": platform.python_version()}
    found |= {package: _version(package) for package in _PACKAGES}
    bridged = {package: _version(package) for package in _BRIDGED.values()}
    return found | {package: text for package, text in bridged.items() if text != _ABSENT}


def bridged_versions(module: str) -> dict[str, str]:
    """Version of the package that a bridge runs, by its name; empty for any other module.

    Args:
        module: full name of a module.
    """
    package = _BRIDGED.get(module)
    return {} if package is None else {package: versions().get(package, _ABSENT)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _ABSENT
