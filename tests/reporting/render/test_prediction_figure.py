"""The figure of predictions: a panel per label, and nothing where no label is left."""

import numpy as np
import pytest

from clsweep.reporting.learnt_functions import LearntFunctions, Predicted, TaskFunction
from clsweep.reporting.render import prediction_figure


def functions(labels: list[str]) -> LearntFunctions:
    x = np.linspace(-1, 1, 5)
    task = TaskFunction(x, x, x, None)
    return LearntFunctions("study", 0, (task,), tuple(Predicted(n, {}, ([*x],)) for n in labels))


@pytest.mark.parametrize(("n", "panels"), [(1, 1), (3, 3), (4, 6), (5, 6)])
def test_only_labels_have_a_panel(n: int, panels: int) -> None:
    labels = [f"method {i}" for i in range(n)]
    axes = prediction_figure._figure(functions(labels)).axes
    assert len(axes) == panels
    assert [one.get_title() for one in axes if one.get_visible()] == labels


def test_a_label_is_no_formula() -> None:
    found = functions(["half of $x and $y^{"])
    assert prediction_figure.prediction_bytes(found, "svg").startswith(b"<?xml")
