"""Study files that a person, an editor or a script could get wrong, and the check of one."""

from __future__ import annotations

import copy
import json
import math
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clsweep.cli.main import main
from clsweep.data.benchmark_specs import BENCHMARKS
from clsweep.study.configurations import configurations
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import load_study, parse_study
from clsweep.study.templates import study_template, usual_methods
from tests.fuzzing.bytes_of import damaged
from tests.fuzzing.command import called, is_readable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["check_study", "mutated_study", "study_texts"]

HOUSE = Path(__file__).parents[2]

HOSTILE: tuple[Any, ...] = (
    "",
    " ",
    "x" * 1_000_000,
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../b",
    "CON",
    "name.",
    "-rf",
    "\x00",
    "\x1b[31mred",
    "\x7f\x9b31m",
    "\u202eevil",
    "\u2028",
    "[red]markup[/red]",
    "<script>alert(1)</script>",
    "=1+1",
    "é" * 61,
    "\U0001f600",
    True,
    False,
    0,
    -1,
    1,
    2,
    3,
    7,
    10**9,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**400,
    1 << 20_000,
    0.0,
    -0.0,
    0.5,
    1e-320,
    1e308,
    1e22,
    -1.5,
    math.nan,
    math.inf,
    -math.inf,
    [],
    [[]],
    {},
    [0],
    [1, 1],
    [1, "a", True, 0.5],
    [1.0, 10.0],
    list(range(50)),
    [10**9],
    [2**70],
    ["a"],
    [{"name": "ewc"}],
    {"low": 1, "high": 10, "n": 4},
    {"low": 1, "high": 10, "n": 10**9},
    {"low": 1, "high": 10, "n": 9999},
    {"low": 1e-300, "high": 1e300, "n": 500, "log": True},
    {"low": -1e308, "high": 1e308, "n": 100, "log": False},
    {"low": 10, "high": 1},
    {"low": 0, "high": 2**63, "log": False},
    {"low": 0.0, "high": 10**400},
    {"low": 1, "high": 10, "more": 1},
    {"a": {"b": {"c": {"d": 1}}}},
    {"name": "mlp"},
)
NAMES = ("name", "label", "lam", "lr", "n_tasks", "seeds", "methods", "training", "é", "", "a.b")


def study_texts() -> dict[str, str]:
    """Every study file of the house, and the templates of every benchmark."""
    found = {str(p.relative_to(HOUSE)): p.read_text() for p in (HOUSE / "configs").rglob("*.toml")}
    for name in BENCHMARKS:
        found[f"init {name}"] = study_template(name, usual_methods(name), "fuzz")
    return dict(sorted(found.items()))


def mutated_study(text: str, rng: random.Random) -> bytes:
    """A study file after something has gone wrong with its text, or with what it says.

    Args:
        text: the file.
        rng: where mistakes are drawn from.
    """
    if rng.random() < 0.4:
        return damaged(text.encode(), rng)
    tables = tomllib.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(_MISTAKES)(tables, rng)
    made = _toml(tables).encode("utf-8", "surrogatepass")
    if rng.random() < 0.02:  # a table in a table in a table, without a bracket more
        made += b"[" + b"a." * rng.choice((50, 200, 3000)) + b"a]\nx = 1\n"
    return damaged(made, rng) if rng.random() < 0.1 else made


def check_study(data: bytes, folder: Path) -> str:
    """Plan the study; 'accepted' or 'refused'.

    Args:
        data: the study file.
        folder: an empty one, to work in.

    Raises:
        AssertionError: neither was done as it should be.
    """
    path = folder / "fuzzed.toml"
    path.write_bytes(data)
    ran = called(main, ["plan", str(path), "--out", str(folder / "out")])
    assert ran.code in (0, 2), ran
    assert not (folder / "out").exists(), "a plan has written something"
    if ran.code == 2:
        assert ran.err.startswith("error: "), ran
        assert len(ran.err) < 6000, f"a message of {len(ran.err)} characters"
        assert "fuzzed.toml" in ran.err, f"it does not say where\n{ran.err}"
        assert ran.err.count("error: ") == 1, ran.err
        is_readable(ran.err)
        return "refused"
    is_readable(ran.out)
    study = load_study(path)
    again = parse_study(resolved_toml(study))
    assert again == study, "written out in full, it is another study"
    planned = configurations(study)
    assert len({c.id for c in planned}) == len(planned), "a configuration is planned twice"
    assert [c.id for c in configurations(again)] == [c.id for c in planned]
    if study.search.kind == "grid":
        n_trials = len(planned) * len(study.seeds)
        assert re.search(rf"= {n_trials} trials?;", ran.out), (n_trials, ran.out)
    return "accepted"


# ------------------------------------------------------------------------------------ mistakes


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of everything in the tables, however deep."""
    todo = [value]
    while todo:
        here = todo.pop()
        for key in list(here) if isinstance(here, dict) else range(len(here)):
            yield here, key
            if isinstance(here[key], (dict, list)):
                todo.append(here[key])


def _any_node(tables: dict[str, Any], rng: random.Random) -> tuple[Any, Any] | None:
    nodes = list(_nodes(tables))
    return rng.choice(nodes) if nodes else None


def _replace(tables: dict[str, Any], rng: random.Random) -> None:
    node = _any_node(tables, rng)
    if node:
        node[0][node[1]] = copy.deepcopy(rng.choice(HOSTILE))


def _remove(tables: dict[str, Any], rng: random.Random) -> None:
    node = _any_node(tables, rng)
    if node:
        del node[0][node[1]]


def _wrap(tables: dict[str, Any], rng: random.Random) -> None:
    node = _any_node(tables, rng)
    if node:
        value = node[0][node[1]]
        deep = rng.choice((1, 3, 60, 900))
        for _ in range(deep):
            value = [value] if rng.random() < 0.5 else {"a": value}
        node[0][node[1]] = value


def _more_key(tables: dict[str, Any], rng: random.Random) -> None:
    holders = [tables, *(c[k] for c, k in _nodes(tables) if isinstance(c[k], dict))]
    key = rng.choice((*NAMES, "lamm", "x" * 100_000, "\x1b[2J", "learning rate", "[red]"))
    rng.choice(holders)[key] = copy.deepcopy(rng.choice(HOSTILE))


def _swap(tables: dict[str, Any], rng: random.Random) -> None:
    one, other = _any_node(tables, rng), _any_node(tables, rng)
    if one and other:
        try:
            first, second = copy.deepcopy(one[0][one[1]]), copy.deepcopy(other[0][other[1]])
        except RecursionError:
            return
        one[0][one[1]] = second
        if isinstance(other[0], dict) or other[1] < len(other[0]):
            other[0][other[1]] = first


def _methods(tables: dict[str, Any]) -> list[Any]:
    methods = tables.get("methods")
    return methods if isinstance(methods, list) else []


def _double_method(tables: dict[str, Any], rng: random.Random) -> None:
    methods = _methods(tables)
    if methods:
        try:
            made = copy.deepcopy(rng.choice(methods))
        except RecursionError:
            return
        if isinstance(made, dict) and rng.random() < 0.5:
            made["label"] = "once more"
        methods.append(made)


def _explode(tables: dict[str, Any], rng: random.Random) -> None:
    """Grids whose product nobody could hold."""
    wide = rng.choice(({"low": 1.0, "high": 1e6, "n": 10_000}, [float(i) for i in range(1, 300)]))
    for method in _methods(tables):
        if isinstance(method, dict):
            for key in list(method):
                if key not in ("name", "label", "training") and rng.random() < 0.7:
                    method[key] = copy.deepcopy(wide)
            if rng.random() < 0.5:
                steps = list(range(1, 200))
                method["training"] = {"lr": copy.deepcopy(wide), "batch_size": steps}
    if rng.random() < 0.5:
        tables["seeds"] = rng.choice((10_000, 10**9, list(range(2000))))
    benchmark = tables.get("benchmark")
    if rng.random() < 0.3 and isinstance(benchmark, dict):
        benchmark["n_tasks"] = rng.choice((10**9, 10**5, 999, 2**63 - 1))


def _many_methods(tables: dict[str, Any], rng: random.Random) -> None:
    methods = _methods(tables)
    if methods and isinstance(methods[0], dict):
        n = rng.choice((30, 300))
        tables["methods"] = [{**methods[0], "label": f"curve {i}"} for i in range(n)]


_MISTAKES = (
    _replace,
    _replace,
    _replace,
    _replace,
    _remove,
    _wrap,
    _more_key,
    _swap,
    _double_method,
    _explode,
    _many_methods,
)


def _toml(tables: dict[str, Any]) -> str:
    """Everything as inline values: any nesting can be written so."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in tables.items()]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return json.dumps(key, ensure_ascii=True)


def _value(value: Any) -> str:
    # Joined from pieces, and not by recursion: what is nested deepest is what is to be tried.
    pieces: list[str] = []
    todo: list[Any] = [value]
    while todo:
        here = todo.pop()
        if isinstance(here, _Piece):
            pieces.append(here.text)
        elif isinstance(here, bool):
            pieces.append(str(here).lower())
        elif isinstance(here, float):
            pieces.append(repr(here))
        elif isinstance(here, int):
            pieces.append(hex(here) if abs(here) > 10**300 and here > 0 else str(here))
        elif isinstance(here, str):
            pieces.append(json.dumps(here, ensure_ascii=True).replace("\x7f", "\\u007f"))
        elif isinstance(here, list):
            todo.append(_Piece("]"))
            for item in reversed(here):
                todo += [_Piece(", "), item]
            todo.append(_Piece("["))
        elif isinstance(here, dict):
            todo.append(_Piece("}"))
            for place, (key, item) in enumerate(reversed(here.items())):
                todo += [_Piece(", " if place else ""), item, _Piece(f"{_key(key)} = ")]
            todo.append(_Piece("{"))
        else:
            pieces.append(str(here))
    return "".join(pieces)


class _Piece:
    def __init__(self, text: str) -> None:
        self.text = text
