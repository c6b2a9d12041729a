"""A program for `clsweep doctor`: does what a run does before its first trial, and says what came.

    python -m clsweep.doctor.study_probe STUDY.toml DATA_ROOT     (DATA_ROOT '' for none)

It loads the data and builds the network and every method, trains nothing, writes nothing, and
prints one JSON object: {"error": ..., "next": ...}, both '' where all is well. It is a process of
its own, since a study's network is code that may do anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from clsweep.errors import ClsweepError


def answer(study_file: Path, root: Path | None) -> dict[str, str]:
    """What a run of a study would end with before its first trial.

    Args:
        study_file: the study, whose data are there.
        root: the data root.
    """
    from clsweep.execution.outcomes import Context
    from clsweep.execution.worker import probe
    from clsweep.study.study import load_studies

    nowhere = Path("nowhere")  # no job is done
    try:
        for study in load_studies(study_file, root).values():
            probe(Context("doctor", study, nowhere, nowhere, root, "cpu"))
    except ClsweepError as error:
        return {"error": " ".join(str(error).split()), "next": error.next_step}
    return {"error": "", "next": ""}


if __name__ == "__main__":
    _file, _root = sys.argv[1:]
    _said = answer(Path(_file), Path(_root) if _root else None)
    sys.stdout.write("\n" + json.dumps(_said) + "\n")
