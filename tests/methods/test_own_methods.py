"""Methods of users' own: found by import path or entry point; mistakes name file and line."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from clsweep.cli.main import main
from clsweep.errors import MethodError, StudyError
from clsweep.methods import METHODS, known_entry, own_methods
from clsweep.methods.hyper_fields import is_free_name
from clsweep.methods.hypers import NoHyper
from clsweep.methods.known_methods import entry_of, method_doc
from clsweep.methods.own_build import PATIENCE, patience_seconds
from clsweep.study.file_schema import file_schema
from clsweep.study.study import parse_study
from tests.support.own_code import CLIPPED, package

NUMBERS = """\
from clsweep.methods.hyper_fields import Hyper as Numbers, fixed, knob, nuisance

class Hyper(Numbers):
    {field}

def build(net, hyper):
    raise AssertionError("only a worker builds")
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with package(tmp_path) as home:
        yield home


def test_what_is_declared_beside_the_code_is_known(home: Path) -> None:
    entry = entry_of("my_pkg.clipped:build")
    assert (entry.title, entry.citation, entry.uses) == ("clipped L2", "ours 2026", ("an anchor",))
    assert (entry.kind, entry.path) == ("method", "my_pkg.clipped:build")
    assert list(entry.hyper.model_fields) == ["lam", "bound"]
    assert re.fullmatch(r"[0-9a-f]{24}", entry.code)
    assert known_entry("my_pkg.clipped:build") == entry
    assert method_doc("my_pkg.clipped:build").startswith("L2 anchor with bounded pull.")


def test_a_module_that_declares_its_numbers_alone_gets_a_readable_title(tmp_path: Path) -> None:
    bare = CLIPPED.replace("ENTRY = ", "other = ")
    with package(tmp_path, bare=bare, mine=bare + "\nclass Learner: ...\nBent = build"):
        entry = entry_of("my_pkg.bare:build")
        assert (entry.title, entry.citation, entry.starts_from_source) == ("bare", "", True)
        learner = entry_of("my_pkg.mine:Learner", "learner")
        assert (learner.title, learner.kind, learner.starts_from_source) == (
            "mine",
            "learner",
            False,
        )
        assert entry_of("my_pkg.mine:Bent").title == "Bent"


def test_a_class_is_a_learner_and_a_function_a_method(tmp_path: Path) -> None:
    with package(tmp_path, mine=CLIPPED + "\nclass Learner: ...\n"):
        assert entry_of("my_pkg.mine:Learner").kind == "learner"
        with pytest.raises(StudyError, match="is a class") as caught:
            entry_of("my_pkg.mine:Learner", "method")
        assert 'learner = "my_pkg.mine:Learner"' in str(caught.value)
        with pytest.raises(StudyError, match="is no class"):
            entry_of("my_pkg.clipped:build", "learner")


def test_several_methods_of_one_module_have_an_entry_each(tmp_path: Path) -> None:
    more = "\nfrom dataclasses import replace\ndef other(net, hyper): ...\n"
    more += 'other.entry = replace(ENTRY, title="the other")\n'
    with package(tmp_path, clipped=CLIPPED + more):
        assert entry_of("my_pkg.clipped:build").title == "clipped L2"
        assert entry_of("my_pkg.clipped:other").title == "the other"


def test_its_code_is_that_of_its_local_imports_too(tmp_path: Path) -> None:
    codes = []
    for bounds in ("x = 1", "# a comment\nx = 1", "x = 2"):
        with package(tmp_path, bounds=f"{bounds}\ndef bounded(pull, bound): return pull\n"):
            codes.append(entry_of("my_pkg.clipped:build").code)
    assert codes[0] == codes[1] != codes[2]


def test_an_installed_entry_point_is_used_by_its_plain_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = {
        "clsweep.methods": [EntryPoint("clipped", "my_pkg.clipped:build", "clsweep.methods")],
        "clsweep.learners": [EntryPoint("mine", "my_pkg.mine:Learner", "clsweep.learners")],
    }
    monkeypatch.setattr(own_methods, "entry_points", lambda group: points[group])
    own_methods._installed.cache_clear()
    mine = CLIPPED.replace("ENTRY =", "other =") + "\nclass Learner: ...\n"
    with package(tmp_path, mine=mine):
        assert own_methods.installed_names() == ("clipped", "mine")
        assert entry_of("clipped").path == "my_pkg.clipped:build"
        assert entry_of("mine").kind == "learner"
        with pytest.raises(StudyError, match="did you mean 'clipped'"):
            entry_of("cliped")
        schema = file_schema()
        table = schema["$defs"]["clipped_request"]["properties"]
        assert {"lam", "bound", "label"} <= table.keys()
        assert table["name"]["const"] == "clipped"
        study = parse_study(
            'name = "s"\n[benchmark]\nname = "split"\n[[methods]]\nname = "clipped"\nlam = 3\n'
        )
        assert study.methods[0].axes()["lam"] == (3.0,)
        assert study.methods[0].named == {"name": "clipped"}
        capsys.readouterr()
        assert main(["methods"]) == 0
        assert "clipped L2" in capsys.readouterr().out
    own_methods._installed.cache_clear()


@pytest.mark.parametrize(
    ("path", "modules", "said"),
    [
        ("my_pkg.clipped", {}, "unknown method 'my_pkg.clipped'"),
        ("my_pkg.gone:build", {}, "No module named 'my_pkg.gone'"),
        ("my_pkg.clipped:biuld", {}, "module 'my_pkg.clipped' has no attribute 'biuld'"),
        ("my_pkg.m:build", {"m": "x = 1\nimport nothing_of_the_kind\ndef build(): ...\n"},
         "No module named 'nothing_of_the_kind'(.|\\n)*m.py, line 2"),
        ("my_pkg.m:build", {"m": "\n\nbuild = 1 / 0\n"}, "division by zero(.|\\n)*m.py, line 3"),
        ("my_pkg.m:build", {"m": "def build(:\n"}, "m.py, line 1 is no Python"),
        ("my_pkg.m:build", {"m": "import sys\nsys.exit(3)\ndef build(): ...\n"},
         "SystemExit: 3(.|\\n)*m.py, line 2"),
        ("my_pkg.m:build", {"m": "build = 3\n"}, "is a int, which cannot be called"),
        ("my_pkg.m:build", {"m": "def build(net, hyper): ...\n"},
         "there is no declaration of the numbers of 'my_pkg.m:build'"),
        ("my_pkg.m:build", {"m": "class Hyper: ...\ndef build(net, hyper): ...\n"},
         "Hyper of 'my_pkg.m:build' is no class of numbers\n.*\n  where: method: .*m.py, line 1"),
        ("my_pkg.m:build", {"m": "ENTRY = 'mine'\ndef build(net, hyper): ...\n"},
         "ENTRY of 'my_pkg.m:build' is a str"),
        ("my_pkg.m:build", {"m": NUMBERS.format(field="x: list[int] = fixed([], doc='')")},
         "the number 'x' of 'my_pkg.m:build' is a list"),
        ("my_pkg.m:build", {"m": NUMBERS.format(field="x: float")},
         "the number 'x' .* has no default"),
        ("my_pkg.m:build", {"m": NUMBERS.format(field="x: float = 1.0")},
         "says nothing of its role"),
        ("my_pkg.m:build", {"m": NUMBERS.format(field="label: float = fixed(1.0, doc='')")},
         "the number 'label' .* has a name that is taken\n.*\n  where: method: .*m.py, line 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_file_and_line(
    tmp_path: Path, path: str, modules: dict[str, str], said: str
) -> None:
    with package(tmp_path, **modules), pytest.raises(StudyError) as caught:
        entry_of(path)
    message = str(caught.value)
    assert re.search(said, message)
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ('scenarios=("tsk",)', "scenarios of 'my_pkg.clipped:build' are"),
        ('statistics="f", statistics_read=("lamb",)', "names 'lamb'.*\n.*did you mean 'lam'"),
        (r'own_start="\x1b[2J"', "own_start of"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, argument: str, said: str) -> None:
    wrong = CLIPPED.replace('uses=("an anchor",)', argument)
    with package(tmp_path, clipped=wrong), pytest.raises(StudyError, match=said):
        entry_of("my_pkg.clipped:build")


def test_code_that_was_edited_after_its_import_is_refused(home: Path) -> None:
    entry_of("my_pkg.clipped:build")
    (home / "bounds.py").write_text("def bounded(pull, bound): return pull * 2\n")
    with pytest.raises(StudyError, match="edited after this process had imported it"):
        entry_of("my_pkg.clipped:build")


@pytest.mark.parametrize("file", ["clipped", "bounds"])
def test_an_edit_before_the_first_look_is_refused_and_a_comment_is_not(
    home: Path, file: str
) -> None:
    importlib.import_module("my_pkg.clipped")
    path = home / f"{file}.py"
    said = path.read_text(encoding="utf-8")
    path.write_text(f"# a note\n{said}", encoding="utf-8")
    assert entry_of("my_pkg.clipped:build").title == "clipped L2"
    path.write_text(f"SCALE = 22\n{said}", encoding="utf-8")
    with pytest.raises(StudyError, match="edited after this process had imported it") as caught:
        entry_of("my_pkg.clipped:build")
    assert f"method: {path}" in str(caught.value)
    path.write_text(said, encoding="utf-8")
    assert entry_of("my_pkg.clipped:build").title == "clipped L2"


def test_names_of_ours_come_first() -> None:
    assert entry_of("ewc") is METHODS["ewc"]
    assert METHODS["ewc"].code == METHODS["ewc"].path == ""
    assert is_free_name("lam")
    assert not is_free_name("phase_steps")
    assert issubclass(NoHyper, own_methods.Hyper)


@pytest.mark.parametrize("said", ["0", "-1", "float('inf')", "float('nan')", "'60'", "True"])
def test_a_patience_that_is_no_time_is_refused(tmp_path: Path, said: str) -> None:
    source = f"{CLIPPED}\nbuild.patience_seconds = {said}\n"
    with package(tmp_path, clipped=source):
        entry = entry_of("my_pkg.clipped:build")
        with pytest.raises(
            MethodError, match="patience_seconds of 'my_pkg.clipped:build' is"
        ) as e:
            patience_seconds(entry)
    assert "clipped.py" in e.value.where


def test_a_patience_is_what_the_function_says(tmp_path: Path) -> None:
    with package(tmp_path, clipped=f"{CLIPPED}\nbuild.patience_seconds = 60\n", bare=CLIPPED):
        assert patience_seconds(entry_of("my_pkg.clipped:build")) == 60
        assert patience_seconds(entry_of("my_pkg.bare:build")) == PATIENCE
