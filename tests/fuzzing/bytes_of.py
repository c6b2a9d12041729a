"""Damage to any file, drawn from a seeded generator."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["damaged"]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file after one or two accidents; now and then they are the same.

    Args:
        data: the file.
        rng: where the accidents are drawn from.
    """
    for _ in range(rng.choice((1, 1, 2))):
        data = rng.choice(_ACCIDENTS)(data, rng)
    return data


def _span(data: bytes, rng: random.Random, most: int = 64) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randrange(1, most))


def _flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    flipped = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _cut_out(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] + data[end:]


def _zero(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, 600)
    return data[:start] + bytes(end - start) + data[end:]


def _noise(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    piece = rng.choice(
        (
            b"\x00",
            b"\r",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b'"',
            b"'" * 3,
            b"[" * 5000,
            b"{a=" * 3000,
            b"a." * 3000,
            b"9" * 5000,
            b"0x" + b"f" * 5000,
            b"1e999",
            b"nan",
            b"\x1b[2J\x1b]0;owned\x07",
            b"#" + b"x" * 1_000_000 + b"\n",
            "\u202e\U0001f600é\u2028".encode(),
            b"\xed\xa0\x80",
        )
    )
    return data[:at] + piece + data[at:]


def _windows(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b"\xef\xbb\xbf")) + data.replace(b"\n", b"\r\n")


def _empty(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b"\n", b"\x00" * 100, b"\x00" + data))


_ACCIDENTS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    _flip,
    _flip,
    _truncate,
    _cut_out,
    _repeat,
    _zero,
    _noise,
    _insert,
    _windows,
    _empty,
)
