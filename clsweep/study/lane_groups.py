"""Which trials of a study may be trained as one program, and why others may not.

Trials of one group differ by nothing that changes the program: by their seed, their learning rate
and those numbers that the method's row names as `lanes`. This module imports neither torch nor
ray.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from clsweep.config_section import as_toml
from clsweep.study.identity import canonical_json
from clsweep.text import counted
from clsweep.training.optimiser_names import STACKED

if TYPE_CHECKING:
    from clsweep.study.configurations import Configuration
    from clsweep.study.sections import Resources
    from clsweep.study.study_tables import Conditions

# Networks that are functions of their parameters alone.
_NETS = ("mlp", "conv", "lenet", "resnet32", "resnet18")
# What `lanes = "auto"` stacks at most.
MOST = 64


def most_lanes(resources: Resources) -> int:
    """How many trials a program has at most; 1 where the study asks for no lanes.

    Args:
        resources: say it.
    """
    return MOST if resources.lanes == "auto" else resources.lanes


def lane_group(conditions: Conditions, configuration: Configuration, seed: int) -> str:
    """What trials have in common that may be trained as one; '' where each is trained alone.

    Args:
        conditions: those of the study.
        configuration: of the trial.
        seed: of the trial.
    """
    if most_lanes(conditions.resources) == 1 or why_alone(conditions, configuration):
        return ""
    free, hyper = {*(configuration.entry.lanes or ())}, configuration.hyper
    same_data = conditions.benchmark.draws == "fixed"
    return canonical_json(
        {
            "method": configuration.method,
            "hyper": hyper.model_dump(mode="json", exclude=free),
            # A term that is switched off is left out of a step.
            "off": sorted(key for key in free if getattr(hyper, key) == 0),
            "training": configuration.training.model_dump(mode="json", exclude={"lr"}),
            "seed": None if same_data else seed,
        }
    )


def why_alone(conditions: Conditions, configuration: Configuration) -> str:
    """Why trials of a configuration are trained one by one, as half a sentence; '' if not.

    Args:
        conditions: those of the study.
        configuration: of it.
    """
    entry, training = configuration.entry, configuration.training
    if configuration.code:
        return "code of your own may do at a step what cannot be stacked"
    if conditions.net.name not in _NETS:
        return f"a network '{conditions.net.name}' may do what cannot be stacked"
    if conditions.net.norm_used == "batch":
        return "batch norms are not stacked"
    if training.optimizer not in STACKED:
        return f"a step of '{training.optimizer}' is not stacked"
    if training.precision != "float32":
        return f"precision = '{training.precision}' is not stacked"
    if conditions.search.stops:
        return "trials that may be stopped are watched one by one"
    if configuration.path is not None:
        return "each point of a path begins at the one before"
    if entry.lanes is None:
        return entry.alone or "what this method does at a step is not stacked"
    for key, values in entry.lanes_where:
        found = getattr(configuration.hyper, key)
        if found not in values:
            return f"{key} = {as_toml(found)} is not stacked"
    return ""


def lane_notes(conditions: Conditions, configurations: Iterable[Configuration]) -> list[str]:
    """What a plan says of lanes: which trials are stacked, and which are not, and why.

    Args:
        conditions: those of the study.
        configurations: whose trials are to be run.
    """
    if most_lanes(conditions.resources) == 1:
        return []
    together: Counter[str] = Counter()
    alone: dict[str, Counter[str]] = {}
    for configuration in configurations:
        why = why_alone(conditions, configuration)
        counts = alone.setdefault(why, Counter()) if why else together
        counts[configuration.label] += len(conditions.seeds)
    asked = conditions.resources.lanes
    most = f"at most {asked}" if asked != "auto" else "as many as are fastest where they run"
    notes = []
    if together:
        notes.append(
            f"[resources] lanes: trained as one program, {most}: {_in_words(together)}; their "
            "results agree with those of single trials to rounding, not to the bit"
        )
    notes += [
        f"[resources] lanes: trained one by one, since {why}: {_in_words(counts)}"
        for why, counts in alone.items()
    ]
    return notes


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{label} ({counted(n, 'trial')})" for label, n in counts.items())
