"""What the final network of a trial says to every example: its logits, and what it confuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clsweep.data.tasks import TaskSequence
from clsweep.nets.parameter_trees import Params
from clsweep.records.trial_extras import ClassCount
from clsweep.training.evaluation import CHUNK_ROWS
from clsweep.training.learnt_models import Predict

_Outputs = tuple[NDArray[np.float32], NDArray[np.int64]]


class FinalOutputs:
    """Logits of the network after its last task; each part is computed once."""

    def __init__(self, predict: Predict, params: Params, sequence: TaskSequence) -> None:
        """Take the network.

        Args:
            predict: (params, x, task) -> logits.
            params: after the last task.
            sequence: the tasks.
        """
        self.predict, self.params, self.sequence = predict, params, sequence
        self._known: dict[tuple[int, str], _Outputs] = {}

    def __call__(self, task: int, split: str) -> _Outputs:
        """Logits [n, K] and labels [n] of a task's examples, in the numbering of its head.

        Args:
            task: its index.
            split: 'validation' or 'test'.
        """
        key = task, split
        if key not in self._known:
            self._known[key] = self._computed(task, split)
        return self._known[key]

    def class_counts(self, names: Sequence[Sequence[str]], split: str) -> list[ClassCount]:
        """What the network takes every class of every task for.

        Args:
            names: of each task's outputs.
            split: 'validation' or 'test'.
        """
        found = []
        for task, own in enumerate(names):
            logits, labels = self(task, split)
            width = len(own)
            pairs = labels * width + logits.argmax(1)
            counts = np.bincount(pairs, minlength=width * width)
            for pair in np.flatnonzero(counts).tolist():
                label, predicted = divmod(pair, width)
                count = int(counts[pair])
                texts = own[label], own[predicted]
                found.append(ClassCount(task, split, label, predicted, *texts, count))
        return found

    def _computed(self, task: int, split: str) -> _Outputs:
        sequence = self.sequence
        last = len(sequence.tasks) - 1
        head = task if sequence.heads.scenario == "task" else last
        own = sequence.tasks[task]
        examples = own.validation if split == "validation" else own.test
        index = torch.arange(len(examples), device=examples.labels.device)
        with torch.inference_mode():
            parts = [
                self.predict(self.params, sequence.scale(examples.raw(part)), head).float().cpu()
                for part in index.split(examples.rows_at_once(CHUNK_ROWS))
            ]
        return torch.cat(parts).numpy(), examples.labels.cpu().numpy()
