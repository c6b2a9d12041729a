"""The modules behind a factory, found without importing any."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clsweep.nets.code_files import code_files

FILES = {
    "lab_net/__init__.py": "",
    "lab_net/model.py": """\
'''A net.'''
import json
from torch import nn
from . import blocks
from .deep.head import head as made
import lab_helper
def factory(input_shape, n_outputs):
    '''Builds it.'''
    import lab_late
    return blocks.body(3)  # three
""",
    "lab_net/blocks.py": "def body(n):\n    return n\n",
    "lab_net/deep/head.py": "from ..sizes import WIDTH\nhead = WIDTH\n",
    "lab_net/sizes.py": "WIDTH = 4\n",
    "lab_net/unused.py": "x = 1\n",
    "lab_helper.py": "import importlib\nplugin = importlib.import_module('lab_plugin')\n",
    "lab_plugin.py": "y = 1\n",
    "lab_late.py": "z = 1\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def found(module: str = "lab_net.model") -> dict[str, str]:
    return {file.module: file.meaning for file in code_files(module)}


def test_local_imports_are_followed_and_nothing_is_run(folder: Path) -> None:
    assert sorted(found()) == [
        "lab_helper",
        "lab_late",
        "lab_net",
        "lab_net.blocks",
        "lab_net.deep.head",
        "lab_net.model",
        "lab_net.sizes",
        "lab_plugin",
    ]
    assert not [name for name in sys.modules if name.startswith("lab_")]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("lab_net/blocks.py", "return n", "return n + 1"),
        ("lab_net/sizes.py", "WIDTH = 4", "WIDTH = 5"),
        ("lab_net/sizes.py", "WIDTH = 4", "WIDTH = 4.0"),
        ("lab_net/model.py", "body(3)", "body(3, None)"),
        ("lab_plugin.py", "y = 1", "y = '1'"),
    ],
)
def test_another_meaning_of_one_module_is_noticed_there(file, old, new, folder: Path) -> None:
    before = found()
    path = folder / file
    path.write_text(path.read_text().replace(old, new))
    after = found()
    changed = [name for name in before if before[name] != after[name]]
    assert changed == [file.removesuffix(".py").replace("/", ".")]


def test_comments_docstrings_and_layout_mean_nothing(folder: Path) -> None:
    before = found()
    (folder / "lab_net/model.py").write_text(
        FILES["lab_net/model.py"]
        .replace("'''A net.'''", "'''A net of mine.'''\n\n# with notes\n")
        .replace("    '''Builds it.'''\n", "")
        .replace("body(3)  # three", "body(\n        3,\n    )")
    )
    assert found() == before


def test_what_python_refuses_counts_byte_by_byte(folder: Path) -> None:
    path = folder / "lab_plugin.py"
    path.write_text("def f(:\n")
    first = found()["lab_plugin"]
    path.write_text("def f(: # a comment\n")
    assert found()["lab_plugin"] != first


def test_installed_packages_are_others_affair_but_not_the_factorys_own(tmp_path, monkeypatch):
    place = tmp_path / "site-packages"
    for name in ("lab_installed", "lab_other"):
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text("import lab_other\n")
    monkeypatch.syspath_prepend(str(place))
    assert sorted(found("lab_installed")) == ["lab_installed"]


def test_a_module_that_is_not_there_has_no_files() -> None:
    assert code_files("lab_nowhere") == []
    assert code_files("lab_nowhere.deep.down") == []
    assert code_files("json.nowhere") == []
