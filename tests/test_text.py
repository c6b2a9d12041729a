"""Commands that are printed: what a shell makes of them is what was meant."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from clsweep.storage.remote_path import place_of
from clsweep.text import command, seconds_in

ODD = [
    "two words",
    "quo'te",
    'double"quote',
    "$HOME",
    "`date`",
    "a;b&c|d>e",
    "star*?[x]",
    "back\\slash",
    "größe",
    "new\nline",
    "tab\tand\x1b[31mred",
    "it's\ta\\tab",
    "\u202eright to left",
    "no text \udcff\udc80",
    "~",
    "",
    "#",
    "!",
]


@pytest.mark.parametrize("word", ODD)
def test_a_shell_reads_back_what_was_meant(word: str) -> None:
    bash = shutil.which("bash")
    assert bash
    line = command("printf %s", word)
    assert "\n" not in line
    assert "\x1b" not in line
    ran = subprocess.run([bash, "-c", line], capture_output=True, check=True)
    assert ran.stdout.decode("utf-8", "surrogateescape") == word


def test_usual_words_stay_as_they_are() -> None:
    assert command("clsweep report", Path("results/x")) == "clsweep report results/x"
    assert command("clsweep report") == "clsweep report"


def test_a_name_is_no_option() -> None:
    assert command("clsweep report", "-x") == "clsweep report ./-x"


def test_a_uri_is_quoted_and_holds_no_credentials() -> None:
    place = place_of("s3://key:secret@bucket/a?scheme=http&region=x")
    assert command("clsweep report", place) == (
        "clsweep report 's3://***@bucket/a?scheme=http&region=x'"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200.0),
        ("90min", 5400.0),
        ("90m", 5400.0),
        ("1h 30min", 5400.0),
        ("0.5 d", 43_200.0),
        ("45S", 45.0),
        ("", None),
        ("2", None),
        ("-2h", None),
        ("h", None),
        ("1h x", None),
        ("٢h", None),
    ],
)
def test_a_time_span_has_units(text: str, seconds: float | None) -> None:
    assert seconds_in(text) == seconds
