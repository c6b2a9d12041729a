"""Versions in records, and those that the identity of a bridge's trials depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata

import pytest

import clsweep.versions
from clsweep.methods.own_methods import code_fingerprint
from clsweep.nets.code_files import code_files
from clsweep.study.configurations import configurations
from clsweep.study.study import parse_study
from clsweep.versions import versions

BRIDGE = "clsweep.bridges.avalanche"
STRATEGY = f"{BRIDGE}:Strategy"
STUDY = f"""
    name = "bridged"
    benchmark = {{ name = "split", dataset = "digits", n_tasks = 2 }}
    [[methods]]
    name = "finetune"
    [[methods]]
    name = "custom"
    learner = "{STRATEGY}"
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Gives `avalanche-lib` a version; '' for none."""

    def pretend(text: str) -> None:
        def version(package: str) -> str:
            if package != "avalanche-lib":
                return metadata.version(package)
            if not text:
                raise metadata.PackageNotFoundError(package)
            return text

        monkeypatch.setattr(clsweep.versions, "version", version)
        versions.cache_clear()

    yield pretend
    monkeypatch.undo()
    versions.cache_clear()


def test_only_the_bridges_own_modules_count_as_its_code() -> None:
    names = {file.module for file in code_files(BRIDGE)}
    assert names == {"clsweep.bridges", BRIDGE, f"{BRIDGE}_training"}


def test_another_avalanche_makes_other_trials_of_the_bridge_alone(
    installed: Callable[[str], None],
) -> None:
    found = []
    for text in ("0.6.0", "0.7.0", "", "0.6.0"):
        installed(text)
        ids = {c.method: c.id for c in configurations(parse_study(STUDY))}
        found.append((code_fingerprint(STRATEGY), ids["finetune"], ids[STRATEGY]))
    codes, ours, theirs = zip(*found, strict=True)
    assert len(set(ours)) == 1
    assert len(set(codes)) == len(set(theirs)) == 3
    assert (codes[0], theirs[0]) == (codes[3], theirs[3])


def test_records_have_the_version_where_it_is_installed(
    installed: Callable[[str], None],
) -> None:
    installed("0.6.0")
    assert versions()["avalanche-lib"] == "0.6.0"
    installed("")
    assert "avalanche-lib" not in versions()
