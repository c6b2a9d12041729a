"""A result computed in another process, with other hashes of texts, for comparison.

python -m clsweep.conformance.elsewhere NAME NUMBERS SCENARIO
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from clsweep.conformance.subjects import Subject, named, small_sequence
from clsweep.training.learnt_models import LearntSequence


def fingerprint(found: LearntSequence) -> str:
    """Hash of a network and its accuracies.

    Args:
        found: a result.
    """
    digest = hashlib.sha256()
    for name in sorted(found.params):
        digest.update(name.encode())
        digest.update(found.params[name].detach().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps([*found.rows, found.n_steps, *found.memory_bytes]).encode())
    return digest.hexdigest()


def fingerprint_elsewhere(path: str, numbers: Mapping[str, Any], scenario: str) -> str:
    """The same, computed by another process; '' with its last words where it failed.

    Args:
        path: of the method, as `subjects.named` takes it.
        numbers: its numbers.
        scenario: of the small sequence.
    """
    ran = subprocess.run(
        [sys.executable, "-m", __name__, path, json.dumps(dict(numbers)), scenario],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if ran.returncode:
        last = ran.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return f"failed: {last[0]}"
    return ran.stdout.strip().splitlines()[-1]


def differs_elsewhere(path: str, subject: Subject, scenario: str) -> str:
    """The same numbers in another process; '' where they are, else a sentence.

    Args:
        path: of the method.
        subject: it with its numbers.
        scenario: of the small sequence.
    """
    here = fingerprint(subject.learnt(small_sequence(scenario)))
    there = fingerprint_elsewhere(path, subject.hyper.model_dump(mode="json"), scenario)
    if there.startswith("failed: "):
        return f"in another process it {there}"
    return "" if here == there else "another process computes other numbers"


def _main(arguments: list[str]) -> None:
    import torch

    path, numbers, scenario = arguments
    torch.set_num_threads(1)
    subject = named(path).at(json.loads(numbers))
    print(fingerprint(subject.learnt(small_sequence(scenario))))


if __name__ == "__main__":
    _main(sys.argv[1:])
