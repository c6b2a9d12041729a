"""What is read of every mode and container that Pillow can write, against what is shown."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsweep.data.image_decoding import ENDINGS, UNREAD_ENDINGS, decoding_of, picture
from clsweep.errors import StudyError

Image.init()
HEIGHT, WIDTH = 16, 24
RNG = np.random.default_rng(0)
# Eight colours in blocks of 8 x 8, which palettes and lossy codecs keep.
COLOURS = RNG.integers(0, 256, (6, 3)).astype(np.uint8)
BLOCKS = np.kron(np.arange(6).reshape(2, 3), np.ones((8, 8), dtype=int))
RGB = COLOURS[BLOCKS]
GREY = RGB[..., 0]
ALPHAS = np.array([0, 255, 255, 128, 255, 51], dtype=np.uint8)
ALPHA = ALPHAS[BLOCKS]
DEEP = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 170).astype(np.uint16)
UNREAD_FORMATS = set(Image.SAVE) - {
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "SGI"),
    *("TGA", "TIFF", "WEBP"),
}
LOSSY = {"JPEG": 12, "MPO": 12, "AVIF": 8}
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "MPO": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The definition of compositing on white, in floating point."""
    share = alpha / 255.0
    share = share if colour.ndim == 2 else share[..., None]
    return np.floor(colour * share + 255.0 * (1 - share) + 0.5)


def palette_image() -> Image.Image:
    image = Image.fromarray(BLOCKS.astype(np.uint8), "L")
    image = image.convert("P")
    image.putdata(BLOCKS.flatten().tolist())
    image.putpalette(COLOURS.flatten().tolist())
    return image


def sample(mode: str) -> tuple[Image.Image, np.ndarray | None]:
    """An image of a mode, and what a viewer shows of it, [H, W] or [H, W, 3]; None: no range."""
    inverse = 255 - RGB
    if mode == "1":
        return Image.fromarray(GREY > 127), np.where(GREY > 127, 255, 0)
    if mode == "L":
        return Image.fromarray(GREY), GREY
    if mode == "LA":
        return Image.fromarray(np.dstack([GREY, ALPHA])), on_white(GREY, ALPHA)
    if mode == "P":
        return palette_image(), RGB
    if mode == "PA":
        image = palette_image().convert("PA")
        image.putalpha(Image.fromarray(ALPHA))
        return image, on_white(RGB, ALPHA)
    if mode in ("RGB", "RGBX"):
        return Image.fromarray(RGB).convert(mode), RGB
    if mode == "RGBA":
        return Image.fromarray(np.dstack([RGB, ALPHA])), on_white(RGB, ALPHA)
    if mode == "CMYK":
        ink = np.dstack([inverse, np.zeros_like(GREY)])
        return Image.frombytes("CMYK", (WIDTH, HEIGHT), ink.tobytes()), RGB
    if mode == "YCbCr":
        return Image.fromarray(RGB).convert("YCbCr"), RGB
    if mode == "LAB":
        return Image.fromarray(RGB).convert("LAB"), RGB
    if mode == "HSV":
        return Image.fromarray(RGB).convert("HSV"), RGB
    if mode.startswith("I;16"):
        return Image.fromarray(DEEP), np.floor(DEEP * (255 / 65535) + 0.5)
    if mode == "I":
        return Image.fromarray(DEEP.astype(np.int32)), None
    if mode == "F":
        return Image.fromarray(DEEP.astype(np.float32)), None
    image = Image.fromarray(np.dstack([RGB, ALPHA])).convert("RGBA" if mode == "RGBa" else "LA")
    return image.convert(mode), None


def written(mode: str, name: str) -> bytes | None:
    """The bytes of a file, or None where Pillow cannot write the mode in that container."""
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sample(mode)[0].save(file, format=name, **OPTIONS.get(name, {}))
        except Exception:  # whatever the writer of a container finds wrong
            return None
    return file.getvalue()


ALL_MODES = (
    "1",
    "CMYK",
    "F",
    "HSV",
    "I",
    "I;16",
    "I;16B",
    "I;16L",
    "I;16N",
    "L",
    "LA",
    "LAB",
    "La",
)
ALL_MODES += ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "YCbCr")
WRITABLE = [
    (name, mode)
    for name in sorted(Image.SAVE)
    for mode in ALL_MODES
    if written(mode, name) is not None
]
# The writer drops the fourth channel, or (32 bits of BMP without masks) marks it as reserved.
OPAQUE = {("BMP", "RGBA"), ("DIB", "RGBA"), ("PPM", "RGBA")}
# These write 8 bits whatever they are given, and GIF knows no half transparency: the file itself
# is then all that there is to show.
CONVERTING = {
    (name, mode) for name in ("AVIF", "GIF", "WEBP") for mode in ("F", "I", "RGBa", "La")
}
CONVERTING |= {(name, f"I;16{end}") for name in ("AVIF", "GIF", "WEBP") for end in ("", *"BLN")}
CONVERTING |= {("GIF", "LA"), ("GIF", "RGBA")}


def reference(name: str, mode: str, file: Path) -> np.ndarray | None:
    """What a viewer shows of a mode in a container; None where nobody can know."""
    if (name, mode) in OPAQUE:
        return RGB
    if (name, mode) in CONVERTING:
        stored = np.asarray(Image.open(file).convert("RGBA"))
        return on_white(stored[..., :3], stored[..., 3])
    if mode == "I" and name in ("PPM", "PNG"):
        return sample("I;16")[1]
    return sample(mode)[1]


def write(path: Path, name: str, image: Image.Image, **options: Any) -> Path:
    image.save(path, format=name, **options)
    return path


@pytest.mark.parametrize(("name", "mode"), WRITABLE)
def test_every_mode_in_every_container(name: str, mode: str, tmp_path: Path) -> None:
    file = tmp_path / "image.png"  # what counts is the content
    file.write_bytes(written(mode, name) or b"")
    expected = reference(name, mode, file) if name not in UNREAD_FORMATS else None
    if expected is None:
        with pytest.raises(StudyError, match=r"image\.png"):
            picture(file)
        return
    found = picture(file).pixels.transpose(1, 2, 0).astype(float)
    expected = expected[..., None] if expected.ndim == 2 else expected
    slack = LOSSY.get(name, 0) + {"LAB": 5, "YCbCr": 3, "HSV": 4}.get(mode, 0)
    assert found.shape[:2] == (HEIGHT, WIDTH)
    assert np.abs(found - expected).max() <= slack


def test_the_table_of_containers_is_not_empty() -> None:
    assert len(WRITABLE) > 150
    assert {name for name, _ in WRITABLE} > {"PNG", "TIFF", "JPEG", "GIF", "BMP", "WEBP", "EPS"}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode)
        for name, mode in WRITABLE
        if name in ("PNG", "TIFF", "JPEG", "GIF", "BMP", "WEBP", "PPM")
        and mode in ("1", "L", "RGB", "P", "CMYK", "YCbCr")
    ],
)
def test_what_is_opaque_and_upright_keeps_its_bytes(name: str, mode: str, tmp_path: Path) -> None:
    data = written(mode, name) or b""
    file = tmp_path / "image"
    file.write_bytes(data)
    found = picture(file)
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    expected = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    assert np.array_equal(found.pixels, expected)
    assert (found.decoding, found.is_deep) == (1, False)
    assert decoding_of(file) == 1


def test_an_alpha_channel_without_transparency_changes_nothing(tmp_path: Path) -> None:
    solid = np.dstack([RGB, np.full_like(GREY, 255)])
    found = picture(write(tmp_path / "a.png", "PNG", Image.fromarray(solid)))
    assert np.array_equal(found.pixels, RGB.transpose(2, 0, 1))
    assert found.decoding == 1


# ------------------------------------------------------------------------------------ orientation

# EXIF 2.32, tag 0x0112: where the stored first row and first column lie in what is seen.
FIRST_ROW_AND_COLUMN = {
    **{1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left")},
    **{5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom")},
}


def stored_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How a picture [H, W, ...] is stored under an orientation, pixel by pixel."""
    row, column = FIRST_ROW_AND_COLUMN[orientation]
    height, width = upright.shape[:2]
    sideways = row in ("left", "right")
    shape = (width, height) if sideways else (height, width)
    stored = np.empty((*shape, *upright.shape[2:]), upright.dtype)
    for i, j in np.ndindex(*shape):
        x, y = (i, j) if sideways else (j, i)
        edges = (row, column)
        x = width - 1 - x if "right" in edges else x
        y = height - 1 - y if "bottom" in edges else y
        stored[i, j] = upright[y, x]
    return stored


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "MPO"])
def test_pictures_stand_upright(name: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(stored_as(RGB, orientation))
    file = write(tmp_path / "image", name, stored, exif=exif, **OPTIONS.get(name, {}))
    found = picture(file)
    assert found.pixels.shape == (3, HEIGHT, WIDTH)
    difference = np.abs(found.pixels.transpose(1, 2, 0).astype(int) - RGB)
    assert difference.max() <= LOSSY.get(name, 0)
    assert decoding_of(file) == found.decoding
    if name != "TIFF":  # which Pillow has always turned
        assert found.decoding == (1 if orientation == 1 else 2)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_without_meaning_is_ignored(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = write(tmp_path / "a.png", "PNG", Image.fromarray(RGB), exif=exif)
    assert np.array_equal(picture(file).pixels, RGB.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"rubbish" * 9]
)
def test_damaged_exif_is_ignored_as_viewers_do(exif: bytes, tmp_path: Path) -> None:
    file = write(tmp_path / "a.png", "PNG", Image.fromarray(RGB), exif=exif)
    assert np.array_equal(picture(file).pixels, RGB.transpose(2, 0, 1))


# ---------------------------------------------------------------------------- PNG, made by hand


def png(depth: int, colour_type: int, samples: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of samples [H, W] or [H, W, C] of `depth` bits, after the W3C recommendation."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = samples.shape[:2]
    lines = b""
    for row in samples.reshape(height, -1):
        bits = "".join(f"{value:0{depth}b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        lines += b"\0" + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in body)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("hidden", [0, 1])
def test_png_with_one_transparent_grey(depth: int, hidden: int, tmp_path: Path) -> None:
    samples = np.arange(24).reshape(4, 6) % 2**depth * (1 if depth < 16 else 257)
    shown = np.floor(samples * 255 / (2**depth - 1) + 0.5)
    value = hidden * (257 if depth == 16 else 1)
    shown[samples == value] = 255
    file = tmp_path / "a.png"
    file.write_bytes(png(depth, 0, samples, (b"tRNS", struct.pack(">H", value))))
    assert np.array_equal(picture(file).pixels[0], shown)


def test_png_with_one_transparent_colour(tmp_path: Path) -> None:
    hidden = COLOURS[2].astype(int)
    chunk = (b"tRNS", struct.pack(">HHH", *hidden))
    file = tmp_path / "a.png"
    file.write_bytes(png(8, 2, RGB, chunk))
    shown = np.where((hidden == RGB).all(axis=2)[..., None], 255, RGB)
    assert np.array_equal(picture(file).pixels.transpose(1, 2, 0), shown)
    file.write_bytes(png(16, 2, RGB.astype(int) * 257, chunk))
    with pytest.raises(StudyError, match="transparent colour"):
        picture(file)


@pytest.mark.parametrize("depth", [4, 8])
@pytest.mark.parametrize("alphas", [(255, 0, 255, 255, 255, 255), (0, 51, 128, 255), (255, 255)])
def test_png_palettes_with_transparency(
    depth: int, alphas: tuple[int, ...], tmp_path: Path
) -> None:
    chunks = [(b"PLTE", COLOURS.tobytes()), (b"tRNS", bytes(alphas))]
    file = tmp_path / "a.png"
    file.write_bytes(png(depth, 3, BLOCKS, *chunks))
    full = np.array([*alphas, *[255] * (6 - len(alphas))])
    assert np.array_equal(picture(file).pixels.transpose(1, 2, 0), on_white(RGB, full[BLOCKS]))


@pytest.mark.parametrize(("colour_type", "n_channels"), [(2, 3), (4, 2), (6, 4)])
def test_png_of_16_bits_in_colour(colour_type: int, n_channels: int, tmp_path: Path) -> None:
    channels = {2: RGB, 4: np.dstack([GREY, ALPHA]), 6: np.dstack([RGB, ALPHA])}[colour_type]
    file = tmp_path / "a.png"
    file.write_bytes(png(16, colour_type, channels.astype(int) * 257))
    colour, alpha = (
        (channels, None) if n_channels == 3 else (channels[..., :-1], channels[..., -1])
    )
    shown = colour if alpha is None else on_white(np.broadcast_to(colour, RGB.shape), alpha)
    assert np.array_equal(picture(file).pixels.transpose(1, 2, 0), shown)


# ------------------------------------------------------------------------------------------- TIFF


def tiff(samples: bytes, bits: int, width: int, height: int, photometric: int) -> bytes:
    """A little-endian TIFF of one strip and one channel, after TIFF 6.0."""
    entries = [
        *[(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)],
        *[(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(samples))],
    ]
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    start = 8 + len(samples) + len(samples) % 2
    body = samples.ljust(start - 8, b"\0")
    return b"II*\0" + struct.pack("<I", start) + body + directory + struct.pack("<I", 0)


@pytest.mark.parametrize("photometric", [0, 1])
def test_tiff_of_16_bits_made_by_hand(photometric: int, tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    file.write_bytes(tiff(DEEP.astype("<u2").tobytes(), 16, WIDTH, HEIGHT, photometric))
    expected = np.floor(DEEP * (255 / 65535) + 0.5)
    shown = expected if photometric else 255 - expected
    assert np.array_equal(picture(file).pixels[0], shown)


def test_tiff_of_12_bits_is_scaled_by_its_own_range(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 24).astype(int).reshape(4, 6)
    bits = "".join(f"{value:012b}" for value in values.flatten())
    samples = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    file = tmp_path / "a.tif"
    file.write_bytes(tiff(samples, 12, 6, 4, 1))
    assert np.array_equal(picture(file).pixels[0], np.floor(values * 255 / 4095 + 0.5))


# --------------------------------------------------------------------------- several in one file


def frames(n: int = 3) -> list[Image.Image]:
    return [Image.fromarray(np.roll(RGB, 3 * i, axis=1)) for i in range(n)]


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_several_pictures_in_one_file_are_refused(name: str, tmp_path: Path) -> None:
    first, *others = frames()
    file = write(tmp_path / "a.png", name, first, save_all=True, append_images=others)
    with pytest.raises(StudyError, match=r"3 pictures in one file[^$]*a\.png"):
        picture(file)


def test_the_first_of_an_mpo_is_the_picture(tmp_path: Path) -> None:
    first, *others = frames()
    options = OPTIONS["MPO"]
    file = write(tmp_path / "a.jpg", "MPO", first, save_all=True, append_images=others, **options)
    assert np.abs(picture(file).pixels.transpose(1, 2, 0).astype(int) - RGB).max() <= LOSSY["MPO"]


def test_smaller_copies_in_a_tiff_are_no_pictures(tmp_path: Path) -> None:
    small = Image.fromarray(RGB[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    file = write(
        tmp_path / "a.tif", "TIFF", Image.fromarray(RGB), save_all=True, append_images=[small]
    )
    with Image.open(file) as image:
        image.seek(1)
        assert image.tag_v2.get(254) == 1
    assert np.array_equal(picture(file).pixels, RGB.transpose(2, 0, 1))


def test_a_gif_that_leaves_a_part_open(tmp_path: Path) -> None:
    data = bytearray(written("P", "GIF") or b"")
    data[6:10] = struct.pack("<HH", WIDTH + 4, HEIGHT)  # a wider canvas than its frame
    file = tmp_path / "a.gif"
    file.write_bytes(data)
    with pytest.raises(StudyError, match="open"):
        picture(file)


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_image(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(data)
    with pytest.raises(StudyError, match=r"a\.png"):
        picture(file)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM"])
def test_a_truncated_image_is_refused(name: str, tmp_path: Path) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    file = write(tmp_path / "a.png", name, noise)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(StudyError, match=r"a\.png"):
        picture(file)


def test_endings_are_of_one_kind() -> None:
    assert not ENDINGS & UNREAD_ENDINGS
    known = Image.registered_extensions()
    unread = {e for e, name in known.items() if e in UNREAD_ENDINGS and name in ("PNG", "JPEG")}
    assert not unread


def test_reading_a_picture_imports_no_torch(tmp_path: Path) -> None:
    file = write(tmp_path / "a.png", "PNG", Image.fromarray(RGB))
    program = (
        "import sys; from pathlib import Path; from clsweep.data.image_decoding import picture; "
        f"picture(Path({str(file)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
