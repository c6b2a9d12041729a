"""Stages on disk: whole or absent, checked when read, never unpickled."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from clsweep import cache
from clsweep.errors import CacheError

TENSORS = {"params|w": torch.arange(6.0).reshape(2, 3), "params|b": torch.zeros(0)}
FACTS = {"n_steps": 3, "rows": [[0, 0, "test", 1, 2]]}


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    cache.commit(tmp_path, "abc", TENSORS, FACTS)
    return tmp_path / "abc"


def test_a_stage_comes_back_as_it_was(stage: Path) -> None:
    entry = cache.load(stage.parent, "abc")
    assert entry.facts == FACTS == cache.facts(stage.parent, "abc")
    assert entry.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(entry.tensors[name], value)


def test_nothing_but_the_stage_is_left_in_the_folder(stage: Path) -> None:
    assert [p.name for p in stage.parent.iterdir()] == ["abc"]


def test_the_first_commit_of_a_key_stays(stage: Path) -> None:
    cache.commit(stage.parent, "abc", {"params|w": torch.ones(1)}, {"n_steps": 99})
    assert cache.facts(stage.parent, "abc") == FACTS
    assert [p.name for p in stage.parent.iterdir()] == ["abc"]


def test_a_stage_without_its_marker_does_not_exist(stage: Path) -> None:
    assert cache.exists(stage.parent, "abc")
    (stage / "stage.json").unlink()
    assert not cache.exists(stage.parent, "abc")


def test_what_is_left_of_a_stage_does_not_block_a_new_one(stage: Path) -> None:
    (stage / "stage.json").unlink()
    cache.commit(stage.parent, "abc", TENSORS, FACTS)
    cache.check(stage.parent, "abc")
    assert [p.name for p in stage.parent.iterdir()] == ["abc"]


def test_half_a_stage_does_not_keep_a_full_disk_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="No space left"):
        cache.commit(tmp_path, "abc", TENSORS, FACTS)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_behind_does_not_block_the_next(tmp_path: Path) -> None:
    left = tmp_path / f".abc-{os.uname().nodename}-{os.getpid()}"
    left.mkdir()
    (left / "tensors.safetensors").write_bytes(b"half")
    cache.commit(tmp_path, "abc", TENSORS, FACTS)
    cache.check(tmp_path, "abc")


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda stage: flip(stage / "tensors.safetensors", -1),
        lambda stage: flip(stage / "tensors.safetensors", 0),
        lambda stage: (stage / "tensors.safetensors").write_bytes(b""),
        lambda stage: (stage / "tensors.safetensors").unlink(),
        lambda stage: (stage / "stage.json").write_text('{"facts": {'),
        lambda stage: (stage / "stage.json").write_text("[]"),
        lambda stage: (stage / "stage.json").write_text('{"facts": {}}'),
        lambda stage: (stage / "stage.json").write_bytes(b"\xff\xfe"),
        lambda stage: shutil.rmtree(stage),
    ],
    ids="bit,header,empty,gone,cut,list,no-checksum,not-text,folder".split(","),
)
def test_damage_is_found_and_the_folder_named(stage: Path, damage) -> None:
    damage(stage)
    for read in (cache.check, cache.load):
        with pytest.raises(CacheError, match="damaged") as error:
            read(stage.parent, "abc")
        assert str(stage) in str(error.value)
        assert "delete that folder" in str(error.value)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("a file")
    with pytest.raises(CacheError, match="cannot be written"):
        cache.commit(tmp_path / "stages", "abc", TENSORS, FACTS)
