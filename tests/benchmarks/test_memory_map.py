"""Data larger than what a process may hold."""

from pathlib import Path

import pytest

from benchmarks.memory_map import measure


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_study_on_4_gib_of_arrays_needs_less_than_1_5_gib(tmp_path: Path) -> None:
    peaks = measure(tmp_path, 4)
    assert max(peaks.values()) < 1.5 * 2**30, peaks
