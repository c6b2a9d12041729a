"""A table worked by hand, and the cases in which a measure has no meaning."""

from __future__ import annotations

import numpy as np
import pytest

from clsweep.records import accuracy

NAN = float("nan")
# Before training, after task 0, 1, 2; columns are tasks 0, 1, 2.
ACC = np.array(
    [
        [0.10, 0.12, 0.08],
        [0.90, 0.30, 0.20],
        [0.92, 0.80, 0.40],
        [0.60, 0.85, 0.70],
    ]
)
BY_HAND = {
    "average_accuracy": (0.60 + 0.85 + 0.70) / 3,
    "backward_transfer": ((0.60 - 0.90) + (0.85 - 0.80)) / 2,
    "forward_transfer": ((0.30 - 0.12) + (0.40 - 0.08)) / 2,
    # Task 0 was best after task 1; task 1 has one earlier row and improved afterwards.
    "forgetting": ((0.92 - 0.60) + (0.80 - 0.85)) / 2,
    "learning_accuracy": (0.90 + 0.80 + 0.70) / 3,
    "source_accuracy": (0.60 + 0.85) / 2,
    "target_accuracy": 0.70,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_three_tasks_by_hand(name):
    assert getattr(accuracy, name)(ACC) == pytest.approx(BY_HAND[name], abs=1e-15)


def test_the_same_numbers_as_integers():
    assert BY_HAND["average_accuracy"] == pytest.approx(2.15 / 3)
    assert BY_HAND["backward_transfer"] == pytest.approx(-0.125)
    assert BY_HAND["forward_transfer"] == pytest.approx(0.25)
    assert BY_HAND["forgetting"] == pytest.approx(0.135)


def test_two_tasks_reduce_to_source_and_target():
    acc = np.array([[NAN, NAN], [0.97, NAN], [0.90, 0.95]])
    assert accuracy.average_accuracy(acc) == pytest.approx((0.90 + 0.95) / 2)
    assert accuracy.backward_transfer(acc) == pytest.approx(0.90 - 0.97)
    assert accuracy.forgetting(acc) == pytest.approx(-accuracy.backward_transfer(acc))
    assert np.isnan(accuracy.forward_transfer(acc))


def test_rows_before_a_task_was_learned_are_not_its_best():
    acc = ACC.copy()
    acc[1, 1] = 0.99
    assert accuracy.forgetting(acc) == pytest.approx(BY_HAND["forgetting"])


def test_joint_training_has_no_history():
    acc = np.full((4, 3), NAN)
    acc[-1] = [0.9, 0.8, 0.7]
    assert accuracy.average_accuracy(acc) == pytest.approx(0.8)
    assert accuracy.source_accuracy(acc) == pytest.approx(0.85)
    assert accuracy.target_accuracy(acc) == pytest.approx(0.7)
    for name in ("backward_transfer", "forward_transfer", "forgetting", "learning_accuracy"):
        assert np.isnan(getattr(accuracy, name)(acc))


@pytest.mark.parametrize("name", [n for n in BY_HAND if n != "forward_transfer"])
def test_a_missing_entry_is_nan_and_not_a_mean_over_the_rest(name):
    acc = ACC.copy()
    acc[-1] = NAN
    assert np.isnan(getattr(accuracy, name)(acc))


def test_the_table_is_filled_from_counts_of_one_split():
    rows = [
        [-1, 0, "test", 1, 10],
        [0, 0, "test", 9, 10],
        [1, 0, "test", 1, 3],
        [1, 1, "test", 5, 5],
        [1, 1, "validation", 0, 5],
    ]
    acc = accuracy.accuracy_table(rows, "test", 2)
    np.testing.assert_array_equal(acc, [[0.1, NAN], [0.9, NAN], [1 / 3, 1.0]])
    assert accuracy.accuracy_table(rows, "validation", 2)[2, 1] == 0.0


def test_mean_and_error():
    mean, error = accuracy.mean_and_error([1.0, 2.0, 3.0])
    assert (mean, error) == (2.0, pytest.approx(1 / np.sqrt(3)))
    assert accuracy.mean_and_error([0.5])[0] == 0.5
    assert np.isnan(accuracy.mean_and_error([0.5])[1])
    assert np.isnan(accuracy.mean_and_error([])[0])
    assert np.isnan(accuracy.mean_and_error([0.5, NAN])[0])
