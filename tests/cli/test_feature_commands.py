"""`clsweep features`: what it prints is what a study needs, and mistakes are one message."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsweep.data.dataset_lookup import dataset_spec
from clsweep.execution import frozen_features
from clsweep.study.toml_files import tomllib
from tests.support.command_line import CommandLine

SOURCE = """
from torch import nn

def build(input_shape):
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
"""
OWN = ("--backbone", "cli_backbone:build", "--out", "f")


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    (tmp_path / "cli_backbone.py").write_text(SOURCE)
    monkeypatch.delitem(sys.modules, "cli_backbone", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)


def test_it_says_what_there_is_and_the_line_for_a_study(cli: CommandLine) -> None:
    ran = cli("features", "digits", *OWN)
    assert ran.code == 0, ran.err
    assert ran.out.startswith(
        "features of digits: 1,297 train, 500 test, 4 numbers each; 1,797 computed\n"
    )
    assert "clsweep: 1,797/1,797 images\n" in ran.err
    name = tomllib.loads(ran.out.splitlines()[1])["dataset"]
    spec = dataset_spec(name, None)
    assert (spec.n_train, spec.n_test, spec.n_classes, spec.shape) == (1297, 500, 10, (4,))
    again = cli("features", "digits", *OWN)
    assert again.code == 0
    assert "all there, none computed" in again.out
    assert not again.err


def test_a_study_names_the_data_set_and_the_size_of_its_images(
    cli: CommandLine, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        for label in range(4):
            folder = tmp_path / "below" / "photos" / part / str(label)
            folder.mkdir(parents=True)
            for i in range(3):
                Image.new("L", (9 + i, 8), 40 * i + 10 * label).save(folder / f"{i}.png")
    (tmp_path / "below" / "study.toml").write_text(
        'name = "photos"\n[benchmark]\nname = "split"\nn_tasks = 2\n'
        'dataset = "folder:photos"\nresize = 6\ncrop = 4\n[[methods]]\nname = "finetune"\n'
    )
    ran = cli("features", "below/study.toml", *OWN, "-q")
    assert ran.code == 0, ran.err
    x = np.load("f/train_x.npy")
    np.testing.assert_allclose(sorted(x[:, 0] * 255), range(0, 120, 10), atol=1e-4)


def test_a_study_of_several_data_sets_is_refused(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "pair.toml").write_text(
        'name = "pair"\n[benchmark]\nname = "sequence"\n'
        'datasets = ["digits", "arrays:own"]\n[[methods]]\nname = "finetune"\n'
    )
    (tmp_path / "own").mkdir()
    for part in ("train", "test"):
        np.save(
            f"own/{part}_x.npy",
            np.arange(20 * 64, dtype=np.uint16).astype(np.uint8).reshape(20, 1, 8, 8),
        )
        np.save(f"own/{part}_y.npy", np.arange(20) % 10)
    ran = cli("features", "pair.toml", *OWN)
    assert ran.code == 2
    assert "the study names several data sets: digits, arrays:" in ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nodigits",), "unknown data set 'nodigits'"),
        (("digits", "--pixels", "imagnet"), "did you mean 'imagenet'?"),
        (("digits", "--device", "tpu"), "--device tpu is not known"),
        (("digits", "--weights", "none.pth"), "there is no file 'none.pth'"),
        (("digits", "--crop", "9"), "an image of 8x8 pixels is smaller than --crop 9"),
    ],
)
def test_mistakes_are_one_message(cli: CommandLine, words: tuple[str, ...], message: str) -> None:
    ran = cli("features", *words, *OWN)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert not Path("f/features.json").exists()


def test_what_is_interrupted_says_how_to_go_on(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(frozen_features, "features_of", interrupted)
    ran = cli("features", "digits", *OWN)
    assert ran.code == 130
    assert ran.err == "clsweep: stopped; the same command goes on from here\n"
