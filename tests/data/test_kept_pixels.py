"""Decoded pixels: kept once for all processes, anew where the files changed, never half."""

from __future__ import annotations

import errno
import os
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clsweep.data import kept_pixels
from clsweep.data.kept_pixels import Images, pixels_of

SHAPE = (1, 2, 3)


class Decoder:
    """Pixels from files of their values; counts what it decodes."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, file: Path) -> NDArray[np.uint8]:
        self.n += 1
        return np.frombuffer(file.read_bytes(), np.uint8).reshape(SHAPE)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pixels are kept; also those of a few images, whose files are old enough."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_pixels, "_FEW_IMAGES", 0)
    return tmp_path / "cache" / "clsweep" / "pixels"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Four images of an hour ago."""
    found = []
    for row in range(4):
        file = tmp_path / f"{row}.raw"
        file.write_bytes(bytes(range(6 * row, 6 * row + 6)))
        os.utime(file, (1e9, 1e9))
        found.append(file)
    return found


def images_of(files: list[Path], decoded: Decoder) -> Images:
    return Images("folder 0 0", files, SHAPE, 1, decoded)


EXPECTED = np.arange(24, dtype=np.uint8).reshape(4, *SHAPE)


def test_images_are_decoded_once_and_a_write_stays_private(files: list[Path], cache: Path) -> None:
    first, second = Decoder(), Decoder()
    pixels = pixels_of(images_of(files, first))
    pixels[0] = 255
    again = pixels_of(images_of(files, second))
    np.testing.assert_array_equal(again, EXPECTED)
    assert isinstance(again, np.memmap)
    assert (first.n, second.n) == (4, 0)
    assert [path.suffix for path in cache.iterdir()] == [".npy"], "no lock, nothing half"


def test_of_several_at_once_one_decodes(files: list[Path]) -> None:
    decoder = Decoder()
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(pixels_of, [images_of(files, decoder)] * 4)]
    assert decoder.n == 4
    for pixels in found:
        np.testing.assert_array_equal(pixels, EXPECTED)


def test_a_changed_file_is_decoded_again_and_the_old_pixels_go(
    files: list[Path], cache: Path
) -> None:
    pixels_of(images_of(files, Decoder()))
    files[1].write_bytes(bytes(6))
    os.utime(files[1], (1.1e9, 1.1e9))
    decoder = Decoder()
    assert pixels_of(images_of(files, decoder))[1].sum() == 0
    assert decoder.n == 4
    assert len([*cache.iterdir()]) == 1


def test_a_file_that_was_written_a_moment_ago_is_not_kept(files: list[Path], cache: Path) -> None:
    files[0].touch()
    np.testing.assert_array_equal(pixels_of(images_of(files, Decoder())), EXPECTED)
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["cut short", "another byte"])
def test_damaged_pixels_are_never_used(files: list[Path], cache: Path, damage: str) -> None:
    pixels_of(images_of(files, Decoder()))
    (kept,) = cache.iterdir()
    data = kept.read_bytes()
    kept.write_bytes(data[:-1] if damage == "cut short" else data[:-1] + b"\0")
    np.testing.assert_array_equal(pixels_of(images_of(files, Decoder())), EXPECTED)
    (kept,) = cache.iterdir()
    assert kept.read_bytes() == data


@pytest.mark.parametrize("trouble", ["no room", "full", "a file in its place", "no home"])
def test_what_cannot_be_kept_is_decoded_into_memory(
    files: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    if trouble == "no room":
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(kept_pixels.shutil, "disk_usage", lambda path: usage(99, 4, 95))
    elif trouble == "full":

        def refuse(handle: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(kept_pixels.os, "fsync", refuse)
    elif trouble == "a file in its place":
        cache.parent.mkdir(parents=True)
        cache.write_text("", encoding="utf-8")
    else:
        monkeypatch.setattr(kept_pixels, "cache_file", lambda: None)
    pixels = pixels_of(images_of(files, Decoder()))
    np.testing.assert_array_equal(pixels, EXPECTED)
    assert not isinstance(pixels, np.memmap)
    assert not cache.is_dir() or [*cache.iterdir()] == []


def test_half_a_file_of_a_killed_process_goes(files: list[Path], cache: Path) -> None:
    pixels_of(images_of(files, Decoder()))
    (kept,) = cache.glob("*.npy")
    own = kept.name.split(".")[0]
    (cache / f".making-{own}-killed").write_bytes(b"half")
    (cache / ".making-other-at-work").write_bytes(b"half")
    kept.unlink()
    pixels_of(images_of(files, Decoder()))
    assert [path.name for path in cache.glob(".making-*")] == [".making-other-at-work"]


def test_images_that_change_while_they_are_decoded_are_not_kept(
    files: list[Path], cache: Path
) -> None:
    class Disturbed(Decoder):
        def __call__(self, file: Path) -> NDArray[np.uint8]:
            if self.n == 2:
                files[0].write_bytes(bytes(6))
                os.utime(files[0], (2e9, 2e9))
            return super().__call__(file)

    found = pixels_of(images_of(files, Disturbed()))
    assert not found[0].any(), "decoded anew"
    assert [*cache.glob("*.npy")] == [*cache.glob(".making-*")] == []
