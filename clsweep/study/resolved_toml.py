"""A study written out in full: every default, every range, ready to be run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsweep.study.grid import Range
from clsweep.study.identity import plain_values
from clsweep.toml_text import toml_table

if TYPE_CHECKING:
    from clsweep.study.study_tables import Conditions, StudyTables


def resolved_toml(study: StudyTables) -> str:
    """The study with every default written out, as TOML that parses back to an equal study.

    Args:
        study: the study.
    """
    blocks = shared_blocks(study.conditions)
    if study.search.kind != "grid":
        # Without keys that change nothing at their default, which stored files do not have.
        search = {key: getattr(study.search, key) for key in study.search.used_keys}
        training = study.search.training.axes()
        search |= {"training": {key: _shortest(v) for key, v in training.items()}}
        if not training:
            search.pop("training")
        blocks.append(toml_table("[search]", search))
    if study.callbacks.is_asked:
        blocks.append(toml_table("[callbacks]", study.callbacks.written))
    if study.save.is_asked:
        blocks.append(toml_table("[save]", plain_values(study.save)))
    for request in study.methods:
        table: dict[str, Any] = {**request.named, "label": request.label}
        table |= {key: _shortest(values) for key, values in request.axes().items()}
        overrides = request.training.axes()
        if overrides:
            table["training"] = {key: _shortest(values) for key, values in overrides.items()}
        blocks.append(toml_table("[[methods]]", table))
    return "\n".join(blocks)


def shared_blocks(conditions: Conditions) -> list[str]:
    """The tables of a study that say nothing of its methods, each as TOML.

    Args:
        conditions: those of the study.
    """
    # Without keys that came later and are at their default, which stored files do not have.
    given = plain_values(conditions.training)
    training = {key: given[key] for key in conditions.training.recorded}
    training.pop("epochs" if conditions.training.steps else "steps")
    resources = plain_values(conditions.resources)
    if not conditions.resources.deterministic:
        resources.pop("deterministic")
    if conditions.resources.lanes == 1:
        resources.pop("lanes")
    return [
        toml_table("", {"name": conditions.name, "seeds": conditions.seeds}),
        toml_table("[benchmark]", plain_values(conditions.benchmark)),
        toml_table(
            "[net]", {key: getattr(conditions.net, key) for key in conditions.net.used_keys}
        ),
        toml_table("[training]", training),
        toml_table("[resources]", resources),
        toml_table("[report]", plain_values(conditions.report)),
    ]


def _shortest(values: tuple[Any, ...]) -> Any:
    if isinstance(values, Range):
        return {"low": values[0], "high": values[1], "log": values.log}
    return values[0] if len(values) == 1 else values
