"""Code of the user's own in records: which of it a trial was computed with, and what commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from clsweep.records.recorded_inputs import recorded_fingerprints, short_fingerprint

# Among a trial's versions, and columns of `trials.parquet`.
CODE_COMMIT, CODE_DIRTY = "code_commit", "code_dirty"
_PREFIX = "own "
_MEASURE = "measure "


def own_versions(code: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What stands among a trial's versions.

    Args:
        code: import path and fingerprint of what its configuration needs.
    """
    return {_PREFIX + path: fingerprint for path, fingerprint in code}


def own_version(versions: Mapping[str, Any], path: str) -> str:
    """Fingerprint of code that a trial was computed with; '' where its record does not say.

    Args:
        versions: of the trial.
        path: the code's import path.
    """
    recorded = versions.get(_PREFIX + path) or recorded_fingerprints(versions).get(f"code {path}")
    return str(recorded or "")


def measure_key(name: str) -> str:
    """Under which key the fingerprint of a measure's code stands among a trial's versions.

    Args:
        name: of the measure, as the study has it.
    """
    return _MEASURE + name


def older_code_notes(
    trials: Iterable[Mapping[str, Any]], now: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Sentences, without their ends, about trials that were computed with other code than now's.

    Args:
        trials: 'method' and 'versions' of each, versions as an object or as its JSON.
        now: method -> import path -> fingerprint of its code now.
    """
    counts: dict[tuple[str, str, str], int] = {}
    for trial in trials:
        codes = now.get(trial["method"])
        if not codes:
            continue
        versions = trial["versions"]
        if isinstance(versions, str):
            versions = json.loads(versions)
        for path, fingerprint in codes.items():
            then = str(versions.get(_PREFIX + path, fingerprint))
            if then != fingerprint:
                key = (path, then, fingerprint)
                counts[key] = counts.get(key, 0) + 1
    return [
        f"{n:,} trial{'s' * (n != 1)} of other code of '{path}' ({short_fingerprint(then)} then, "
        f"{short_fingerprint(fingerprint)} now)"
        for (path, then, fingerprint), n in sorted(counts.items())
    ]
