"""What files hold: computed once, and again whenever a size or a time differs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clsweep.data import fingerprints
from clsweep.data.fingerprints import cache_file, combined, file_hash, remembered

LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "_KNOWN", {})
    return tmp_path / "cache" / "clsweep" / "fingerprints.json"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def reader(file: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[], str], list[str]]:
    """A look at the file as a new process takes it, and what was read so far."""
    read: list[str] = []

    def compute() -> str:
        read.append(file.read_text())
        return read[-1]

    def look() -> str:
        monkeypatch.setattr(fingerprints, "_KNOWN", {})
        found: str = remembered("test", [file], compute)
        return found

    return look, read


def test_a_hash_is_that_of_the_content(file: Path) -> None:
    assert file_hash(file, "md5") == "900150983cd24fb0d6963f7d28e17f72"
    assert file_hash(file).startswith("ba7816bf8f01cfea")


def test_the_order_of_parts_does_not_matter_and_their_names_do() -> None:
    assert combined({"a": "1", "b": "2"}) == combined({"b": "2", "a": "1"})
    assert combined({"a": "1", "b": "2"}) != combined({"a": "2", "b": "1"})
    assert len(combined({})) == 24


def test_a_second_process_reads_no_file_that_is_known(file, monkeypatch, cache) -> None:
    look, read = reader(file, monkeypatch)
    assert look() == look() == "abc"
    assert read == ["abc"]
    assert cache.is_file()


def test_a_process_reads_a_file_once_where_nothing_can_be_cached(file, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/clsweep-tests")
    read: list[int] = []
    for _ in range(2):
        remembered("test", [file], lambda: read.append(1))
    assert read == [1]


@pytest.mark.parametrize("change", ["size", "time", "both times put back", "name"])
def test_a_file_that_may_have_changed_is_read_again(change, file, monkeypatch) -> None:
    look, read = reader(file, monkeypatch)
    look()
    if change == "size":
        file.write_bytes(b"abcd")
    elif change == "time":
        file.write_bytes(b"xyz")
    elif change == "both times put back":  # as rsync and cp -p do
        file.write_bytes(b"xyz")
        os.utime(file, (LONG_AGO, LONG_AGO))
    else:
        file.rename(file.with_name("other"))
        remembered("test", [file.with_name("other")], lambda: read.append("xyz"))
        assert read == ["abc", "xyz"]
        return
    assert look() == read[1] == file.read_text()


def test_a_file_that_was_written_just_now_is_not_remembered(file, monkeypatch, cache) -> None:
    os.utime(file)
    look, read = reader(file, monkeypatch)
    look()
    look()
    assert read == ["abc", "abc"]
    assert not cache.exists()


def test_another_version_of_what_is_computed_is_computed(file) -> None:
    assert remembered("test", [file], lambda: "first", 1) == "first"
    assert remembered("test", [file], lambda: "second", 2) == "second"


@pytest.mark.parametrize(
    "content", [b"", b"no JSON", b"[]", b'{"format": 1}', b'{"format": 1, "entries": {"test": 3}}']
)
def test_a_cache_that_is_none_is_no_mistake(content, file, cache, monkeypatch) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content)
    look, read = reader(file, monkeypatch)
    assert look() == look() == "abc"
    assert read == ["abc"]
    assert json.loads(cache.read_bytes())["format"] == 1


def test_the_cache_stays_small(file, cache) -> None:
    for n in range(100):
        remembered(f"test {n}", [file], lambda: "abc")
    entries = json.loads(cache.read_bytes())["entries"]
    assert len(entries) == 64
    assert "test 99" in entries


def test_a_relative_cache_folder_and_no_home_are_passed_over(monkeypatch, file) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_file() == Path("/home/somebody/.cache/clsweep/fingerprints.json")

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert cache_file() is None
    assert remembered("test", [file], lambda: "abc") == "abc"
