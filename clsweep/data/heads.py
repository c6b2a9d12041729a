"""Which outputs of a network belong to which task."""

from __future__ import annotations

from typing import NamedTuple


class Heads(NamedTuple):
    """Which outputs of the network belong to which task.

    Attributes:
        scenario: 'task' (one head per task), 'domain' (one shared head) or 'class' (one head
            over all classes seen so far).
        sizes: number of classes of each task; of a regression, of numbers that are predicted.
        metric: 'accuracy' of classes; of a regression, what is computed from its errors.
    """

    scenario: str
    sizes: tuple[int, ...]
    metric: str = "accuracy"

    @property
    def is_regression(self) -> bool:
        """Whether outputs are predictions of numbers, not logits of classes."""
        return self.metric != "accuracy"

    @property
    def n_targets(self) -> int:
        """Numbers to predict of every example of a regression, as many in all tasks; else 0."""
        return self.sizes[0] if self.is_regression else 0

    @property
    def n_outputs(self) -> int:
        """Outputs of the whole network, over all tasks."""
        return max(self.sizes) if self.scenario == "domain" else sum(self.sizes)

    def columns(self, task: int) -> tuple[int, int]:
        """First output, and last plus one, among which `task`'s examples are classified."""
        if self.scenario == "domain":
            return 0, self.sizes[task]
        start = sum(self.sizes[:task]) if self.scenario == "task" else 0
        return start, sum(self.sizes[: task + 1])

    def label_offset(self, task: int) -> int:
        """What is added to the labels 0..K-1 of `task` to count in the head's own numbering."""
        return sum(self.sizes[:task]) if self.scenario == "class" else 0
