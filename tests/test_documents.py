"""README and CONTRIBUTING name what there is: the methods, the modules, the files of a result."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq

from clsweep.methods import METHODS
from clsweep.settings import NetConfig

HOUSE = Path(__file__).parent.parent
README = (HOUSE / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (HOUSE / "CONTRIBUTING.md").read_text(encoding="utf-8")


def _between(text: str, start: str, end: str) -> str:
    return text[text.index(start) : text.index(end, text.index(start))]


def test_the_method_table_lists_every_method_once() -> None:
    table = _between(README, "| name | method |", "\n\n")
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(METHODS)


def test_every_net_is_named() -> None:
    nets = _between(README, "Nets: ", "`clsweep schema`")
    for name in NetConfig.model_json_schema()["properties"]["name"]["enum"]:
        assert re.search(rf'[`"]{name}[`"]', nets), name


def test_the_module_table_lists_every_module_once() -> None:
    table = _between(CONTRIBUTING, "| part | modules |", "\n\n")
    named = re.findall(r"`(\w+)`", table.replace("`base`", ""))
    modules = {path.stem for path in (HOUSE / "clsweep").glob("*.py")} - {"__init__"}
    assert sorted(named) == sorted(modules)


def test_every_dependency_has_its_reason() -> None:
    project = _between((HOUSE / "pyproject.toml").read_text(), "\ndependencies = [", "\n]")
    packages = re.findall(r'"([\w-]+(?:\[\w+\])?)', project)
    reasons = _between(CONTRIBUTING, "| package | why |", "\n\n")
    missing = [name for name in packages if f"`{name}`" not in reasons]
    assert missing == []


def test_modules_are_no_longer_than_the_style_allows() -> None:
    lengths = {
        str(path.relative_to(HOUSE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (HOUSE / "clsweep").rglob("*.py")
    }
    assert {path: n for path, n in lengths.items() if n > 500} == {}


def test_the_claims_of_the_searched_fronts_are_those_of_its_tables() -> None:
    folder = HOUSE / "results/reference/search_mnist"
    rows = pq.read_table(folder / "pairs.parquet").to_pylist()
    claims = {
        (row["above"], row["below"]): [
            f"{100 * row[key]:.1f}" for key in ("test_difference", "low", "high")
        ]
        for row in rows
        if row["is_claim"] and row["measure"] == "average_accuracy"
    }
    for readme in (folder / "README.md", HOUSE / "README.md"):
        plain = " ".join(readme.read_text(encoding="utf-8").split())
        said = _between(plain, "<!-- search_mnist: claims -->", "<!-- end -->")
        for (_, below), (mean, low, high) in claims.items():
            assert re.search(rf"{below} by {mean}(?: points)? \[{low}, {high}\]", said)
        assert said.count(" by ") == len(claims)


def test_the_accuracies_of_the_searched_fronts_are_those_of_its_tables() -> None:
    folder = HOUSE / "results/reference/search_mnist"
    text = (folder / "README.md").read_text()
    rows = pq.read_table(folder / "protocols.parquet").to_pylist()
    heading = next(line for line in text.splitlines() if line.startswith("| method |"))
    names = ("best average", "target −1 point", "−5 points")
    places = [i for name in names for i, cell in enumerate(heading.split("|")) if name in cell]
    columns = dict(zip(("average", "required-1", "required-5"), places, strict=True))
    checked = set()
    for row in rows:
        if row["protocol"] in columns and row["config_id"]:
            line = next(x for x in text.splitlines() if x.startswith(f"| {row['label']} |"))
            cell = line.split("|")[columns[row["protocol"]]].split("±")[0].strip()
            name = "average" if row["protocol"] == "average" else "source"
            assert cell == f"{100 * row[f'test_{name}_accuracy']:.1f}"
            checked.add(row["protocol"])
    assert checked == set(columns)
