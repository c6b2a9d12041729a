"""Results folders as people name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsweep.cli.main import main
from clsweep.cli.results_folders import results_place
from clsweep.errors import StudyError
from clsweep.storage.remote_path import RemotePath

STUDY = """\
name = "mine"
[benchmark]
name = "split"
[[methods]]
name = "finetune"
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("any file.toml").write_text(STUDY, encoding="utf-8")


def test_a_study_file_stands_for_the_folder_where_its_run_writes() -> None:
    assert results_place("any file.toml") == Path("results/mine")


def test_only_the_name_of_a_study_file_is_read() -> None:
    own = '[[methods]]\nname = "custom"\nmethod = "gone.away:build"\nweight = [1, 2]\n'
    Path("own.toml").write_text(STUDY.replace("mine", "other") + own, encoding="utf-8")
    assert results_place("own.toml") == Path("results/other")
    for name in ("", "name = 3\n", 'name = "../up"\n'):
        Path("unnamed.toml").write_text(STUDY.replace('name = "mine"\n', name), encoding="utf-8")
        with pytest.raises(StudyError, match="name") as caught:
            results_place("unnamed.toml")
        assert "unnamed.toml" in str(caught.value)


def test_the_copy_within_results_stands_for_its_folder() -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/study.toml").write_text(STUDY, encoding="utf-8")
    assert results_place("elsewhere/study.toml") == Path("results/mine")
    Path("elsewhere/versions.json").touch()
    assert results_place("elsewhere/study.toml") == Path("elsewhere")


def test_folders_and_addresses_are_themselves() -> None:
    Path("odd.toml").mkdir()
    assert results_place("odd.toml") == Path("odd.toml")
    assert results_place("not/there") == Path("not/there")
    assert isinstance(results_place("s3://bucket/mine"), RemotePath)


def test_a_study_that_has_not_run_and_one_that_is_broken_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in (["report"], ["status"]):
        assert main([*command, "any file.toml"]) == 2
        assert "results/mine" in capsys.readouterr().err
    Path("broken.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(StudyError):
        results_place("broken.toml")
