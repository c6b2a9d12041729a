"""Trained networks in the stage cache: trees of tensors as one, and a few facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from clsweep.execution.stage_cache import Entry
from clsweep.methods.base import Trace
from clsweep.nets.parameter_trees import Params
from clsweep.records.accuracy import AccuracyRow
from clsweep.training.learnt_models import FinetunedModel, PathPoint, SourceModel


def source_entry(model: SourceModel) -> tuple[Params, dict[str, Any]]:
    """Tensors and facts of a source model."""
    parts = {
        "params": model.params,
        "start": model.trace.start,
        "path": model.trace.path,
        "optimiser": model.optimiser,
    }
    facts = {"rows": [list(row) for row in model.rows], "n_steps": model.n_steps}
    return _joined(parts), facts


def source_model(entry: Entry, device: torch.device) -> SourceModel:
    """The source model of a cache entry, on a device."""
    parts = _parts(entry.tensors, device)
    rows: list[AccuracyRow] = [tuple(row) for row in entry.facts["rows"]]
    trace = Trace(parts["start"], parts["path"])
    return SourceModel(
        parts["params"], trace, parts["optimiser"], rows, int(entry.facts["n_steps"])
    )


def finetuned_entry(model: FinetunedModel) -> tuple[Params, dict[str, Any]]:
    """Tensors and facts of a fine-tuned network."""
    parts = {"params": model.params, "optimiser": model.optimiser}
    return _joined(parts), {"n_steps": model.n_steps}


def finetuned_model(entry: Entry, device: torch.device) -> FinetunedModel:
    """The fine-tuned network of a cache entry, on a device."""
    parts = _parts(entry.tensors, device)
    return FinetunedModel(parts["params"], parts["optimiser"], int(entry.facts["n_steps"]))


def point_entry(point: PathPoint) -> tuple[Params, dict[str, Any]]:
    """Tensors and facts of a point of a regularisation path."""
    parts = {"params": point.params, "optimiser": point.optimiser}
    facts = {"n_steps": point.n_steps, "n_before": point.n_before, "diverged": point.diverged}
    return _joined(parts), facts


def path_point(entry: Entry, device: torch.device) -> PathPoint:
    """The point of a cache entry, on a device."""
    parts, facts = _parts(entry.tensors, device), entry.facts
    counts = int(facts["n_steps"]), int(facts["n_before"])
    return PathPoint(parts["params"], parts["optimiser"], *counts, str(facts["diverged"]))


def _joined(parts: Mapping[str, Params]) -> Params:
    return {f"{part}|{name}": v for part, tree in parts.items() for name, v in tree.items()}


def _parts(tensors: Params, device: torch.device) -> defaultdict[str, Params]:
    parts: defaultdict[str, Params] = defaultdict(dict)
    for full_name, value in tensors.items():
        part, _, name = full_name.partition("|")
        # Counters of the optimiser stay where torch keeps them.
        keep = part == "optimiser" and name.endswith("/step") and device.type == "cpu"
        parts[part][name] = value if keep else value.to(device)
    return parts
