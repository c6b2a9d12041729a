"""What of `[benchmark]` a regression allows."""

from __future__ import annotations


def option_fault(name: str, targets: str, metric: str, scenario: str) -> str:
    """What is wrong with the keys of a benchmark; empty for nothing.

    Args:
        name: of the benchmark.
        targets: 'classes' or 'numbers'.
        metric: of a regression.
        scenario: of the benchmark.
    """
    if targets == "classes":
        if metric == "r2":
            return ""
        return f"metric = '{metric}' is of targets = 'numbers'; that of classes is the accuracy"
    if name == "split":
        return "targets = 'numbers' with name = 'split': there are no classes to divide"
    if name == "rotated":
        return "targets = 'numbers' with name = 'rotated', whose images have classes"
    if scenario == "class":
        return (
            "scenario = 'class' is of classes; with targets = 'numbers' it is 'task' (outputs of "
            "its own for every task) or 'domain' (outputs that all tasks share)"
        )
    return ""
