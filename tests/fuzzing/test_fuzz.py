"""Drawn mistakes in study files and results folders; `benchmarks/fuzz.py` tries thousands more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzzing.results import Original, check_results, written_results
from tests.fuzzing.studies import check_study, mutated_study, study_texts

TEXTS = study_texts()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return written_results(tmp_path_factory.mktemp("fuzz"))


# Those that have failed once, and a few more.
@pytest.mark.parametrize("number", [66, 260, 278, 751, 1152, 2626, 2775, *range(8)])
def test_a_mistaken_study_is_refused_with_one_message_or_planned(
    tmp_path: Path, number: int
) -> None:
    rng = random.Random(f"studies {number}")
    text = TEXTS[rng.choice(list(TEXTS))]
    assert check_study(mutated_study(text, rng), tmp_path) in ("accepted", "refused")


@pytest.mark.parametrize("number", range(25))
def test_spoilt_results_are_refused_or_say_what_was_written(
    tmp_path: Path, original: Original, number: int
) -> None:
    assert check_results(original, tmp_path, random.Random(f"results {number}"))


# A data set in a folder can only be counted where it is.
@pytest.mark.parametrize("name", [name for name in TEXTS if "folder:" not in TEXTS[name]])
def test_the_files_themselves_are_accepted(tmp_path: Path, name: str) -> None:
    assert check_study(TEXTS[name].encode(), tmp_path) == "accepted"
