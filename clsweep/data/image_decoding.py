"""Image files as a viewer shows them, in bytes. Without torch.

The rules, which `docs/data.md` states for users:

    upright      the orientation that a file states (EXIF, XMP) is carried out
    on white     what is transparent shows white: out = (c·a + 255·(255 − a)) / 255, rounded
    8 bits       grey of 16 bits is scaled, v·255/65535 rounded; white is white where 0 means white
    one picture  a file of several (animations, pages) is refused; of an MPO the first is shown
    as stored    colour profiles and gamma are not carried out

What has no stated range (32-bit integers, floating point) is refused rather than guessed.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.errors import StudyError
from clsweep.records.recorded_inputs import FIRST_DECODING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

DECODING = 2

# MPO is opened as JPEG.
_FORMATS = tuple("AVIF BMP DIB GIF JPEG JPEG2000 PCX PNG PPM QOI SGI TGA TIFF WEBP".split())
ENDINGS = frozenset(
    ".apng .avif .bmp .dib .gif .j2k .jfif .jp2 .jpe .jpeg .jpg .mpo .pbm .pcx .pgm .png .pnm "
    ".ppm .qoi .sgi .tga .tif .tiff .webp".split()
)

# Pictures all the same: passing over them in silence would leave a class without some of its own.
UNREAD_ENDINGS = frozenset(
    ".ai .arw .avifs .blp .cr2 .cr3 .cur .dcm .dcx .dds .dng .emf .eps .exr .fit .fits .flc .fli "
    ".hdr .heic .heif .icns .ico .im .jpx .jxl .jxr .msp .nef .orf .pcd .pfm .psd .raf .ras .raw "
    ".rw2 .svg .wmf .xbm .xcf .xpm".split()
)
_GREY_MODES = frozenset(("1", "L", "LA", "La"))
_DEEP_MODES = frozenset(("I;16", "I;16B", "I;16L", "I;16N"))
_ORIENTATION, _BITS, _SUBFILE, _PHOTOMETRIC = 0x0112, 258, 254, 262
_WHITE_IS_ZERO = 0
_ADVICE = "convert it, or move it out of the folder"


class Picture(NamedTuple):
    """One image as it is shown.

    Attributes:
        pixels: uint8 [C, H, W]; C is 1 for grey modes and 3 for all others.
        is_deep: it had more than 8 bits, which were scaled.
        decoding: the first value of `DECODING` since which these bytes are read.
    """

    pixels: NDArray[np.uint8]
    is_deep: bool
    decoding: int


def picture(file: Path) -> Picture:
    """What a viewer shows of an image file.

    Args:
        file: a file of one of the formats behind `ENDINGS`, whatever its own ending.

    Raises:
        StudyError: it cannot be read, holds several pictures, or values without a stated range.
    """
    with _opened(file) as image:
        _check_still(image, file)
        factor = _sample_factor(image, file)
        image.load()
        turn = _turn(image)
        if image.mode in _DEEP_MODES or image.mode == "I":
            pixels, is_changed = _scaled(image, file), True
        else:
            pixels, is_changed = _on_white(image, file, factor)
    turned = _turned(pixels, turn)
    decoding = DECODING if is_changed or turn != 1 else FIRST_DECODING
    return Picture(turned, image.mode in _DEEP_MODES or image.mode == "I", decoding)


def decoding_of(file: Path) -> int:
    """The first value of `DECODING` since which an image file is read as the bytes of today.

    Args:
        file: an image file.

    Raises:
        StudyError: see `picture`.
    """
    with _opened(file) as image:
        # Nothing in it can be transparent, and its header states the orientation: there are many.
        if image.format == "JPEG":
            return FIRST_DECODING if _turn(image) == 1 else DECODING
    return picture(file).decoding


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Image]:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    try:
        # Only formats that are checked here; others would run interpreters (EPS) or guess.
        with pillow.open(file, formats=_known_formats()) as image:
            yield image
    except UnidentifiedImageError:
        raise StudyError(
            "unreadable image: none of the formats that are read, or damaged from its start on",
            expected=", ".join(_known_formats()),
            where=str(file),
            next_step=_ADVICE,
        ) from None
    except (
        pillow.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        EOFError,
        IndexError,
        MemoryError,
    ) as error:
        raise StudyError(
            f"unreadable image: {error}",
            expected="a whole image",
            where=str(file),
            next_step="replace it by a whole one, or move it out of the folder",
        ) from error


@lru_cache(maxsize=1)
def _known_formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow was built with."""
    from PIL import Image as pillow

    pillow.init()
    return tuple(name for name in _FORMATS if name in pillow.OPEN)


def _check_still(image: Any, file: Path) -> None:
    """Refuse several pictures in one file: which one is meant is not known here."""
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1 and image.format == "TIFF":
        n_frames = 1 + sum(_is_page(image, frame) for frame in range(1, n_frames))
        image.seek(0)
    # The first of an MPO is the picture; the others are views of it for other devices.
    if n_frames > 1 and image.format != "MPO":
        raise StudyError(
            f"{n_frames} pictures in one file ({image.format})",
            expected="one: an animation or a stack of pages has no single picture",
            where=str(file),
            next_step="keep one picture of it in a file of its own",
        )
    extent = image.tile[0][1] if image.format == "GIF" and image.tile else None
    if extent and tuple(extent) != (0, 0, *image.size) and "transparency" not in image.info:
        raise StudyError(
            "a GIF whose only frame leaves a part of its canvas open",
            expected="a picture that fills its canvas",
            where=str(file),
            next_step=_ADVICE,
        )


def _is_page(image: Any, frame: int) -> bool:
    """Whether a frame of a TIFF is a picture of its own, and no smaller copy or mask of one."""
    image.seek(frame)
    return not int(image.tag_v2.get(_SUBFILE, 0)) & 0b101


def _sample_factor(image: Any, file: Path) -> int:
    """What turns a PNG's transparent grey, in samples of its file, into the bytes of the image.

    Raises:
        StudyError: it is a colour of 16 bits, of which Pillow keeps 8: others would vanish too.
    """
    if image.format != "PNG" or "transparency" not in image.info:
        return 1
    with file.open("rb") as raw:
        depth = raw.read(25)[24]
    if image.mode == "RGB" and depth == 16:
        raise StudyError(
            "a PNG of 16 bits per channel with a transparent colour",
            expected="8 bits per channel, or an alpha channel",
            where=str(file),
            next_step=_ADVICE,
        )
    return {2: 85, 4: 17}.get(depth, 1) if image.mode == "L" else 1


def _on_white(image: Any, file: Path, factor: int) -> tuple[NDArray[np.uint8], bool]:
    """The image as uint8 [C, H, W], and whether anything of it was transparent."""
    import numpy as np

    is_grey = image.mode in _GREY_MODES
    if not image.has_transparency_data:
        if image.mode == "F":
            raise _no_range(image, file)
        pixels = np.asarray(image.convert("L" if is_grey else "RGB"))
        return (pixels[None] if is_grey else pixels.transpose(2, 0, 1)), False
    if factor != 1:
        image.info["transparency"] *= factor
    channels = np.asarray(image.convert("LA" if is_grey else "RGBA")).transpose(2, 0, 1)
    shown, alpha = channels[:-1], channels[-1]
    if (alpha == 255).all():
        return shown, False
    weighed = shown.astype(np.uint32) * alpha + 255 * (255 - alpha.astype(np.uint32))
    return ((weighed + 127) // 255).astype(np.uint8), True


def _scaled(image: Any, file: Path) -> NDArray[np.uint8]:
    """Grey of more than 8 bits, scaled to bytes, uint8 [1, H, W]."""
    import numpy as np

    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and image.format not in ("PPM", "PNG"):
        raise _no_range(image, file)
    highest = 4095 if tuple(tags.get(_BITS, ())) == (12,) else 65535
    values = np.asarray(image).astype(np.int64)
    bytes_ = (2 * 255 * values + highest) // (2 * highest)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        bytes_ = 255 - bytes_
    hidden = image.info.get("transparency")
    if hidden is not None:
        bytes_[values == hidden] = 255
    return bytes_.astype(np.uint8)[None]


def _no_range(image: Any, file: Path) -> StudyError:
    return StudyError(
        f"an image of Pillow mode '{image.mode}' ({image.format}), whose values have no stated "
        "range",
        expected="8 or 16 bits per channel",
        where=str(file),
        next_step="convert the images to 8 bits, with a range that you choose",
    )


def _turn(image: Any) -> int:
    """The orientation of a loaded image, 1 to 8; 1 where none, or no readable one, is stated."""
    try:
        stated = image.getexif().get(_ORIENTATION, 1)
    # Viewers show a picture whose EXIF is damaged as it is stored.
    except (ArithmeticError, AssertionError, AttributeError, LookupError, OSError):
        return 1
    except (SyntaxError, TypeError, ValueError, struct.error):
        return 1
    return stated if stated in range(1, 9) else 1


def _turned(pixels: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Pixels [C, H, W], stored as EXIF's orientation `turn` says, upright."""
    import numpy as np

    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(0, 2, 1)
    down = turn in (3, 4, 7, 8)
    mirrored = turn in (2, 3, 6, 7)
    pixels = pixels[:, ::-1] if down else pixels
    pixels = pixels[:, :, ::-1] if mirrored else pixels
    return np.ascontiguousarray(pixels)
