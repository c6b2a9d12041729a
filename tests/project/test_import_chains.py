"""How deep the modules of clsweep lie upon each other.

A long chain of imports shows modules that ask the next one to ask the next one. The cures: values
in modules that import nearly nothing, modules side by side that import values alone, and one
module above that imports them all and passes the values.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import clsweep
from tests.support.import_graph import circle, import_graph, longest_chain

# Modules, the first and the last included; imports within functions and for types count.
LONGEST = 22


@pytest.fixture(scope="module")
def graph() -> dict[str, frozenset[str]]:
    return import_graph(Path(clsweep.__file__).parent)


def test_no_modules_import_each_other_in_a_circle(graph: dict[str, frozenset[str]]) -> None:
    assert circle(graph) == []


def test_no_chain_of_imports_grows(graph: dict[str, frozenset[str]]) -> None:
    chain = longest_chain(graph)
    assert chain[0] == "clsweep.__main__"
    assert len(chain) <= LONGEST, "\n".join(chain)


def test_every_import_counts(tmp_path: Path) -> None:
    package = tmp_path / "house"
    (package / "room").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "room/__init__.py": "",
        "top.py": "from house.room import low\nimport os\n",
        "room/low.py": "def f():\n    from .lower import x\n",
        "room/lower.py": "if TYPE_CHECKING:\n    from ..lowest import y\n",
        "lowest.py": "",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    graph = import_graph(package)
    chain = ["house.top", "house.room.low", "house.room.lower", "house.lowest"]
    assert circle(graph) == []
    assert longest_chain(graph) == chain
    (package / "lowest.py").write_text("def g():\n    import house.room.low\n")
    assert circle(import_graph(package)) == [*chain[1:], chain[1]]
