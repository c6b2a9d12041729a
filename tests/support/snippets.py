"""The code blocks of the documentation, and how each is run or, where it cannot be, read.

A block is run unless the line before it is `<!-- not run: REASON -->`. `<!-- in: FOLDER -->` runs
it in a folder below the page's own. A block with `title="FILE"` is written to that file first.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import typer
from markdown_it import MarkdownIt

from clsweep.cli.main import app, main
from clsweep.study.several_benchmarks import tables_by_benchmark
from clsweep.study.study import Study, load_studies, parse_study
from clsweep.study.toml_files import toml_tables

HOUSE = Path(__file__).parents[2]
PAGES = sorted([HOUSE / "README.md", *(HOUSE / "docs").glob("*.md")])
# `text` and `bibtex` show what is no programme.
LANGUAGES = ("toml", "python", "sh", "console", "sql", "text", "bibtex")
_MARK = re.compile(r"<!-- (not run|in): (.+) -->\n*$")
_PROMPT = re.compile(r"^\w*\$ +")
# What a page assumes in a fragment that is no whole study.
_REST = {
    "benchmark": '[benchmark]\nname = "split"\ndataset = "digits"\nn_tasks = 2\n',
    "methods": '[[methods]]\nname = "finetune"\n[[methods]]\nname = "ewc"\n',
}
_SHELL = ("if", "for", "while", "[", ">", ";", "|")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and what the page says of running it."""

    page: str
    line: int
    language: str
    text: str
    title: str
    reason: str
    folder: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order; an indented block has the language ''."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for token in MarkdownIt("commonmark").parse(text):
        if token.type not in ("fence", "code_block"):
            continue
        assert token.map is not None
        language, _, rest = token.info.partition(" ")
        mark = _MARK.search("\n".join(lines[: token.map[0]]))
        title = re.search(r'title="([^"]+)"', rest)
        found.append(
            Block(
                path.name,
                token.map[0] + 1,
                language,
                token.content,
                title[1] if title else "",
                mark[2] if mark and mark[1] == "not run" else "",
                mark[2] if mark and mark[1] == "in" else "",
            )
        )
    return found


def study_of(block: Block) -> Study:
    """The study of a TOML block; a fragment is completed by what it does not say."""
    tables = toml_tables(block.text, str(block))
    if tables_by_benchmark(tables, str(block)):  # whole, and written to a file
        return next(iter(load_studies(block.title).values()))
    head = "".join(
        f"{key} = {value}\n"
        for key, value in (("name", '"page"'), ("seeds", 10))
        if key not in tables and "name" not in tables
    )
    rest = "".join(text for key, text in _REST.items() if key not in tables)
    return parse_study(head + block.text + rest, str(block))


def commands(block: Block) -> list[list[str]]:
    """The words of every command of a shell block; of a session, of what follows its prompts."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [_PROMPT.sub("", line) for line in lines if _PROMPT.match(line)]
    words = [shlex.split(line, comments=True) for line in lines]
    split: list[list[str]] = []
    for line in filter(None, words):
        split.append([])
        for word in line:
            if word == "&&":
                split.append([])
            else:
                split[-1].append(word)
    return split


def run_shell(block: Block, folder: Path) -> None:
    """Run a shell block in the current folder without Ray, in this process where it can be.

    Args:
        block: of commands of clsweep.
        folder: of the page, for a `clsweep` that a shell finds.
    """
    if any(word in _SHELL for words in commands(block) for word in words):
        _run_in_bash(block, folder)
        return
    for words in commands(block):
        assert words[0] == "clsweep", f"{block}: {words[0]} is no clsweep; say why it is not run"
        inline = ["--inline"] if words[1] == "run" and "--inline" not in words else []
        code = main([*words[1:], *inline])
        # 1: some trials diverged, which is a result.
        assert code == 0 or (code == 1 and words[1] in ("run", "status")), (str(block), words)


def _run_in_bash(block: Block, folder: Path) -> None:
    """Run a block that a shell has to read, with a `clsweep` that uses no Ray."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    tool = tools / "clsweep"
    tool.write_text(
        '#!/bin/sh\n[ "$1" = run ] && set -- "$@" --inline\n'
        f'exec {shlex.quote(sys.executable)} -m clsweep "$@"\n'
    )
    tool.chmod(0o755)
    script = f"PATH={shlex.quote(str(tools))}:$PATH\nPYTHONPATH={HOUSE}\nexport PYTHONPATH\n"
    ran = subprocess.run(["bash", "-c", script + block.text], capture_output=True, text=True)
    assert "error" not in ran.stderr, ran.stderr


def check_command(words: list[str]) -> None:
    """Assert that the programs, options, files and names of a command exist.

    Args:
        words: of one command; programs that are not this repository's are passed over.
    """
    while words and re.match(r"^[A-Z_]+=", words[0]):
        words = words[1:]
    if words[0] == "clsweep":
        _check_arguments(words[1:])
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[([\w,]+)\]", words[-1])
        project = (HOUSE / "pyproject.toml").read_text(encoding="utf-8")
        for extra in ",".join(extras).split(",") if extras else []:
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), words
    elif words[0] == "python" and words[1].endswith(".py"):
        source = (HOUSE / words[1]).read_text(encoding="utf-8")
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in source, words
    elif words[:3] == ["python", "-m", "pytest"] and "-m" in words[3:]:
        project = (HOUSE / "pyproject.toml").read_text(encoding="utf-8")
        assert f'"{words[-1]}: ' in project, words
    elif words[0] == "make":
        makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
        assert f"\n{words[1]}:" in makefile, words
    for word in words:
        if word.endswith((".sh", ".yaml")):
            assert (HOUSE / "docs/clusters" / word).exists(), words


def _check_arguments(words: list[str]) -> None:
    group = typer.main.get_command(app)
    context = group.make_context("clsweep", [], resilient_parsing=True)
    name, command, rest = group.resolve_command(context, words)  # type: ignore[attr-defined]
    assert command is not None, words
    # Raises where an option or an argument is not known, or not of its kind.
    with command.make_context(name, list(rest), parent=context):
        pass
