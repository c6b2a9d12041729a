"""Which tests run in one process and in which order: Ray's in turn, files whole, long first.

pytest-xdist groups tests by a suffix of their names, which pytest 9.2 no longer lets a plugin
write; then every test is a group of its own and every fixture is made in every process. Here the
processes tell the one that distributes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

# Seconds that a group takes on an idle core, where that is far from a share of its tests; roughly,
# and only to start first what takes long: nothing depends on it but when the last process ends.
SECONDS = {
    "ray": 45,
    "tests/docs/test_docs.py": 20,
    "tests/end_to_end/test_continue.py": 22,
    "tests/end_to_end/test_storage.py": 26,
    "tests/end_to_end/test_stopping.py": 16,
    "tests/end_to_end/test_search.py": 12,
    "tests/end_to_end/test_clocks.py": 8,
    "tests/end_to_end/test_own_methods.py": 8,
    "tests/end_to_end/test_faults.py": 6,
    "tests/end_to_end/test_paths.py": 6,
    "tests/reporting/test_report.py": 18,
    "tests/status/test_status.py": 15,
    "tests/status/test_remote_status.py": 6,
    "tests/storage/test_compaction.py": 13,
    "tests/storage/test_store.py": 9,
    "tests/storage/test_lock.py": 8,
    "tests/records/test_checksums.py": 6,
    "tests/project/test_configs.py": 7,
    "tests/project/test_security.py": 6,
    "tests/study/test_input_fingerprints.py": 10,
    "tests/cli/test_main.py": 11,
    "tests/cli/test_streams.py": 10,
    "tests/doctor/test_doctor.py": 6,
    "tests/methods/test_common.py": 22,
    "tests/methods/test_batch_norm.py": 9,
    "tests/methods/test_switches.py": 20,
    "tests/search/test_stopping_rules.py": 9,
    "tests/search/test_search.py": 12,
    "tests/training/test_optimisers.py": 5,
    "tests/data/test_image_decoding.py": 2,
    "tests/docs/test_documents.py": 2,
    "tests/project/test_rooms.py": 2,
    "tests/study/test_errors.py": 2,
}
# Of those that take long, every file starts a Ray of its own in each test, and disturbs no other.
SECONDS_OF_SLOW = {
    "tests/end_to_end/test_chaos.py": 150,
    "tests/end_to_end/test_continue.py": 130,
    "tests/end_to_end/test_faults.py": 80,
    "tests/end_to_end/test_storage.py": 45,
}
_SECONDS_OF_A_TEST = {False: 0.06, True: 20.0}


def file_of(item: pytest.Item) -> str:
    """The test's file, as its name begins."""
    return item.nodeid.partition("::")[0]


def group_of(item: pytest.Item) -> str:
    """Tests with Ray are one group; all others go by file, whose fixtures are made once.

    Those with a Ray that take long are given a process by file: they are alone then, and one
    after the other would keep every other process waiting.
    """
    is_slow = item.get_closest_marker("slow") is not None
    if item.get_closest_marker("ray") and not is_slow:
        return "ray"
    return file_of(item)


def tell_groups(items: list[pytest.Item], path: Path) -> None:
    """Put the items in the order in which they are to start, and write down their groups.

    Groups that take long come first, so that no process ends long before another.
    """
    groups = {item.nodeid: group_of(item) for item in items}
    expected = expected_seconds(items)
    items.sort(key=lambda item: (-expected[groups[item.nodeid]], groups[item.nodeid]))
    path.write_text(json.dumps(groups), encoding="utf-8")


def expected_seconds(items: list[pytest.Item]) -> dict[str, float]:
    """Group -> how long its items may take."""
    counts: dict[str, Counter[bool]] = defaultdict(Counter)
    for item in items:
        has_ray = item.get_closest_marker("ray") is not None
        is_slow = item.get_closest_marker("slow") is not None
        counts[group_of(item)][has_ray and is_slow] += 1
    found = {}
    for group, numbers in counts.items():
        usual = sum(n * _SECONDS_OF_A_TEST[is_long] for is_long, n in numbers.items())
        found[group] = (SECONDS_OF_SLOW if numbers[True] else SECONDS).get(group, usual)
    return found


class GroupScheduling(LoadScopeScheduling):
    """Whole groups in the order of the items, each to the next process that is free.

    Attributes:
        folder: where each process has written its groups, which are all the same.
    """

    folder: Path

    def schedule(self) -> None:
        """Distribute; by now every process has collected."""
        written = next(self.folder.iterdir(), None)  # none where nothing could be collected
        text = written.read_text(encoding="utf-8") if written else "{}"
        self._groups: dict[str, str] = json.loads(text)
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._groups[nodeid]
