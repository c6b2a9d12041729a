"""The table of lanes goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import lanes


def test_a_table_is_finished_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lanes, "NETS", [(3, (4,))])
    monkeypatch.setattr(lanes, "CASES", [("l2", {}, "lam"), ("rescl", {}, "lam")])
    monkeypatch.setattr(lanes, "N_LANES", (1, 3))
    file = tmp_path / "lanes.csv"
    lanes.measure(file, 0.0)
    whole = file.read_text("utf-8").splitlines(keepends=True)
    assert [*lanes.measured(file)] == [
        lanes.Cell("9-4-10", name, n) for name in ("l2", "rescl") for n in (1, 3)
    ]
    file.write_text("".join(whole[:-1]), "utf-8")
    lanes.measure(file, 0.0)
    assert file.read_text("utf-8").splitlines(keepends=True)[:-1] == whole[:-1]
    assert len(lanes.measured(file)) == 4
    capsys.readouterr()
    lanes.show(file)
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["9-4-10", "l2"],
        ["9-4-10", "rescl"],
    ]
