"""Numbers of a stored configuration that change nothing, since others switch them off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clsweep.methods import known_entry
from clsweep.number_conditions import switched_off
from clsweep.training.config import TrainingConfig, in_full


def idle_keys(
    config: Mapping[str, Any], context: Mapping[str, Any] | None = None
) -> frozenset[str]:
    """The keys, or 'training.KEY', that change nothing in a stored configuration.

    Args:
        config: the 'config' part of a record.
        context: see `grid.around`; without it, by the configuration's own numbers alone.
    """
    training = in_full(config["training"])
    found = frozenset(f"training.{key}" for key in switched_off(TrainingConfig, training))
    entry = known_entry(config["method"])
    if entry is None:
        return found
    known = {f"training.{key}": value for key, value in training.items()}
    known |= context or {}
    return found | switched_off(entry.hyper, config["hyper"], known)
