"""Folders of images: which files they hold, what is wrong with them, what stands there twice.

Every image is decoded once to see that it can be, that all have one size, and that no picture
stands in both parts. Without torch.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.data.dataset_specs import AS_STORED, Framing
from clsweep.data.fingerprints import remembered
from clsweep.data.image_decoding import DECODING, ENDINGS, UNREAD_ENDINGS, Picture, picture
from clsweep.errors import StudyError
from clsweep.text import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LAYOUT = "train/CLASS/*.png and test/CLASS/*.png (or another image format)"
# Of a name, and of what may be shown of many: an error has room for 1,500 characters.
_ROOM = 1100
# Raised when a survey says something else, so that none is remembered.
_VERSION = 1
# Fewer than this many of the 256 levels are used by images of more than 8 bits: they are dark.
_DARK = 32
_FEW = 3
# Names of the folder of a validation part.
_VALIDATION = ("val", "valid", "validation")


class FolderListing(NamedTuple):
    """The images of a folder, one tuple of files per class and part, in the order of their names.

    Attributes:
        classes: names of the classes, sorted; a label is a position in this tuple.
        train: files of `train/CLASS`, per class.
        test: files of `test/CLASS`, per class.
        notes: what lies there and is not read, a sentence each.
        validation: files of `val/CLASS`, per class, maybe none of some; empty without that folder.
        validation_folder: its name: 'val', 'valid' or 'validation'.
    """

    classes: tuple[str, ...]
    train: tuple[tuple[Path, ...], ...]
    test: tuple[tuple[Path, ...], ...]
    notes: tuple[str, ...] = ()
    validation: tuple[tuple[Path, ...], ...] = ()
    validation_folder: str = "val"

    @property
    def parts(self) -> dict[str, tuple[tuple[Path, ...], ...]]:
        """Files per class of every part, by the name of its folder."""
        own = {self.validation_folder: self.validation} if self.validation else {}
        return {"train": self.train, **own, "test": self.test}


class FolderSurvey(NamedTuple):
    """What all images of a folder have in common.

    Attributes:
        shape: (C, H, W) of every image; C is 1 where all are grey.
        notes: pictures that stand there twice, a sentence each.
        shows_nothing: all images are equal, pixel for pixel; a run refuses them.
    """

    shape: tuple[int, int, int]
    notes: tuple[str, ...]
    shows_nothing: bool = False


class _Facts(NamedTuple):
    """What is remembered of one image while the others are read."""

    file: Path
    part: str
    label: int
    size: tuple[int, int]
    is_grey: bool
    has_grey_mode: bool
    is_deep: bool
    brightest: int
    digest: bytes


# ----------------------------------------------------------------------------------- which files


def folder_listing(path: Path) -> FolderListing:
    """All image files below `path`; hidden files, and those that are no pictures, are passed over.

    Args:
        path: a folder with `train/CLASS/*` and `test/CLASS/*`, and maybe `val/CLASS/*`.

    Raises:
        StudyError: a part or an image is missing, the classes of the parts differ, or there are
            pictures that would not be read.
    """
    parts = {part: _class_files(path / part) for part in ("train", "test")}
    train, test = parts["train"], parts["test"]
    if train.keys() != test.keys():
        only = {part: sorted(parts[part].keys() - (train.keys() & test.keys())) for part in parts}
        raise StudyError(
            f"train/ and test/ hold different classes: only in train: {only['train']}, "
            f"only in test: {only['test']}",
            expected="the same class folders in both",
            where=str(path),
        )
    own = _validation_folder(path, train)
    _check_unread(path, train, ("train", "test", own) if own else ("train", "test"))
    found = _class_files(path / own) if own else {}
    if strange := sorted(found.keys() - train.keys()):
        raise StudyError(
            f"{own}/ holds classes that train/ lacks: {strange}",
            expected="class folders of train/ alone",
            where=str(path),
        )
    return FolderListing(
        tuple(train),
        tuple(train.values()),
        tuple(test.values()),
        tuple(_beside_notes(path, own)),
        tuple(found.get(label, ()) for label in train) if own else (),
        own or "val",
    )


def _validation_folder(path: Path, classes: Collection[str]) -> str:
    """Name of the folder of a validation part; '' where none has folders of classes.

    Raises:
        StudyError: there are several.
    """
    found = [
        name for name in _VALIDATION if any(_holds_pictures(path / name / c) for c in classes)
    ]
    if len(found) > 1:
        raise StudyError(
            f"several folders of validation images: {', '.join(found)}",
            expected="one of them",
            where=str(path),
        )
    return found[0] if found else ""


def _class_files(part: Path) -> dict[str, tuple[Path, ...]]:
    if not part.is_dir():
        raise StudyError(
            f"there is no folder '{part}'",
            expected=_LAYOUT,
            where="[benchmark]",
            next_step="a relative PATH is looked up beside the study file, then below the data "
            "root (--data-root DIR or CLSWEEP_DATA), or in the current folder where there is none",
        )
    classes = sorted(p.name for p in part.iterdir() if p.is_dir() and p.name[0] != ".")
    if not classes:
        raise StudyError("no class folders", expected=_LAYOUT, where=str(part))
    files = {name: tuple(_pictures(part / name, ENDINGS)) for name in classes}
    for name, found in files.items():
        if not found and not any(_pictures(part / name, UNREAD_ENDINGS)):
            endings = " ".join(sorted(ENDINGS))
            raise StudyError(
                "no images", expected=f"files ending in one of {endings}", where=str(part / name)
            )
    return files


def _pictures(folder: Path, endings: frozenset[str]) -> list[Path]:
    # Names, not paths: a class can have tens of thousands, and every command lists them.
    names = sorted(name for name in os.listdir(folder) if name[0] != ".")
    return [folder / name for name in names if os.path.splitext(name)[1].lower() in endings]


def _check_unread(path: Path, classes: Iterable[str], parts: Sequence[str]) -> None:
    """Refuse a folder with pictures that a class would silently lack."""
    named = [path / part / name for part in parts for name in classes]
    folders = [folder for folder in named if folder.is_dir()]
    unread = [file for folder in folders for file in _pictures(folder, UNREAD_ENDINGS)]
    if unread:
        endings = ", ".join(sorted({file.suffix.lower() for file in unread}))
        raise StudyError(
            f"{counted(len(unread), 'picture')} of a format that is not read ({endings}): "
            f"{_named(unread, path)}",
            expected="PNG, JPEG, TIFF, WebP or another format that `docs/data.md` lists",
            where=str(path),
            next_step="convert them, or move them out of the folder",
        )
    nested = [
        child
        for folder in folders
        for child in _folders_in(folder)
        if child.name[0] != "." and _holds_pictures(child)
    ]
    if nested:
        raise StudyError(
            f"folders of images inside of class folders: {_named(nested, path)}",
            expected=_LAYOUT,
            where=str(path),
            next_step="move their images into the class folders",
        )


def _folders_in(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [folder / name for name in sorted(e.name for e in entries if e.is_dir())]


def _holds_pictures(folder: Path) -> bool:
    return any(file.suffix.lower() in ENDINGS | UNREAD_ENDINGS for file in folder.rglob("*"))


def _beside_notes(path: Path, validation: str) -> Iterator[str]:
    for part in ("train", "test", *([validation] if validation else [])):
        if stray := _pictures(path / part, ENDINGS | UNREAD_ENDINGS):
            yield (
                f"{counted(len(stray), 'picture')} of {path.name}/{part} lie beside the class "
                f"folders and belong to no class: {_named(stray[:_FEW], path)}"
            )
    other = sorted(
        p.name
        for p in path.glob("val*")
        if p.is_dir() and p.name != validation and _holds_pictures(p)
    )
    if other:
        yield (
            f"{path.name}/{', '.join(other)} is not read: images for validation are "
            + (
                f"those of {validation}/"
                if validation
                else "drawn from train/, unless val/ has folders of the same classes"
            )
        )


# ------------------------------------------------------------------------------- what they hold


def survey(
    path: Path, framing: Framing = AS_STORED, listing: FolderListing | None = None
) -> FolderSurvey:
    """What a look at every image of a folder finds; no pixels are kept.

    Args:
        path: the folder.
        framing: how its images come to one size.
        listing: its files, if they are known already.

    Raises:
        StudyError: images that cannot be read, all of them in one message; images of unequal
            size; or none that differ.
    """
    listed = listing or folder_listing(path)
    files = [file for part in listed.parts.values() for label in part for file in label]

    def compute() -> list[Any]:
        return list(_surveyed(path, framing, listed))

    try:
        key = f"survey {path.resolve()} {framing.resize} {framing.crop}"
        found = remembered(key, files, compute, [_VERSION, DECODING])
    except FileNotFoundError:  # a link to nowhere, which is named with all else that is wrong
        found = compute()
    shape, notes, shows_nothing = found
    return FolderSurvey(tuple(shape), tuple(notes), shows_nothing)


def _surveyed(path: Path, framing: Framing, listing: FolderListing) -> FolderSurvey:
    facts: list[_Facts] = []
    known: dict[tuple[int, int], _Facts] = {}  # of one file under several names
    reasons: dict[str, list[Path]] = defaultdict(list)
    for part, classes in listing.parts.items():
        for label, files in enumerate(classes):
            for file in files:
                try:
                    found = file.stat()
                    place = (found.st_dev, found.st_ino)
                    if place not in known:
                        known[place] = _facts(file, part, label, framing)
                    facts.append(known[place]._replace(file=file, part=part, label=label))
                except OSError as error:
                    reasons[error.strerror or str(error)].append(file)
                except StudyError as error:
                    # Counts of bytes differ from file to file, and say nothing.
                    reason = re.sub(r" ?\([^()]*\d[^()]*\)", "", error.found)
                    reasons[reason].append(file)
    if reasons:
        raise _unreadable(reasons, path)
    _check_sizes(facts, path, framing)
    _check_depth(facts, path)
    has_colour = not (facts[0].has_grey_mode and all(f.is_grey for f in facts))
    shape = (3 if has_colour else 1, *facts[0].size)
    if len({one.digest for one in facts}) == 1:
        note = f"all images of {path.name} show exactly the same: a run would refuse them"
        return FolderSurvey(shape, (note,), True)
    return FolderSurvey(shape, tuple(_twice(facts, path)))


def framed(shown: Picture, framing: Framing) -> NDArray[np.uint8]:
    """The pixels of a picture after its framing, uint8 [C, H, W].

    Args:
        shown: the picture.
        framing: what to do; without any, nothing.

    Raises:
        StudyError: it is smaller than what is to be cut out of it.
    """
    import numpy as np
    from PIL import Image as pillow

    pixels = shown.pixels
    if not framing.resize and not framing.crop:
        return pixels
    height, width = pixels.shape[1:]
    if framing.resize:
        image = pillow.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        short = min(height, width)
        height, width = (int(framing.resize * side / short) for side in (height, width))
        pixels = np.asarray(image.resize((width, height), pillow.Resampling.BILINEAR))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    side = framing.crop
    if side > min(height, width):
        raise StudyError(
            f"an image of {width}x{height} pixels is smaller than crop = {side}",
            next_step=f"add resize = {side} to [benchmark], or lower crop",
        )
    if side:
        top, left = round((height - side) / 2), round((width - side) / 2)
        pixels = pixels[:, top : top + side, left : left + side]
    return np.ascontiguousarray(pixels)


def _facts(file: Path, part: str, label: int, framing: Framing) -> _Facts:
    shown = picture(file)
    pixels = framed(shown, framing)
    has_grey_mode = len(pixels) == 1
    is_grey = has_grey_mode or bool((pixels == pixels[:1]).all())
    seen = pixels[:1] if is_grey else pixels
    digest = hashlib.blake2b(repr(seen.shape).encode() + seen.tobytes(), digest_size=16).digest()
    size = (pixels.shape[1], pixels.shape[2])
    deepest = int(pixels.max(initial=0))
    return _Facts(file, part, label, size, is_grey, has_grey_mode, shown.is_deep, deepest, digest)


def _unreadable(reasons: dict[str, list[Path]], path: Path) -> StudyError:
    n = sum(map(len, reasons.values()))
    room = _ROOM // len(reasons)
    lists = (f"{reason}: {_named(files, path, room)}" for reason, files in reasons.items())
    return StudyError(
        f"{counted(n, 'image')} of the folder cannot be used: {'; '.join(lists)}",
        expected="whole images, one picture each, as `docs/data.md` says",
        where=str(path),
        next_step="replace or convert them, or move them out of the folder",
    )


def _check_sizes(facts: Sequence[_Facts], path: Path, framing: Framing) -> None:
    sizes: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for one in facts:
        sizes[one.size].append(one.file)
    if len(sizes) == 1:
        return
    ordered = sorted(sizes.items(), key=lambda item: -len(item[1]))
    room = _ROOM // len(ordered[:8])
    lists = [f"{len(files):,} of {w}x{h} pixels" for (h, w), files in ordered[:1]]
    lists += [
        f"{len(files):,} of {w}x{h} ({_named(files, path, room)})"
        for (h, w), files in ordered[1:8]
    ]
    more = f", and {len(ordered) - 8} more sizes" if len(ordered) > 8 else ""
    side = min(min(size) for size in sizes)
    raise StudyError(
        f"images of unequal size: {', '.join(lists)}{more}",
        expected="one size",
        where=str(path),
        next_step=f"crop = {framing.resize} in [benchmark] cuts squares out of them"
        if framing.resize
        else f"resize = {side} and crop = {side} in [benchmark] make them squares of one size, or "
        "bring them to one size yourself",
    )


def _check_depth(facts: Sequence[_Facts], path: Path) -> None:
    """Refuse images of more than 8 bits of which 8 bits would leave next to nothing."""
    brightest = max(one.brightest for one in facts)
    if all(one.is_deep for one in facts) and brightest < _DARK:
        raise StudyError(
            f"images of more than 8 bits that use {brightest + 1} of 256 levels: they are almost "
            "black",
            expected="values over the whole range of their bits",
            where=str(path),
            next_step="convert them to 8 bits, with a range that you choose",
        )


def _twice(facts: Sequence[_Facts], path: Path) -> Iterator[str]:
    """What stands in the folder twice, and what that spoils."""
    first: dict[bytes, _Facts] = {}
    test, own, labels, train = [], [], [], []
    for one in facts:
        known = first.setdefault(one.digest, one)
        if known is one:
            continue
        pair = f"{_named([one.file], path)} is {_named([known.file], path)}"
        if one.part == "test" != known.part:
            test.append(pair)
        elif one.part != known.part:
            own.append(pair)
        elif one.part == "train":
            train.append(pair)
        if one.label != known.label:
            labels.append(pair)
    n_test = sum(one.part == "test" for one in facts)
    if test:
        yield (
            f"{len(test):,} of {n_test:,} test images of {path.name} stand in train/ too, and "
            f"test nothing: {_some(test)}"
        )
    if own:
        yield (
            f"{counted(len(own), 'validation image')} of {path.name} in train/ too, so that what "
            f"is learnt by heart is chosen: {_some(own)}"
        )
    if labels:
        n = counted(len(labels), "picture")
        yield f"{n} under two classes in {path.name}: {_some(labels)}"
    if train:
        yield (
            f"{counted(len(train), 'training image')} of {path.name} repeated, so that one may "
            f"train and its copy validate: {_some(train)}"
        )


def _some(pairs: Sequence[str]) -> str:
    return "; ".join(pairs[:_FEW]) + ("; ..." if len(pairs) > _FEW else "")


def _named(files: Sequence[Path], path: Path, room: int = _ROOM) -> str:
    """As many names as there is room for, and how many more there are."""
    names: list[str] = []
    for file in files:
        name = str(file.relative_to(path))
        room -= len(name) + 2
        if names and room < 0:
            return f"{', '.join(names)} and {len(files) - len(names):,} more"
        names.append(name)
    return ", ".join(names)
