"""The versions of what a result was computed with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("clsweep", "torch", "torchvision", "ray", "numpy", "pyarrow", "scikit-learn")


@cache
def versions() -> dict[str, str]:
    """Versions of everything that can move a number, by package name."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
