"""Features as a cached stage: computed once, gone on with, refused where something else lies."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from fcntl import LOCK_EX, flock
from pathlib import Path

import numpy as np
import pytest
import torch

from clsweep.data.datasets import load
from clsweep.errors import StoreError, StudyError
from clsweep.execution import frozen_features
from clsweep.execution.frozen_features import FeatureArrays, FeatureRequest, compute_features

SOURCE = """
from torch import nn

def build(input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU())
"""
NAME = "small_backbone:build"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureRequest:
    (tmp_path / "small_backbone.py").write_text(SOURCE)
    monkeypatch.delitem(sys.modules, "small_backbone", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return FeatureRequest("digits", NAME, pixels="unit")


def test_every_image_has_its_row_in_the_part_that_it_is_of(
    asked: FeatureRequest, tmp_path: Path
) -> None:
    found = compute_features(asked, tmp_path / "f", None, batch_size=100)
    assert found == FeatureArrays(tmp_path / "f", {"train": 1297, "test": 500}, 7, 1797)
    digits = load("digits", None)
    module = frozen_features.backbone(NAME, None, 0, (1, 8, 8))
    with torch.no_grad():
        expected = module(digits.images.float() / 255)
    for part, rows in (("train", slice(None, 1297)), ("test", slice(1297, None))):
        x, y = (np.load(tmp_path / "f" / f"{part}_{which}.npy") for which in "xy")
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        np.testing.assert_allclose(x, expected[rows], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(y, digits.labels[rows])
    names = {"features.json", "train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy"}
    assert {p.name for p in (tmp_path / "f").iterdir() if p.name[0] != "."} == names


def test_the_same_again_computes_nothing(
    asked: FeatureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compute_features(asked, tmp_path / "f", None)
    monkeypatch.setattr(frozen_features, "features_of", None)
    assert compute_features(asked, tmp_path / "f", None) == first._replace(n_computed=0)


def test_what_was_interrupted_goes_on_where_it_was(
    asked: FeatureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "_NOTED_SECONDS", 0.0)
    told = []

    def until(n_images: int) -> None:
        def tell(n_done: int, n_all: int, seconds: float) -> None:
            told.append((n_done, n_all))
            if n_done >= n_images:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compute_features(asked, tmp_path / "f", None, batch_size=200, told=tell)

    until(600)  # within the training part
    assert not list((tmp_path / "f").glob("*.npy"))  # nothing that a study would read
    until(1497)  # within the test part
    last = compute_features(asked, tmp_path / "f", None, batch_size=200)
    assert told[-1] == (1497, 1797)
    assert last.n_computed == 300
    compute_features(asked, tmp_path / "whole", None, batch_size=200)
    for file in ("train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy", "features.json"):
        assert (tmp_path / "f" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_other_inputs_are_not_written_over(asked: FeatureRequest, tmp_path: Path) -> None:
    out = tmp_path / "f"
    compute_features(asked, out, None)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    other_seed = FeatureRequest("digits", NAME, seed=1, pixels="unit")
    with pytest.raises(StoreError, match=r"differ in weights \(there 'seed 0', here 'seed 1'\)"):
        compute_features(other_seed, out, None)
    (tmp_path / "small_backbone.py").write_text(SOURCE.replace("nn.ReLU()", "nn.Tanh()"))
    with pytest.raises(StoreError, match="differ in code"):
        compute_features(asked, out, None)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_weights_are_told_apart_by_what_they_hold(asked: FeatureRequest, tmp_path: Path) -> None:
    module = frozen_features.backbone(NAME, None, 5, (1, 8, 8))
    first, copied, other = (tmp_path / f"{name}.pth" for name in ("first", "copied", "other"))
    for path, factor in ((first, 1.0), (copied, 1.0), (other, 2.0)):
        torch.save({k: v * factor for k, v in module.state_dict().items()}, path)
    (tmp_path / "moved").mkdir()

    def of(path: Path) -> FeatureArrays:
        request = FeatureRequest("digits", NAME, path, pixels="unit")
        return compute_features(request, tmp_path / "f", None)

    assert of(first).n_computed == 1797
    assert of(first.rename(tmp_path / "moved" / "first.pth")).n_computed == 0
    with pytest.raises(StoreError, match="differ in weights"):
        of(other)
    with pytest.raises(StudyError, match="there is no file"):
        of(first)


def test_a_folder_with_other_files_is_left_alone(asked: FeatureRequest, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"other files: .*small_backbone\.py"):
        compute_features(asked, tmp_path, None)


def test_two_processes_do_not_compute_into_one_folder(
    asked: FeatureRequest, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    with (tmp_path / "f" / ".features.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        with pytest.raises(StoreError, match="another process"):
            compute_features(asked, tmp_path / "f", None)


@pytest.mark.parametrize("content", ["{", "[]", '{"inputs": null}'])
def test_a_damaged_note_is_not_trusted(
    content: str, asked: FeatureRequest, tmp_path: Path
) -> None:
    compute_features(asked, tmp_path / "f", None)
    note = tmp_path / "f" / "features.json"
    whole = json.loads(note.read_text())
    note.write_text(content)
    with pytest.raises(StoreError):
        compute_features(asked, tmp_path / "f", None)
    note.write_text(json.dumps(whole))
    (tmp_path / "f" / "test_y.npy").unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        compute_features(asked, tmp_path / "f", None)


def test_arrays_keep_their_own_validation_part_and_vectors_are_refused(
    asked: FeatureRequest, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    rng = np.random.default_rng(0)
    for part, n in (("train", 12), ("val", 4), ("test", 6)):
        np.save(tmp_path / f"own/{part}_x.npy", rng.normal(size=(n, 8, 8)).astype(np.float32))
        np.save(tmp_path / f"own/{part}_y.npy", np.arange(n) % 2)
    request = replace(asked, dataset=f"arrays:{tmp_path / 'own'}")
    found = compute_features(request, tmp_path / "f", None)
    assert found.n_examples == {"train": 12, "val": 4, "test": 6}
    module = frozen_features.backbone(NAME, None, 0, (1, 8, 8))
    x = torch.from_numpy(np.load(tmp_path / "own/val_x.npy"))[:, None]
    with torch.no_grad():
        np.testing.assert_allclose(np.load(tmp_path / "f/val_x.npy"), module(x), rtol=1e-6)
    with pytest.raises(StudyError, match="holds vectors of 7 numbers"):
        compute_features(
            replace(asked, dataset=f"arrays:{tmp_path / 'f'}"), tmp_path / "again", None
        )
