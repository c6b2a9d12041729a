"""A results folder on a file server: what other nodes replace and take away meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsweep.errors import StoreError
from clsweep.storage.compaction import contents_of
from clsweep.storage.local_folder import LocalFolder


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    (tmp_path / "records").mkdir()
    for name in ("a.json", "a.attempts", ".b.json.1.tmp"):
        (tmp_path / "records" / name).write_text(name)
    return LocalFolder(tmp_path)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[str]]:
    """Has the first questions for a file's status refused; returns the names asked for."""
    real = os.stat

    def refused(number: int, times: int) -> list[str]:
        asked: list[str] = []

        def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
            if "records" in str(path):
                asked.append(os.path.basename(path))
                if len(asked) <= times:
                    raise OSError(number, os.strerror(number), str(path))
            return real(path, *args, **options)

        monkeypatch.setattr(os, "stat", stat)
        return asked

    return refused


def test_a_file_that_was_replaced_is_asked_for_once_more(
    folder: LocalFolder, refuse: Callable[[int, int], list[str]]
) -> None:
    stamp = folder.stamp("records/a.json")
    refuse(errno.ESTALE, 1)
    assert folder.stamp("records/a.json") == stamp
    refuse(errno.ESTALE, 1)
    assert folder.stamps(["records/a.json"]) == {"records/a.json": stamp}
    refuse(errno.ESTALE, 1)
    assert [one.stamp for one in folder.listed("records", (".json",))] == [stamp]


def test_a_file_that_stays_stale_counts_as_gone(
    folder: LocalFolder, refuse: Callable[[int, int], list[str]]
) -> None:
    refuse(errno.ESTALE, 100)
    assert folder.listed("records", (".json", ".attempts")) == []
    assert folder.stamps(["records/a.json"]) == {}
    with pytest.raises(FileNotFoundError):
        folder.stamp("records/a.json")


def test_whatever_else_hinders_is_told(
    folder: LocalFolder, refuse: Callable[[int, int], list[str]]
) -> None:
    refuse(errno.EIO, 100)
    for ask in (
        lambda: folder.listed("records", (".attempts",)),
        lambda: folder.stamps(["records/a.attempts"]),
        lambda: folder.stamp("records/a.attempts"),
    ):
        with pytest.raises(StoreError, match="a file of the folder cannot be read: ") as caught:
            ask()
        assert str(folder.place / "records" / "a.attempts") in str(caught.value)


def test_only_files_that_are_wanted_are_asked_for(
    folder: LocalFolder, refuse: Callable[[int, int], list[str]]
) -> None:
    asked = refuse(errno.EIO, 0)
    assert [one.name for one in folder.listed("records", (".json",))] == asked == ["a.json"]
    asked = refuse(errno.EIO, 0)
    found = [one.name for one in folder.listed("records", (".json", ".attempts"))]
    assert found == sorted(asked) == ["a.attempts", "a.json"]


def test_records_that_are_no_folder_are_no_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("")
    with pytest.raises(StoreError, match="a folder cannot be listed: Not a directory"):
        contents_of(LocalFolder(tmp_path), [], read_only=True)
