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

from clsweep.cli.main import main
from clsweep.errors import StudyError
from clsweep.execution.dry_run import plan
from clsweep.execution.runner import run
from clsweep.methods import METHODS
from clsweep.reporting.results_reader import read
from clsweep.study.configurations import configurations
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, load_study, parse_study, stored_study
from tests.end_to_end.studies import ROOT
from tests.support.own_code import CLIPPED, forget, package

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

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
        assert main(["report", {str(out)!r}, "--full", "--format", "csv"]) == 0
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


def test_a_user_s_study_file_stands_for_its_results(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("mine.toml")
    file.write_text(STUDY + OWN + "lam = [0.5, 5]\n")
    run(load_study(file), inline=True)
    capsys.readouterr()
    for words in (
        ["status", "mine.toml"],
        ["report", "mine.toml", "--format", "csv"],
        ["export", "mine.toml", "--study", "one.toml"],
        ["export", "mine.toml", "--study", "two.toml", "--for", "mine.toml"],
    ):
        assert main(words) == 0, capsys.readouterr().err
    for name in ("one.toml", "two.toml"):
        assert KEY in {one.method for one in configurations(load_study(name))}


@pytest.mark.parametrize("has_own", [False, True])
def test_declarations_that_cannot_be_read_are_set_aside_by_a_run(
    home: Path, tmp_path: Path, has_own: bool
) -> None:
    study = parse_study(STUDY + (OWN if has_own else ""))
    out = tmp_path / "out"
    run(study, out=out, inline=True)
    (out / "methods.json").write_text('{"format": 1')
    summary = run(study, out=out, inline=True)
    assert (summary.n_new, summary.n_failed) == (0, 0)
    (moved,) = (out / "damaged").iterdir()
    assert moved.read_text() == '{"format": 1'
    (said,) = [text for text in summary.warnings if "methods.json" in text]
    assert f"damaged/{moved.name}" in said
    assert (out / "methods.json").exists() is has_own
    stored = stored_study(out / "study.toml")
    assert [c.id for c in configurations(stored)] == [c.id for c in configurations(study)]
    assert not any("methods.json" in text for text in run(study, out=out, inline=True).warnings)


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


BAD = {
    "in_place": ("grads = {n: g.mul_(2) for n, g in grads.items()}", "changes what it is given"),
    "missing": ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind' (clipped.py"),
    "raises": ("pull = 1 / 0", "division by zero (clipped.py, line 30)"),
    "torch": ('grads["none"]', "KeyError: 'none' (clipped.py, line 30)"),
    "hangs": ('__import__("time").sleep(30)', "my_pkg/clipped.py, line 30"),
    "prints": ('print("here I am")', "clipped.py, line 30, printed: here I am"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_in_a_hook_stands_in_the_record(tmp_path: Path, name: str) -> None:
    line, said = BAD[name]
    head = "    def steer(grads, full, memory, batch, task):\n"
    source = CLIPPED.replace(head, f"{head}        {line}\n")
    if name == "hangs":
        source += "build.patience_seconds = 0.1\n"
    with package(tmp_path, clipped=source):
        summary = run(parse_study(STUDY + OWN), out=tmp_path / "out", inline=True)
    rows = pq.read_table(tmp_path / "out/trials.parquet").to_pylist()
    own = [row for row in rows if row["method"] == KEY]
    assert all(said in row["message"] for row in own), own[0]["message"]
    assert name != "hangs" or "steer of 'clipped L2' did not return for 0.1 s" in own[0]["message"]
    assert summary.n_failed == (0 if name == "prints" else 2)
    assert {row["status"] for row in rows if row["method"] == "finetune"} == {"ok"}


def test_a_report_shows_the_rows_of_one_code_and_says_so(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(parse_study(STUDY + OWN), out=out, inline=True)
    (home / "bounds.py").write_text("def bounded(pull, bound): return pull\n")
    forget()
    edited = parse_study(STUDY + OWN)
    (note,) = [note for note in plan(edited, out).notes if "other code" in note]
    assert f"2 trials of other code of '{KEY}'" in note
    run(edited, out=out, inline=True)
    found = read(out)
    assert len(found.records) == 4
    ids = {record["config"]["config_id"] for record in found.records}
    assert ids == {c.id for c in configurations(edited)}
    assert any(f"2 trials of other code of '{KEY}'" in note for note in found.notes)
    assert len(pq.read_table(out / "trials.parquet")) == 6


ESTIMATE = """\
from clsweep.methods.parts.importance import fisher_diag

def estimate(net, params, learnt, n_examples):
    return fisher_diag(net, params, learnt, estimator="empirical", n_examples=n_examples)

def omega(net, params, learnt, n_examples):
    return {n: v + 1 for n, v in estimate(net, params, learnt, n_examples).items()}

def negative(net, params, learnt, n_examples):
    return {n: -v - 1 for n, v in estimate(net, params, learnt, n_examples).items()}
"""


def test_an_estimator_of_ones_own_is_cached_and_part_of_the_identity(tmp_path: Path) -> None:
    tables = '[[methods]]\nname = "ewc"\nlam = [1e2, 1e3]\n'
    tables += 'fisher = ["empirical", "my_pkg.m:estimate"]\n'
    tables += '[[methods]]\nname = "mas"\nlam = 1.0\nomega = ["squared_norm", "my_pkg.m:omega"]\n'
    with package(tmp_path, m=ESTIMATE):
        study = parse_study(STUDY + tables)
        planned = plan(study, tmp_path / "out")
        assert planned.n_statistics == 2 * 4  # one per seed and estimator, whatever λ is
        summary = run(study, out=tmp_path / "out", inline=True)
        assert summary.n_failed == 0
        ids = {c.id for c in configurations(study)}
    counts: dict[tuple[str, float, int], list[str]] = {}
    configs = {
        c["config_id"]: c for c in pq.read_table(tmp_path / "out/configs.parquet").to_pylist()
    }
    for row in pq.read_table(tmp_path / "out/accuracy.parquet").to_pylist():
        config = configs[row.pop("config_id")]
        if config["method"] == "ewc":
            key = (config["fisher"], config["lam"], row["seed"])
            counts.setdefault(key, []).append(str(row))
    for (fisher, lam, seed), rows in counts.items():
        assert rows == counts["empirical", lam, seed], fisher
    stored = stored_study(tmp_path / "out/study.toml")  # the code is gone
    assert {c.id for c in configurations(stored)} == ids
    with package(tmp_path, m=ESTIMATE.replace("v + 1", "v + 2")):
        other = {c.id for c in configurations(parse_study(STUDY + tables))}
    assert len(ids - other) == 3  # both of EWC, and MAS's: they are of one module


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site/my_pkg-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-pkg\nVersion: 1.0\n")
    points = "[clsweep.estimators]\nkronecker = my_pkg.m:estimate\nexact = my_pkg.m:omega\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(info.parent))


@pytest.mark.usefixtures("installed")
def test_an_installed_estimator_is_taken_by_its_plain_name(tmp_path: Path) -> None:
    table = '[[methods]]\nname = "ewc"\nfisher = {}\n'
    with package(tmp_path, m=ESTIMATE):
        study = parse_study(STUDY + table.format('["exact", "kronecker"]'))
        by_path = parse_study(STUDY + table.format('["exact", "my_pkg.m:estimate"]'))
        assert study.methods[1].axes()["fisher"] == ("exact", "my_pkg.m:estimate")  # ours first
        assert study.methods[1].estimators.keys() == {"my_pkg.m:estimate"}
        ids = {one.id for one in configurations(study)}
        assert ids == {one.id for one in configurations(by_path)}
        assert run(study, out=tmp_path / "out", inline=True).n_failed == 0
        with pytest.raises(StudyError, match="did you mean 'kronecker'"):
            parse_study(STUDY + table.format('"kroneker"'))
    shutil.rmtree(tmp_path / "site")
    stored = stored_study(tmp_path / "out/study.toml")  # the package is gone
    assert {one.id for one in configurations(stored)} == ids


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("my_pkg.gone:estimate", "No module named 'my_pkg.gone'"),
        ("emprical", "fisher = \"emprical\"\n.*did you mean 'empirical'"),
        ("my_pkg.m:nothing", "has no attribute 'nothing'"),
    ],
)
def test_an_estimator_that_is_none_is_refused(tmp_path: Path, value: str, said: str) -> None:
    table = f'[[methods]]\nname = "ewc"\nfisher = "{value}"\n'
    with package(tmp_path, m=ESTIMATE), pytest.raises(StudyError, match=said) as caught:
        parse_study(STUDY + table, "study.toml")
    assert "study.toml: methods[1].fisher" in str(caught.value)


def test_importances_that_are_none_are_told(tmp_path: Path) -> None:
    table = '[[methods]]\nname = "ewc"\nfisher = "my_pkg.m:negative"\n'
    with package(tmp_path, m=ESTIMATE):
        run(parse_study(STUDY + table), out=tmp_path / "out", inline=True)
    rows = pq.read_table(tmp_path / "out/trials.parquet").to_pylist()
    message = next(row["message"] for row in rows if row["method"] == "ewc")
    assert "negative, infinite or NaN" in message
    assert "m.py, line 9" in message


def test_the_commit_of_the_code_stands_in_its_rows(home: Path, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        name = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        command = ["git", *name, *words]
        ran = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True)
        return ran.stdout.strip()

    git("init", "-q")
    git("add", "*.py")
    git("commit", "-qm", "the code")
    run(parse_study(STUDY + OWN), out=tmp_path / "out", inline=True)
    (home / "clipped.py").write_text(CLIPPED + "\n# a comment\n")
    forget()
    run(parse_study(STUDY + OWN + "lam = [1, 3]\n"), out=tmp_path / "out", inline=True)
    rows = pq.read_table(tmp_path / "out/trials.parquet").to_pylist()
    assert {row["code_commit"] for row in rows} == {git("rev-parse", "HEAD")}
    assert sorted(row["code_dirty"] for row in rows) == [False] * 4 + [True] * 2
    assert {(row["gpu"], row["gpu_driver"]) for row in rows} == {(None, None)}


def test_without_a_repository_nothing_is_said_of_one(home: Path, tmp_path: Path) -> None:
    run(parse_study(STUDY + OWN), out=tmp_path / "out", inline=True)
    rows = pq.read_table(tmp_path / "out/trials.parquet").to_pylist()
    assert {(row["code_commit"], row["code_dirty"]) for row in rows} == {(None, None)}
