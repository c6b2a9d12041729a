"""The page of measurements: its commands run, its raw tables are there, its ratios are theirs."""

from __future__ import annotations

import csv
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PAGE = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
RUNS = BENCHMARKS / "peers" / "runs.csv"


def commands() -> list[list[str]]:
    """Every command of the page, without `python benchmarks/`."""
    found = re.findall(r"`((?:\w+/)?\w+\.py[^`]*)`", PAGE)
    return [shlex.split(command) for command in found]


def test_the_page_is_short_and_names_scripts() -> None:
    assert len(PAGE.splitlines()) < 120
    assert len(commands()) > 20


def test_every_script_is_there_and_has_the_options() -> None:
    for script, *words in commands():
        text = (BENCHMARKS / script).read_text(encoding="utf-8")
        missing = [w for w in words if w.startswith("--") and f'"{w}"' not in text]
        assert missing == [], (script, missing)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_starts() -> None:
    for script in sorted({script for script, *_ in commands()}):
        words = [sys.executable, str(BENCHMARKS / script), "--help"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (script, done.stderr[-2000:])
        assert done.stdout.startswith("usage"), script


def median(rows: list[dict[str, str]], column: str, wanted: dict[str, str]) -> float:
    """Over the runs of the table that are as wanted."""
    found = [r for r in rows if all(r[key] == value for key, value in wanted.items())]
    assert found, wanted
    return statistics.median(float(row[column]) for row in found)


def test_the_ratios_to_peers_are_those_of_their_runs() -> None:
    """`<!-- study, tool, part, column, state -->` stands before each; no state: all runs."""
    with RUNS.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    marked = re.findall(r"<!-- ([^>]+) -->([\d.]+)", PAGE)
    assert len(marked) >= 5
    for words, said in marked:
        study, tool, part, column, *state = words.split(", ")
        wanted = {"study": study, "part": part} | ({"state": state[0]} if state else {})
        theirs = median(rows, column, wanted | {"tool": tool})
        ours = median(rows, column, wanted | {"tool": "clsweep"})
        assert said == f"{theirs / ours:.1f}", words
