"""README, CONTRIBUTING and pages name what there is: methods, packages, files, numbers."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from clsweep.methods import METHODS
from clsweep.nets.config import NetConfig
from clsweep.study.study import Study

HOUSE = Path(__file__).parents[2]
DOCS = HOUSE / "docs"
README = (HOUSE / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (HOUSE / "CONTRIBUTING.md").read_text(encoding="utf-8")
DESIGN = (DOCS / "design.md").read_text(encoding="utf-8")
RESULTS = DOCS / "results.md"
TEXTS = sorted([*HOUSE.glob("*.md"), *DOCS.glob("*.md"), *HOUSE.glob("benchmarks/*.md")])
# Files that are named before they are there, and patterns.
_NO_FILE = re.compile(r"NAME|/x\.|\.\.\.|…|\*")


def _between(text: str, start: str, end: str) -> str:
    return text[text.index(start) : text.index(end, text.index(start))]


def test_the_method_table_lists_every_method_once() -> None:
    table = _between((DOCS / "methods.md").read_text("utf-8"), "| name | method |", "\n\n")
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(METHODS)


def test_the_table_of_lanes_says_of_every_method_what_the_method_says() -> None:
    table = _between((DOCS / "lanes.md").read_text("utf-8"), "| method | lanes |", "\n\n")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert [*rows] == [*METHODS]
    for name, said in rows.items():
        entry = METHODS[name]
        if entry.lanes is None:
            assert said == f"none: {entry.alone}"
            continue
        numbers, _, where = said.partition("; where ")
        assert re.findall(r"`(\w+)`", numbers) == [*entry.lanes], name
        assert (where == "`look_ahead = false`") == bool(entry.lanes_where), name


def test_every_net_is_named_once_with_its_keys() -> None:
    table = _between((DOCS / "networks.md").read_text("utf-8"), "| name | network |", "\n\n")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", table, re.MULTILINE))
    names = NetConfig.model_json_schema()["properties"]["name"]["enum"]
    assert sorted(rows) == sorted(names)
    needed = {"torchvision": {"model": "resnet18"}, "custom": {"factory": "a:b"}}
    for name, keys in rows.items():
        # `bn_mode` means something only where there is batch norm.
        norm = {"norm": "batch"} if "`norm`" in keys else {}
        net = NetConfig.model_validate({"name": name, **needed.get(name, {}), **norm})
        assert [*re.findall(r"`(\w+)`", keys)] == list(net.used_keys)[1:], name


def test_every_room_is_named() -> None:
    rooms = _between(CONTRIBUTING, "## Rooms", "\n## ")
    folders = {path.parent for path in (HOUSE / "clsweep").glob("*/*") if path.is_file()}
    missing = sorted(f.name for f in folders if f"`{f.name}/`" not in rooms)
    assert [name for name in missing if name != "__pycache__"] == []


def test_every_dependency_has_its_reason() -> None:
    project = _between((HOUSE / "pyproject.toml").read_text(), "\ndependencies = [", "\n]")
    packages = re.findall(r'"([\w-]+(?:\[\w+\])?)', project)
    reasons = _between(DESIGN, "| package | why |", "\n\n")
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
    for page in (folder / "README.md", RESULTS):
        plain = " ".join(page.read_text(encoding="utf-8").split())
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


def test_readme_and_guide_are_short() -> None:
    assert len(README.splitlines()) <= 80
    assert [line for line in README.splitlines() if len(line) > 120] == []
    assert len(CONTRIBUTING.splitlines()) < 120
    assert CONTRIBUTING.index("make check") < CONTRIBUTING.index("## ")


def _tokens(text: str) -> list[Token]:
    top = MarkdownIt("commonmark").enable("table").parse(text)
    return [token for parent in top for token in (parent, *(parent.children or ()))]


def _anchors(path: Path) -> set[str]:
    """Anchors of headings, as far as GitHub and Python-Markdown give the same."""
    tokens = _tokens(path.read_text(encoding="utf-8"))
    titles = [
        "".join(child.content for child in after.children or ())
        for token, after in zip(tokens, tokens[1:], strict=False)
        if token.type == "heading_open"
    ]
    github = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return {slug for slug, title in zip(github, titles, strict=True) if slug == slugify(title)}


def slugify(title: str) -> str:
    """The anchor of a heading as Python-Markdown makes it."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_every_link_inside_leads_somewhere(path: Path) -> None:
    for token in _tokens(path.read_text(encoding="utf-8")):
        link = str(token.attrs.get("href", token.attrs.get("src", "")))
        if not link or "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if path.parent == DOCS:  # or the site has no such page
            assert target.is_relative_to(DOCS), link
        if anchor:
            assert anchor in _anchors(target), link


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_every_file_that_is_named_is_there(path: Path) -> None:
    if path.name == "CHANGELOG.md":
        return  # what was there once
    text = path.read_text(encoding="utf-8")
    pattern = r"(?<![\w/])((?:benchmarks|configs|docs|results/reference|tests)/[\w./-]*\w)"
    named = [name for name in re.findall(pattern, text) if not _NO_FILE.search(name)]
    assert [name for name in named if not (HOUSE / name).exists()] == []


def test_every_page_is_in_the_site_and_on_its_first_page() -> None:
    site = yaml.safe_load((HOUSE / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = sorted(path.name for path in DOCS.glob("*.md"))
    entries = [value for item in site["nav"] for value in item.values()]
    listed = [
        e for entry in entries for e in (entry if isinstance(entry, list) else [{"": entry}])
    ]
    assert sorted(name for entry in listed for name in entry.values()) == pages
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [name for name in pages if f"({name})" not in index and name != "index.md"] == []
    for name in set(pages) - {"index.md"}:
        assert f"docs/{name})" in README or name == "design.md", name


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_a_page_has_one_title(path: Path) -> None:
    levels = [t.tag for t in _tokens(path.read_text("utf-8")) if t.type == "heading_open"]
    assert levels[0] == "h1"
    assert levels.count("h1") == 1


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((HOUSE / "CITATION.cff").read_text(encoding="utf-8"))
    project = (HOUSE / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.*)"$', project, re.MULTILINE)
    page = (DOCS / "cite.md").read_text(encoding="utf-8")
    assert citation["version"] == version
    assert f"version = {{{version}}}" in page
    assert f"{{{citation['title']}}}" in page
    assert f'license = "{citation["license"]}"' in project


def test_every_section_of_a_study_file_is_on_its_page() -> None:
    table = _between((DOCS / "studies.md").read_text("utf-8"), "| section |", "\n\n")
    named = re.findall(r"`\[*(\w+)\]*`", table)
    assert sorted(named) == sorted(Study.model_fields)
