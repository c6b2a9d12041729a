"""Stages on disk: whole or absent, checked when read, never unpickled."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from clsweep.errors import CacheError
from clsweep.execution import stage_cache

TENSORS = {"params|w": torch.arange(6.0).reshape(2, 3), "params|b": torch.zeros(0)}
FACTS = {"n_steps": 3, "rows": [[0, 0, "test", 1, 2]]}


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    stage_cache.commit(tmp_path, "abc", TENSORS, FACTS)
    return tmp_path / "abc"


def test_a_stage_comes_back_as_it_was(stage: Path) -> None:
    entry = stage_cache.load(stage.parent, "abc")
    assert entry.facts == FACTS == stage_cache.facts(stage.parent, "abc")
    assert entry.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(entry.tensors[name], value)


def test_nothing_but_the_stage_is_left_in_the_folder(stage: Path) -> None:
    assert [p.name for p in stage.parent.iterdir()] == ["abc"]


def test_the_first_commit_of_a_key_stays(stage: Path) -> None:
    stage_cache.commit(stage.parent, "abc", {"params|w": torch.ones(1)}, {"n_steps": 99})
    assert stage_cache.facts(stage.parent, "abc") == FACTS
    assert [p.name for p in stage.parent.iterdir()] == ["abc"]


def test_a_stage_without_its_marker_does_not_exist(stage: Path) -> None:
    assert stage_cache.exists(stage.parent, "abc")
    (stage / "stage.json").unlink()
    assert not stage_cache.exists(stage.parent, "abc")


def test_what_is_left_of_a_stage_does_not_block_a_new_one(stage: Path) -> None:
    (stage / "stage.json").unlink()
    stage_cache.commit(stage.parent, "abc", TENSORS, FACTS)
    stage_cache.check(stage.parent, "abc")
    assert [p.name for p in stage.parent.iterdir()] == ["abc"]


def test_half_a_stage_does_not_keep_a_full_disk_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="No space left"):
        stage_cache.commit(tmp_path, "abc", TENSORS, FACTS)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_behind_does_not_block_the_next(tmp_path: Path) -> None:
    left = tmp_path / f".abc-{os.uname().nodename}-{os.getpid()}"
    left.mkdir()
    (left / "tensors.safetensors").write_bytes(b"half")
    stage_cache.commit(tmp_path, "abc", TENSORS, FACTS)
    stage_cache.check(tmp_path, "abc")


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
    for read in (stage_cache.check, stage_cache.load):
        with pytest.raises(CacheError, match="damaged") as error:
            read(stage.parent, "abc")
        assert str(stage) in str(error.value)
        assert "delete that folder" in str(error.value)


def marked(stage: Path, **changes: object) -> None:
    """Change what a stage says of itself; None takes a key away."""
    path = stage / "stage.json"
    marker = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in marker.items() if v is not None}))


def test_a_stage_of_a_release_without_checksums_of_facts_is_read(stage: Path) -> None:
    marked(stage, key=None, facts_sha256=None)
    assert (
        stage_cache.load(stage.parent, "abc").facts
        == FACTS
        == stage_cache.facts(stage.parent, "abc")
    )


def test_every_flipped_bit_of_the_marker_is_found_or_changes_nothing(stage: Path) -> None:
    path = stage / "stage.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                found = stage_cache.load(stage.parent, "abc")
            except CacheError:
                continue
            assert found.facts == FACTS, (position, bit)


def test_facts_that_were_changed_are_damage(stage: Path) -> None:
    marked(stage, facts={**FACTS, "n_steps": 4})
    for read in (stage_cache.check, stage_cache.load, stage_cache.facts):
        with pytest.raises(CacheError, match="checksum"):
            read(stage.parent, "abc")


def test_a_stage_under_the_name_of_another_is_damage(stage: Path) -> None:
    shutil.copytree(stage, stage.with_name("def"))
    for read in (stage_cache.check, stage_cache.load, stage_cache.facts):
        with pytest.raises(CacheError, match="it is the stage abc"):
            read(stage.parent, "def")


@pytest.mark.parametrize(
    "facts", [[], "text", None, {"wall_seconds": "long"}, {"wall_seconds": None}, 3]
)
def test_facts_of_another_kind_are_damage(stage: Path, facts: object) -> None:
    marked(stage, facts_sha256=None)
    path = stage / "stage.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "facts": facts}))
    with pytest.raises(CacheError, match="damaged"):
        stage_cache.facts(stage.parent, "abc")


@pytest.mark.parametrize("content", [b"", b"8", b"\xff" * 64, b"\x02" + b"\0" * 7 + b"{}x"])
def test_tensors_that_somebody_else_wrote_with_a_fitting_checksum(
    stage: Path, content: bytes
) -> None:
    (stage / "tensors.safetensors").write_bytes(content)
    marked(stage, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(CacheError, match="damaged"):
        stage_cache.load(stage.parent, "abc")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("a file")
    with pytest.raises(CacheError, match="cannot be written"):
        stage_cache.commit(tmp_path / "stages", "abc", TENSORS, FACTS)
