"""The same study in this process, on one Ray worker and on two gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clsweep.records.schema import SCHEMA_VERSION
from tests.end_to_end.studies import (
    accuracy_bytes,
    clsweep,
    clsweep_apart,
    clsweep_in_terminal,
    trials,
    write_study,
)


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """(study file, results folder, output) of an inline run."""
    folder = tmp_path_factory.mktemp("inline")
    study = write_study(folder)
    printed = clsweep("run", study, "--inline", "--out", folder / "out")
    return study, folder / "out", printed


@pytest.mark.ray
@pytest.mark.parametrize(
    ("workers", "command"),
    [pytest.param(1, clsweep_in_terminal, marks=pytest.mark.slow), (2, clsweep_apart)],
    ids=["1", "2"],
)
def test_ray_gives_the_same_bytes_as_inline(
    inline: tuple[Path, Path, str], workers: int, command: Callable[..., str], tmp_path: Path
) -> None:
    study, expected, _ = inline
    out = tmp_path / "out"
    printed = command("run", study, "--workers", workers, "--out", out, cwd=tmp_path)
    assert "16 of 16 trials done, 16 by this run" in printed
    # In place on a terminal, line by line in a pipe.
    assert ("\x1b[" in printed) == (command is clsweep_in_terminal)
    assert accuracy_bytes(out) == accuracy_bytes(expected)
    assert trials(out).keys() == trials(expected).keys()
    assert {row["status"] for row in trials(out).values()} == {"ok"}


def test_a_finished_folder_holds_tables_and_no_file_per_trial(
    inline: tuple[Path, Path, str],
) -> None:
    _, out, _ = inline
    assert {p.name for p in out.iterdir() if p.is_file() and not p.name.startswith(".")} == {
        "accuracy.parquet",
        "configs.parquet",
        "trials.parquet",
        "study.toml",
        "versions.json",
    }
    assert list((out / "records").iterdir()) == []
    for name in ("accuracy", "configs", "trials"):
        metadata = pq.read_metadata(out / f"{name}.parquet")
        version = SCHEMA_VERSION + (name == "trials")  # with what was added to trials later
        assert metadata.metadata[b"clsweep_schema"] == str(version).encode()
        assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_the_source_model_is_trained_once_per_seed_and_shared(
    inline: tuple[Path, Path, str],
) -> None:
    _, out, printed = inline
    # Of eight configurations, all but joint start from the source model of their seed.
    assert "source models: 2 trained, 12 times reused" in printed
    rows = trials(out).values()
    for seed in (0, 1):
        sources = {r["stages"][0] for r in rows if r["seed"] == seed and r["stages"]}
        assert len(sources) == 1
    fishers = {r["stages"][1] for r in rows if r["method"] == "ewc" and r["seed"] == 0}
    assert len(fishers) == 1, "one Fisher for both λ"


def test_running_a_finished_study_again_does_nothing(inline: tuple[Path, Path, str]) -> None:
    study, out, _ = inline
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    printed = clsweep("run", study, "--inline", "--out", out)
    assert "16 of 16 trials done, 0 by this run" in printed
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")} == before
