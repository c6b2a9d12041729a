"""The study files that ship load, plan and are fair."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import clsweep
from clsweep.execution.forecast import fairness_notes
from clsweep.methods import METHODS
from clsweep.search.search import expected
from clsweep.study import planning
from clsweep.study.configurations import _expanded, examples, study_identity
from clsweep.study.study import Study, load_study, stored_study
from clsweep.study.toml_files import tomllib
from clsweep.text import counted
from tests.support.command_line import CommandLine

CONFIGS = Path(clsweep.__file__).resolve().parents[1] / "configs"
SHIPPED = sorted(CONFIGS.rglob("*.toml"))


def test_study_files_ship() -> None:
    names = {"quickstart", "split_mnist", "permuted_mnist", "replay_memory", "search_digits"}
    assert names <= {path.stem for path in SHIPPED}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    _folder_of_images(root)
    _arrays_of_features(root / "features/cifar10_resnet18")
    return root


@pytest.mark.parametrize("path", SHIPPED, ids=[str(p.relative_to(CONFIGS)) for p in SHIPPED])
def test_every_study_file_that_ships_loads_and_plans(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data_root: Path,
    path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CommandLine(capsys)("plan", path, "--data-root", data_root)
    assert ran.code == 0, ran.err
    study = load_study(path, data_root)
    n = len(expected(study, [], set()))
    seeds = counted(len(study.seeds), "seed")
    assert f"{counted(n, 'configuration')} × {seeds} = " in ran.out
    _validator().validate(tomllib.loads(path.read_text(encoding="utf-8")))


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(Study.model_json_schema())


def _folder_of_images(root: Path) -> None:
    """A folder as large as the studies of `folder:cifar10` need it; one image under many names.

    An old one, whose fingerprint is remembered from study to study.
    """
    image = root / "image.png"
    Image.new("RGB", (32, 32)).save(image)
    os.utime(image, (0, 0))
    for part, n in (("train", 950), ("test", 1)):
        for label in range(10):
            folder = root / "cifar10" / part / str(label)
            folder.mkdir(parents=True)
            for i in range(n):
                os.link(image, folder / f"{i}.png")


def _arrays_of_features(folder: Path) -> None:
    """Ten classes with as many rows as the studies need."""
    folder.mkdir(parents=True)
    for part, n in (("train", 5000), ("test", 20)):
        rows = np.arange(n, dtype=np.float32)
        np.save(folder / f"{part}_x.npy", np.stack([rows, -rows], axis=1))
        np.save(folder / f"{part}_y.npy", np.arange(n) % 10)


FRONTS = ["quickstart", "split_mnist", "permuted_mnist"]


def test_the_search_that_ships_is_fair() -> None:
    study = load_study(CONFIGS / "search_digits.toml")
    assert fairness_notes(study, expected(study, [], set())) == []


@pytest.mark.parametrize(
    "name", [*FRONTS, "rescl_fronts/split_mnist", "rescl_fronts/permuted_mnist"]
)
def test_fronts_that_ship_are_fair(name: str) -> None:
    study = load_study(CONFIGS / f"{name}.toml")
    assert fairness_notes(study) == []
    assert study.name == name.replace("rescl_fronts/", "rescl_")
    assert {"finetune", "frozen", "joint"} < {request.name for request in study.methods}
    assert len({request.name for request in study.methods}) >= 7
    assert len(study.seeds) >= 3


def test_a_network_that_shares_nothing_is_said(tmp_path: Path) -> None:
    text = """
        name = "linear"
        benchmark = { name = "split", n_tasks = 2, scenario = "SCENARIO" }
        net = { name = "mlp", hidden = [] }
        methods = [{ name = "finetune" }, { name = "frozen" }, { name = "joint" }]
    """
    said = "nothing is shared between the tasks"
    for scenario, is_said in (("task", True), ("domain", False), ("class", False)):
        path = tmp_path / f"{scenario}.toml"
        path.write_text(text.replace("SCENARIO", scenario))
        assert any(said in note for note in fairness_notes(load_study(path))) is is_said


def test_identities_of_the_studies_that_ship_never_change(monkeypatch: pytest.MonkeyPatch) -> None:
    # Results that exist are found by them: configurations, and the stages that they start from. Of
    # a method that computes something else the version is raised, which is left out here.
    for name, entry in METHODS.items():
        monkeypatch.setitem(METHODS, name, replace(entry, version=1))
        monkeypatch.setattr(entry.hyper, "revision", 0)
    _expanded.cache_clear()
    released = Path(__file__).parents[1] / "released_identities.json"
    # Code that a study imports is part of its identities: of Avalanche's bridge, its own modules
    # and the version of Avalanche that is installed.
    ours = [path for path in SHIPPED if "\nlearner = " not in path.read_text("utf-8")]
    found = {str(path.relative_to(CONFIGS)): _identities(path) for path in ours}
    _expanded.cache_clear()
    assert found == json.loads(released.read_text("utf-8"))


def _identities(path: Path) -> str:
    study = stored_study(path)
    lines = [study_identity(study)]
    for configuration in examples(study):
        keys = [
            key_of(study.conditions, configuration.start, 1)
            for key_of in (planning.source_key, planning.statistics_key, planning.finetuned_key)
        ]
        lines.append(" ".join((configuration.label, configuration.id, *keys)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
