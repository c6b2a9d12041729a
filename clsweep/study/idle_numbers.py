"""Numbers of a stored configuration that change nothing, since others switch them off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clsweep.methods import known_entry
from clsweep.number_conditions import switched_off
from clsweep.training.config import TrainingConfig


def idle_keys(
    config: Mapping[str, Any], context: Mapping[str, Any] | None = None
) -> frozenset[str]:
    """The keys, or 'training.KEY', that change nothing in a stored configuration.

    Args:
        config: the 'config' part of a record.
        context: see `grid.around`; without it, by the configuration's own numbers alone.
    """
    training = switched_off(TrainingConfig, config["training"])
    found = frozenset(f"training.{key}" for key in training)
    entry = known_entry(config["method"])
    if entry is None:
        return found
    known = {f"training.{key}": value for key, value in config["training"].items()}
    known |= context or {}
    return found | switched_off(entry.hyper, config["hyper"], known)
