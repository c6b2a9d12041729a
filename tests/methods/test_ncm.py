"""Nearest class mean against distances worked out by hand, and the mean of the union."""

from __future__ import annotations

import pytest
import torch

from clsweep.data.tasks import TaskSequence
from clsweep.methods.base import Method
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_sequence
from tests.support.vectors import AS_STORED, fitted, method_for, sequence_of, union_of


def test_two_classes_on_a_line() -> None:
    """Means 10 and 50: whatever lies below 30 is of the first class."""
    sequence = sequence_of("class", [[[8], [12]], [[40], [60]]], [[0, 0], [0, 0]])
    params = fitted(method_on(sequence), sequence)[0]
    method = method_on(sequence)
    x = torch.tensor([0.0, 29.0, 31.0, 255.0]).reshape(4, 1, 1, 1)
    logits = method.net.apply(params, x, 1)
    assert logits.argmax(1).tolist() == [0, 0, 1, 1]
    distances = (x.flatten(1) - torch.tensor([[10.0, 50.0]])).square().double()
    torch.testing.assert_close(logits, x.flatten(1).square().double() - distances)


def method_on(sequence: TaskSequence) -> Method:
    return method_for("ncm", sequence)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_one_pass_over_tasks_is_the_mean_of_the_union(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    params, memory = fitted(method_on(sequence), sequence)
    x, classes = union_of(sequence)
    for k in classes.unique().tolist():
        expected = x[classes == k].mean(0)
        torch.testing.assert_close(memory["means"][k], expected)
        torch.testing.assert_close(params["classifier.weight"][k], 2 * expected)
    assert memory["counts"].tolist() == classes.bincount().tolist()


def test_a_head_per_task_chooses_among_its_own_classes(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["task"]
    method = method_on(sequence)
    params, memory = fitted(method, sequence)
    x = AS_STORED(sequence.tasks[1].test.raw(torch.arange(5)))
    nearest = torch.cdist(x.flatten(1).double(), memory["means"][2:4]).argmin(1)
    assert method.net.apply(params, x, 1).argmax(1).equal(nearest)


def test_a_class_without_an_example_is_never_predicted() -> None:
    sequence = sequence_of("domain", [[[90], [100]], [[90], [110]]], [[1, 1], [1, 1]], n_classes=2)
    method = method_on(sequence)
    params, _ = fitted(method, sequence)
    assert method.net.apply(params, torch.zeros(1, 1, 1, 1), 1).argmax(1).tolist() == [1]


def test_it_makes_no_step_and_leaves_the_network_out(
    short_sequences: dict[str, TaskSequence],
) -> None:
    sequence = short_sequences["class"]
    method = method_on(sequence)
    found = learn_sequence(method, sequence, TrainingConfig(), 0, None, {})
    assert found.n_steps == 0
    assert set(found.params) == {"classifier.weight", "classifier.bias"}
    n_bytes = 8 * (6 * 64 + 6)  # means and counts of six classes, in float64
    assert found.memory_bytes == (0, 0, n_bytes)
    final = [n / of for after, _, split, n, of in found.rows if after == 2 and split == "test"]
    assert sum(final) / 3 > 0.9  # six digits; chance is a sixth
