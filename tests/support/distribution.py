"""Which tests run in one process and in which order: Ray's in turn, files whole, long first.

pytest-xdist groups tests by a suffix of their names, which pytest 9.2 no longer lets a plugin
write; then every test is a group of its own and every fixture is made in every process. Here the
processes tell the one that distributes.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling


def group_of(item: pytest.Item) -> str:
    """Tests with Ray are one group; all others go by file, whose fixtures are made once."""
    return "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]


def tell_groups(items: list[pytest.Item], path: Path) -> None:
    """Put the items in the order in which they are to start, and write down their groups.

    Groups that take long come first, so that no process ends long before another: Ray's, then the
    whole runs, then by number of tests.
    """
    groups = {item.nodeid: group_of(item) for item in items}
    n_tests = Counter(groups.values())

    def rank(item: pytest.Item) -> tuple[bool, bool, int, str]:
        group = groups[item.nodeid]
        return group != "ray", "end_to_end" not in group, -n_tests[group], group

    items.sort(key=rank)
    path.write_text(json.dumps(groups), encoding="utf-8")


class GroupScheduling(LoadScopeScheduling):
    """Whole groups in the order of the items, each to the next process that is free.

    Attributes:
        folder: where each process has written its groups, which are all the same.
    """

    folder: Path

    def schedule(self) -> None:
        """Distribute; by now every process has collected."""
        path = next(self.folder.iterdir())
        self._groups: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._groups[nodeid]
