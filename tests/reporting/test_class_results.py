"""Accuracies per class by hand."""

from __future__ import annotations

import numpy as np

from clsweep.records.trial_extras import ClassCount, TrialExtras, merged_extras
from clsweep.reporting.class_results import class_results
from clsweep.reporting.render.confusion_matrices import confusions_html

AT = "2026-01-02T03:04:05.678+00:00"


def _trial(seed: int, counts: list[tuple[int, int, int, str, str, int]]) -> TrialExtras:
    made = tuple(ClassCount(task, "test", *rest) for task, *rest in counts)
    hidden = ClassCount(0, "validation", 0, 1, "cat", "dog", 1000)
    return TrialExtras("abc", seed, AT, (*made, hidden))


FIRST = [
    (0, 0, 0, "cat", "cat", 6),
    (0, 0, 1, "cat", "dog", 2),
    (0, 1, 1, "dog", "dog", 1),
    (1, 2, 2, "<ant>", "<ant>", 3),
    (1, 2, 0, "<ant>", "cat", 1),
]
SECOND = [
    (0, 0, 0, "cat", "cat", 8),
    (0, 1, 0, "dog", "cat", 1),
    (1, 2, 2, "<ant>", "<ant>", 4),
]


def test_balanced_accuracy_and_the_worst_class() -> None:
    table = merged_extras(None, [_trial(0, FIRST), _trial(1, SECOND)])["class_counts"]
    found = class_results("EWC", table, "abc", (0, 1))
    assert found is not None
    # 6/8, 1/1 and 3/4; then 8/8, 0/1 and 4/4. Over images it would be 10/13 and 12/13.
    np.testing.assert_allclose(found.balanced_S, [(0.75 + 1 + 0.75) / 3, 2 / 3])
    np.testing.assert_allclose(found.worst_S, [0.75, 0.0])
    np.testing.assert_allclose(found.by_class[0, "dog"], [1.0, 0.0])
    first, second = found.confusions
    assert (first.classes, first.outputs) == (("cat", "dog"), ("cat", "dog"))
    assert first.counts.tolist() == [[14, 2], [1, 1]]
    assert second.classes == ("<ant>",)
    assert dict(zip(second.outputs, second.counts[0].tolist(), strict=True)) == {
        "cat": 1,
        "<ant>": 7,
    }
    assert class_results("EWC", table, "abc", (0, 1, 2)) is None
    assert class_results("EWC", table, "abd", (0,)) is None


def test_seeds_that_divide_the_classes_otherwise_have_no_common_matrix() -> None:
    turned = [(0, 0, 0, "dog", "dog", 1), (1, 0, 0, "cat", "cat", 1)]
    table = merged_extras(None, [_trial(0, FIRST), _trial(1, turned)])["class_counts"]
    found = class_results("EWC", table, "abc", (0, 1))
    assert found is not None
    assert (found.by_class, found.confusions) == ({}, ())
    np.testing.assert_allclose(found.balanced_S[1], 1.0)


def test_the_page_escapes_names_and_shades_shares() -> None:
    table = merged_extras(None, [_trial(0, FIRST)])["class_counts"]
    found = class_results("<EWC>", table, "abc", (0,))
    assert found is not None
    text = confusions_html([found])
    assert "<summary>&lt;EWC&gt;</summary>" in text
    assert '<th scope="row">&lt;ant&gt;</th>' in text
    assert 'rgba(70, 120, 200, 0.45)">6</td>' in text  # 0.6 · 6/8
    assert confusions_html([]) == ""
    wide = [(0, 0, p, "cat", f"c{p}", 1) for p in range(41)]
    table = merged_extras(None, [_trial(0, wide)])["class_counts"]
    found = class_results("EWC", table, "abc", (0,))
    assert found is not None
    assert "1 classes among 41 outputs, too many to show" in confusions_html([found])
