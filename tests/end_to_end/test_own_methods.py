"""A method of a user's own through a whole study: planned, run, read where it is absent."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pyarrow.parquet as pq
import pytest

from clsweep.errors import StudyError
from clsweep.execution.dry_run import plan
from clsweep.execution.runner import run
from clsweep.methods import METHODS
from clsweep.study.configurations import configurations
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, load_study, parse_study, stored_study
from tests.end_to_end.studies import ROOT
from tests.support.own_code import forget, package

KEY = "my_pkg.clipped:build"
STUDY = """\
name = "own"
seeds = 2
[benchmark]
name = "split"
n_tasks = 2
scenario = "domain"
examples_per_task = 60
[net]
hidden = [8]
[training]
lr = 0.1
steps = 4
batch_size = 10
[[methods]]
name = "finetune"
"""
OWN = f"""
[[methods]]
name = "custom"
method = "{KEY}"
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "code").mkdir()
    with package(tmp_path / "code") as home:
        yield home


def test_its_numbers_are_axes_ranges_and_columns(home: Path, tmp_path: Path) -> None:
    study = parse_study(STUDY + OWN + "lam = [0.5, 5]\nbound = 0.25\n")
    summary = run(study, out=tmp_path / "out", inline=True)
    assert (summary.n_done, summary.n_failed) == (6, 0)
    rows = pq.read_table(tmp_path / "out/configs.parquet").to_pylist()
    own = [row for row in rows if row["method"] == KEY]
    assert sorted((row["lam"], row["bound"], row["label"]) for row in own) == [
        (0.5, 0.25, "clipped L2"),
        (5.0, 0.25, "clipped L2"),
    ]
    assert summary.n_sources_trained == 2  # shared with fine-tuning


def test_zero_strength_is_fine_tuning_and_the_clip_acts(home: Path, tmp_path: Path) -> None:
    run(parse_study(STUDY + OWN + "lam = [0, 50]\n"), out=tmp_path / "out", inline=True)
    rows = pq.read_table(tmp_path / "out/accuracy.parquet").to_pylist()
    configs = pq.read_table(tmp_path / "out/configs.parquet").to_pylist()
    names = {row["config_id"]: (row["method"], row["lam"]) for row in configs}
    keys = ("seed", "after_task", "on_task", "split", "n_correct")
    found = {
        name: [tuple(row[key] for key in keys) for row in rows if names[row["config_id"]] == name]
        for name in names.values()
    }
    assert found[KEY, 0.0] == found["finetune", None] != found[KEY, 50.0]


def test_a_search_chooses_its_numbers(home: Path, tmp_path: Path) -> None:
    study = parse_study(STUDY + '[search]\nkind = "optuna"\ntrials = 3\nat_once = 3\n' + OWN)
    run(study, out=tmp_path / "out", inline=True)
    rows = pq.read_table(tmp_path / "out/configs.parquet").to_pylist()
    lams = {row["lam"] for row in rows if row["method"] == KEY}
    assert len(lams) == 3
    assert all(1e-2 <= lam <= 1e2 for lam in lams)


def test_results_are_read_where_the_code_is_absent(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    study = parse_study(STUDY + OWN + "lam = [0.5, 5]\n")
    run(study, out=out, inline=True)
    # A trap in the place of the code: whoever imports it is found out.
    shutil.rmtree(home)
    home.mkdir()
    trap = f"open({str(tmp_path / 'imported')!r}, 'w').close()\n"
    for name in ("__init__", "clipped"):
        (home / f"{name}.py").write_text(trap)
    forget()
    read = f"""if True:
        import sys
        from clsweep.cli.main import main
        assert main(["status", {str(out)!r}]) == 0
        assert main(["report", {str(out)!r}, "--format", "csv"]) == 0
        import clsweep
        clsweep.load({str(out)!r})
        assert "torch" not in sys.modules
        """
    environment = {"PYTHONPATH": f"{ROOT}:{home.parent}", "OMP_NUM_THREADS": "1", "COLUMNS": "150"}
    ran = subprocess.run(
        [sys.executable, "-c", read], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    assert "needs an anchor" in ran.stdout
    assert "does not know the method" not in ran.stdout
    assert not (tmp_path / "imported").exists()
    stored = stored_study(out / "study.toml")
    assert [c.id for c in configurations(stored)] == [c.id for c in configurations(study)]


def test_a_study_travels_without_its_code(home: Path) -> None:
    study = parse_study(STUDY + OWN + "lam = { low = 1, high = 100, n = 3 }\n")
    data = cloudpickle.dumps(study.methods)
    forget()
    shutil.rmtree(home)
    back = study.model_copy(update={"methods": cloudpickle.loads(data)})
    assert [c.id for c in configurations(back)] == [c.id for c in configurations(study)]
    assert back.methods[1].axes() == study.methods[1].axes()


def test_the_resolved_study_is_an_equal_study(home: Path, tmp_path: Path) -> None:
    study = parse_study(STUDY + OWN + "lam = [1, 2]\ntraining.lr = [0.1, 0.2]\n")
    path = tmp_path / "resolved.toml"
    path.write_text(resolved_toml(study))
    assert load_study(path) == study


def test_an_edit_makes_other_configurations_but_no_other_source(
    home: Path, tmp_path: Path
) -> None:
    study = parse_study(STUDY + OWN + "lam = [1, 2]\n")
    ids = {c.id for c in configurations(study)}
    run(study, out=tmp_path / "out", inline=True)
    (home / "bounds.py").write_text("def bounded(pull, bound): return pull\n")
    forget()
    edited = parse_study(STUDY + OWN + "lam = [1, 2]\n")
    assert len(ids & {c.id for c in configurations(edited)}) == 1  # fine-tuning's
    planned = plan(edited, tmp_path / "out")
    assert (planned.n_done, planned.n_left, planned.n_sources) == (2, 4, 0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "it names no method"),
        ('method = "a:b"\nlearner = "a:b"', "both 'method' and 'learner' are given"),
        ("method = 3", "method = 3"),
        ('method = "my_pkg.clipped"', 'method = "my_pkg.clipped"'),
        ('method = "my_pkg.gone:build"', "No module named 'my_pkg.gone'"),
        (f'method = "{KEY}"\nlamb = 1', "unknown key 'lamb'\n.*did you mean 'lam'"),
        (f'method = "{KEY}"\nlam = -1', "lam = -1"),
        (f'method = "{KEY}"\nlam = []', "the list is empty"),
        (f'method = "{KEY}"\ntraining.lrr = 1', "unknown key 'lrr'"),
        (f'method = "{KEY}"\n[[methods]]\nname="custom"\nmethod = "{KEY}"', "is labelled"),
    ],
)
def test_a_mistake_in_its_table_is_told(home: Path, table: str, said: str) -> None:
    with pytest.raises(StudyError, match=said) as caught:
        parse_study(STUDY + '[[methods]]\nname = "custom"\n' + table, "study.toml")
    assert "study.toml: methods[" in str(caught.value)


def test_the_schema_has_the_table() -> None:
    schema = Study.model_json_schema()
    assert {"name", "method", "learner", "label"} <= schema["$defs"]["CustomTable"][
        "properties"
    ].keys()
    assert len(schema["properties"]["methods"]["items"]["oneOf"]) == len(METHODS) + 1
