"""Which module of a package imports which: at its top, within functions and for types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, frozenset[str]]


def import_graph(package: Path) -> dict[str, frozenset[str]]:
    """Module -> the modules of the same package that it imports, wherever it does so.

    Args:
        package: the package's folder.
    """
    files = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts).removesuffix(".__init__")] = path
    return {name: frozenset(_imports(name, path, files)) for name, path in files.items()}


def _imports(name: str, path: Path, known: Mapping[str, Path]) -> set[str]:
    found: set[str] = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (above, node.module or "")))
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return (found & known.keys()) - {name}


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """All statements below a node; no expression holds one."""
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        inner = getattr(node, part, ())
        for one in inner if isinstance(inner, list) else ():
            if isinstance(one, ast.stmt):
                yield one
            yield from _statements(one)


def circle(graph: Graph) -> list[str]:
    """Modules of which each imports the next, and the last the first; empty without a circle."""
    done: set[str] = set()
    for start in graph:
        way, left = [start], [iter(sorted(graph[start]))]
        while way:
            following = next((one for one in left[-1] if one not in done), None)
            if following is None:
                done.add(way.pop())
                left.pop()
            elif following in way:
                return [*way[way.index(following) :], following]
            else:
                way.append(following)
                left.append(iter(sorted(graph[following])))
    return []


def longest_chain(graph: Graph) -> list[str]:
    """The most modules of which each imports the next.

    Args:
        graph: without a circle.
    """
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            chains[name] = [name, *max(map(chain, sorted(graph[name])), key=len, default=[])]
        return chains[name]

    return max(map(chain, sorted(graph)), key=len, default=[])
