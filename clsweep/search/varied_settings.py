"""The settings of stored configurations that change anything, and those in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clsweep.records.schema import Config
from clsweep.search.validation_table import sortable
from clsweep.study.idle_numbers import idle_keys
from clsweep.training.config import in_full


def settings_of(config: Config) -> dict[str, Any]:
    """Every setting of a configuration that changes anything, by name, the knobs first.

    Args:
        config: the 'config' part of a record.
    """
    idle = idle_keys(config)
    recorded = in_full(config["training"])
    training = {k: v for k, v in recorded.items() if f"training.{k}" not in idle}
    hyper = {k: v for k, v in config["hyper"].items() if k not in idle}
    return {**config["knobs"], **hyper, **training}


def varied_settings(configs: Sequence[Config]) -> dict[str, tuple[Any, ...]]:
    """The settings that differ between configurations of one label, with their values in order.

    Args:
        configs: 'config' parts of records.
    """
    settings = [settings_of(config) for config in configs]
    names = list(dict.fromkeys(name for one in settings for name in one))
    grid = {}
    for name in names:
        values = {repr(one[name]): one[name] for one in settings if name in one}
        distinct = sorted(values.values(), key=sortable)
        if len({sortable(value) for value in distinct}) > 1:
            grid[name] = tuple(distinct)
    return grid
