"""What is imported in a process is told from what its file says, whenever it was imported."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_LOOK = "from clsweep.nets.code_files import edited_file\n"
_EDIT = "from pathlib import Path\nPath('helper.py').write_text('SCALE = 22\\n')\n"
# Whether and where Python keeps what it compiled is the test's to say.
_KEPT_BY = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
_SAY = "print(edited_file('mine'))\n"


def said(folder: Path, program: str, *options: str) -> str:
    """What a process of its own says, begun when the files had been written."""
    (folder / "mine.py").write_text("import helper\n\ndef build():\n    return helper.SCALE\n")
    (folder / "helper.py").write_text("SCALE = 1\n")
    root = Path(__file__).parent.parent
    path = os.pathsep.join([str(folder), str(root)])
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(program)],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k not in _KEPT_BY} | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "program",
    [
        "import mine\n" + _LOOK + _EDIT + _SAY,
        "import mine\n" + _EDIT + _LOOK + _SAY,
        _LOOK + "import mine\n" + _EDIT + _SAY,
        _LOOK + "import helper\n" + _EDIT + "import mine\n" + _SAY,
    ],
    ids=["before clsweep", "edited before clsweep", "after clsweep", "a helper alone"],
)
def test_an_edit_after_the_import_is_seen(tmp_path: Path, program: str) -> None:
    assert said(tmp_path, program) == str(tmp_path / "helper.py")


_RELOAD = "import importlib, helper; importlib.reload(helper)\n"


@pytest.mark.parametrize(
    ("program", "options"),
    [
        ("import mine\n" + _LOOK + _SAY, ()),
        ("import mine\n" + _LOOK + _SAY, ("-B",)),
        (_EDIT + "import mine\n" + _LOOK + _SAY, ()),
        (_LOOK + _EDIT + "import mine\n" + _SAY, ()),
        (_LOOK + "import mine\n" + _EDIT + _RELOAD + _SAY, ()),
        (_LOOK + _EDIT + _SAY, ()),
    ],
    ids=["unedited", "nothing kept", "edited first", "late", "reloaded", "not imported"],
)
def test_what_is_imported_as_it_stands_is_no_edit(
    tmp_path: Path, program: str, options: tuple[str, ...]
) -> None:
    assert said(tmp_path, program, *options) == "None"
