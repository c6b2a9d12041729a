"""A study of configurations that another study has led to: one value of every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from clsweep.study.identity import plain_values
from clsweep.study.resolved_toml import shared_blocks
from clsweep.toml_text import toml_table

if TYPE_CHECKING:
    from clsweep.study.configurations import Configuration
    from clsweep.study.study_tables import StudyTables
    from clsweep.training.config import TrainingConfig


def chosen_study_toml(
    study: StudyTables,
    chosen: Sequence[tuple[str, Configuration]],
    name: str,
    overridden: Mapping[str, Set[str]] | None = None,
) -> str:
    """A study file, as TOML, of single configurations.

    Args:
        study: whose benchmark, network, training and seeds it has.
        chosen: label and configuration, one per [[methods]] table.
        name: the new study's name.
        overridden: label -> keys of [training] that a configuration brings along; None for all
            in which it differs from the study.
    """
    blocks = shared_blocks(study.model_copy(update={"name": name}))
    for label, configuration in chosen:
        table: dict[str, Any] = {
            **configuration.entry.keys_for(configuration.method),
            "label": label,
        }
        table |= plain_values(configuration.hyper)
        own = _overrides(study.training, configuration.training)
        if overridden is not None:
            kept = keys_with_lengths(configuration.training, overridden[label])
            own = {key: value for key, value in own.items() if key in kept}
        if own:
            table["training"] = own
        blocks.append(toml_table("[[methods]]", table))
    return "\n".join(blocks)


def keys_with_lengths(own: TrainingConfig, overridden: Set[str]) -> frozenset[str]:
    """The keys of [training] that say all of what a table has set: a length is of two keys.

    Args:
        own: how the configuration is trained.
        overridden: the keys that its table sets.
    """
    keys = set(overridden)
    if keys & {"epochs", "steps"}:
        keys = (keys | {"steps"}) - {"epochs"} if own.steps else keys | {"epochs", "steps"}
    if keys & {"first_epochs", "first_steps"}:
        keys |= {"first_epochs", "first_steps"}
    return frozenset(keys)


def _overrides(usual: TrainingConfig, own: TrainingConfig) -> dict[str, Any]:
    """The keys in which a configuration is trained otherwise than its study says."""
    before, after = plain_values(usual), plain_values(own)
    # A number of steps takes the place of epochs, which then mean nothing.
    after.pop("epochs" if own.steps else "steps")
    if usual.steps and not own.steps:
        before.pop("epochs")  # so that their default is an override as well
    return {key: value for key, value in after.items() if value != before.get(key)}
