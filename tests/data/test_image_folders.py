"""Folders of images: all mistakes in one message, what stands there twice, one size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torchvision.transforms.functional as reference
from PIL import Image
from torchvision.transforms import InterpolationMode

from clsweep.data import fingerprints, image_folders, kept_pixels
from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import AS_STORED, Framing
from clsweep.data.datasets import load
from clsweep.data.image_decoding import Picture
from clsweep.data.image_folders import folder_listing, framed, survey
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.errors import StudyError


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    load.cache_clear()
    yield
    load.cache_clear()


def noise(seed: int, shape: tuple[int, ...] = (6, 8, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def put(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three training images and two test images each, all different."""
    path = tmp_path / "pets"
    for c, label in enumerate(("cat", "dog")):
        for i in range(3):
            put(path / "train" / label / f"{i}.png", noise(10 * c + i))
        for i in range(2):
            put(path / "test" / label / f"{i}.png", noise(100 + 10 * c + i))
    return path


def message(path: Path, framing: Framing = AS_STORED) -> str:
    with pytest.raises(StudyError) as caught:
        survey(path, framing)
    return str(caught.value)


def test_a_sound_folder_has_nothing_to_note(folder: Path) -> None:
    assert survey(folder) == ((3, 6, 8), (), False)
    assert folder_listing(folder).notes == ()


def test_all_unusable_images_are_in_one_message(folder: Path) -> None:
    (folder / "train/cat/1.png").write_text("no image", encoding="utf-8")
    whole = put(folder / "train/dog/2.png", noise(5, (64, 64, 3)))
    whole.write_bytes(whole.read_bytes()[:4000])
    Image.fromarray(noise(1)[..., 0].astype(np.float32)).save(
        folder / "test/cat/0.png", format="TIFF"
    )
    frames = [Image.fromarray(noise(seed)) for seed in (1, 2)]
    frames[0].save(folder / "test/dog/1.gif", save_all=True, append_images=frames[1:])
    text = message(folder)
    for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/0.png", "test/dog/1.gif"):
        assert name in text
    assert text.startswith("4 images of the folder cannot be used")
    assert "test/dog/0.png" not in text


def test_a_hundred_broken_images_are_counted(folder: Path) -> None:
    for i in range(300):
        (folder / f"train/cat/broken_{i:03d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    text = message(folder)
    assert text.startswith("300 images of the folder")
    assert "broken_000.png" in text
    assert "more" in text
    assert "[..." not in text


def test_all_images_of_another_size_are_in_one_message(folder: Path) -> None:
    put(folder / "train/cat/1.png", noise(50, (6, 9, 3)))
    put(folder / "test/dog/0.png", noise(51, (6, 9, 3)))
    put(folder / "test/cat/0.png", noise(52, (7, 7, 3)))
    text = message(folder)
    assert "7 of 8x6 pixels, 2 of 9x6 (train/cat/1.png, test/dog/0.png), 1 of 7x7" in text
    assert "resize = 6 and crop = 6" in text


@pytest.mark.parametrize("part", ["train/cat", "test/dog"])
@pytest.mark.parametrize("name", ["a.heic", "a.SVG", "a.psd"])
def test_pictures_that_would_not_be_read_are_refused(folder: Path, part: str, name: str) -> None:
    (folder / part / name).write_bytes(b"")
    with pytest.raises(StudyError, match=rf"1 picture .*{part}/{name}[^$]*move them"):
        folder_listing(folder)


def test_folders_in_class_folders_are_refused(folder: Path) -> None:
    put(folder / "train/cat/more/0.png", noise(3))
    with pytest.raises(StudyError, match=r"train/cat/more"):
        folder_listing(folder)


def test_what_is_no_picture_is_passed_over(folder: Path) -> None:
    for name in ("notes.txt", "Thumbs.db", ".hidden.png", "labels.json", "empty"):
        (folder / "train/cat" / name).write_bytes(b"")
    (folder / "train/cat/.cache").mkdir()
    (folder / "train/cat/masks").mkdir()
    assert len(folder_listing(folder).train[0]) == 3


def test_what_lies_beside_the_classes_is_noted(folder: Path) -> None:
    put(folder / "train/overview.png", noise(3))
    put(folder / "val/images/0.png", noise(4))
    stray, val = folder_listing(folder).notes
    assert "train/overview.png" in stray
    assert "pets/val is not read" in val
    assert "unless val/ has folders of the same classes" in val


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_part_is_listed_and_read(folder: Path, name: str) -> None:
    put(folder / name / "cat/0.png", noise(4))
    listing = folder_listing(folder)
    assert not listing.notes
    assert [len(files) for files in listing.validation] == [1, 0]
    assert [*listing.parts] == ["train", name, "test"]
    spec = dataset_spec(f"folder:{folder}", None)
    assert spec.validation_counts == (1, 0)
    data = load(f"folder:{folder}", None)
    assert (data.n_train, data.n_validation, len(data.test_labels)) == (6, 1, 4)
    assert np.array_equal(data.images[6].numpy(), noise(4).transpose(2, 0, 1))
    assert data.labels[6] == 0


def test_a_validation_part_that_does_not_fit_is_refused(folder: Path) -> None:
    put(folder / "val/cat/0.png", noise(4))
    put(folder / "val/horse/0.png", noise(5))
    with pytest.raises(StudyError, match=r"val/ holds classes that train/ lacks: \['horse'\]"):
        folder_listing(folder)
    shutil.rmtree(folder / "val/horse")
    (folder / "val/cat/a.heic").write_bytes(b"")
    with pytest.raises(StudyError, match=r"1 picture .*val/cat/a.heic"):
        folder_listing(folder)
    (folder / "val/cat/a.heic").unlink()
    put(folder / "valid/cat/0.png", noise(4))
    with pytest.raises(StudyError, match="several folders of validation images: val, valid"):
        folder_listing(folder)


def test_a_validation_image_among_the_training_images_is_noted(folder: Path) -> None:
    (folder / "val/cat").mkdir(parents=True)
    shutil.copy(folder / "train/cat/1.png", folder / "val/cat/1.png")
    (note,) = survey(folder).notes
    assert note.startswith("1 validation image of pets in train/ too")


def test_the_same_picture_in_both_parts_is_noted(folder: Path) -> None:
    Image.open(folder / "train/cat/1.png").save(
        folder / "test/cat/1.bmp"
    )  # other bytes, same look
    (note,) = survey(folder).notes
    assert note.startswith("1 of 5 test images of pets stand in train/ too")
    assert "test/cat/1.bmp is train/cat/1.png" in note


def test_the_same_picture_under_two_classes_and_twice_in_training(folder: Path) -> None:
    put(folder / "train/dog/9.png", noise(1))
    labels, train = survey(folder).notes
    assert "1 picture under two classes in pets: train/dog/9.png is train/cat/1.png" in labels
    assert "1 training image of pets repeated" in train


def test_a_change_of_the_files_is_noticed(folder: Path) -> None:
    assert survey(folder).notes == ()
    put(folder / "test/cat/0.png", noise(1))
    assert len(survey(folder).notes) == 1


def test_images_that_all_show_the_same_are_refused(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        put(file, np.zeros((6, 8, 3), np.uint8))
    assert "show exactly the same" in survey(folder).notes[0]
    with pytest.raises(StudyError, match="all images show exactly the same"):
        load(f"folder:{folder}", None)


def test_deep_images_that_use_a_few_levels_are_refused(folder: Path) -> None:
    for seed, file in enumerate(sorted(folder.rglob("*.png"))):
        values = np.random.default_rng(seed).integers(0, 4096, (6, 8)).astype(np.uint16)
        Image.fromarray(values).save(file)
    assert "almost black" in message(folder)


def test_deep_images_are_read_over_their_range(folder: Path) -> None:
    for seed, file in enumerate(sorted(folder.rglob("*.png"))):
        values = np.random.default_rng(seed).integers(0, 65536, (6, 8)).astype(np.uint16)
        Image.fromarray(values).save(file)
    images = load(f"folder:{folder}", None).images
    assert tuple(images.shape) == (10, 1, 6, 8)
    assert images.max() - images.min() > 200


# ----------------------------------------------------------------------------------------- framing


@pytest.mark.parametrize("size", [(6, 8), (31, 17), (5, 5), (40, 64)])
@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("framing", [Framing(8, 0), Framing(8, 8), Framing(0, 5), Framing(7, 4)])
def test_framing_is_that_of_torchvision(
    size: tuple[int, int], n_channels: int, framing: Framing
) -> None:
    pixels = noise(1, (n_channels, *size))
    image = Image.fromarray(pixels[0] if n_channels == 1 else pixels.transpose(1, 2, 0))
    if framing.resize:
        image = reference.resize(image, framing.resize, InterpolationMode.BILINEAR)
    if framing.crop:
        image = reference.center_crop(image, [framing.crop])
    expected = np.asarray(image)
    expected = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
    assert np.array_equal(framed(Picture(pixels, False, 1), framing), expected)


def test_images_of_any_size_become_squares(folder: Path) -> None:
    put(folder / "train/cat/1.png", noise(50, (20, 12, 3)))
    config = SplitBenchmark(
        dataset=f"folder:{folder}", scenario="class", resize=6, crop=6, validation_fraction=0.3
    )
    assert dataset_spec(config.dataset, None, config.framing).shape == (3, 6, 6)
    assert [size.n_test for size in benchmark_sizes(config, None)] == [2, 2]
    assert tuple(load(config.dataset, None, config.framing).images.shape) == (10, 3, 6, 6)


def test_a_crop_that_is_too_large_names_the_images(folder: Path) -> None:
    text = message(folder, Framing(0, 7))
    assert "10 images" in text
    assert "8x6 pixels is smaller than crop = 7" in text


def test_resizing_alone_may_leave_sizes_unequal(folder: Path) -> None:
    put(folder / "train/cat/1.png", noise(50, (20, 12, 3)))
    assert "crop = 6 in [benchmark] cuts squares" in message(folder, Framing(6, 0))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"dataset": "mnist", "resize": 8}, "those of mnist have one size"),
        ({"dataset": "folder:pets", "resize": 8, "crop": 9}, "crop = 9 is more than"),
    ],
)
def test_framing_that_means_nothing(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SplitBenchmark(**values)


def test_a_link_to_nowhere_is_named(folder: Path) -> None:
    (folder / "train/cat/7.png").symlink_to(folder / "gone.png")
    (folder / "test/dog/8.png").write_bytes(b"")
    text = message(folder)
    assert text.startswith("2 images of the folder cannot be used")
    assert "train/cat/7.png" in text
    assert "test/dog/8.png" in text


def test_a_survey_is_remembered_for_the_next_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for file in [*folder.rglob("*.png")]:
        os.utime(file, (1e9, 1e9))  # settled
    first = survey(folder)
    monkeypatch.setattr(fingerprints, "_KNOWN", {})
    monkeypatch.setattr(image_folders, "picture", None)  # nothing is decoded again
    assert survey(folder) == first
    monkeypatch.undo()
    put(folder / "test/cat/0.png", noise(1))
    assert survey(folder) != first


def test_kept_pixels_are_those_of_the_images(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "val" / "cat" / "0.png", noise(50))
    for file in folder.rglob("*.png"):
        os.utime(file, (1e9, 1e9))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = []
    for few in (1000, 0, 0):
        monkeypatch.setattr(kept_pixels, "_FEW_IMAGES", few)
        load.cache_clear()
        found.append(load("folder:pets", tmp_path))
    assert len([*tmp_path.glob("cache/clsweep/pixels/*.npy")]) == 1
    in_memory, *kept = found
    for data in kept:
        assert data[2:5] == in_memory[2:5] == (6, 2, 1)
        assert (data.images == in_memory.images).all()
        assert (data.labels == in_memory.labels).all()
    assert in_memory.labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1]
