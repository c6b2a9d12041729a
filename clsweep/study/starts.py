"""What a trial begins with, as plain values: by these, its stages are named and shared.

Nothing of a method is in it but what its statistics depend on, so that trials which differ in
other numbers have equal starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsweep.study.paths import PathPlace
    from clsweep.training.config import TrainingConfig


@dataclass(frozen=True)
class Start:
    """What the trials of a configuration begin with, of one seed all with the same.

    Attributes:
        config_id: the configuration.
        asked: see `Configuration.asked`.
        training: how the source model is trained.
        at_source: whether they begin at the source model; else they learn the first task by
            themselves.
        statistics: name of the statistics of the source task that the method needs; '' for none.
        numbers: what of the method these depend on, key -> value where it is not the default.
        code: import path and fingerprint of the user's own code that they depend on.
        is_finetuned: whether the fine-tuned network of the second task is needed.
        path: where the configuration lies on a regularisation path; None for independent trials.
    """

    config_id: str
    asked: str
    training: TrainingConfig
    at_source: bool
    statistics: str
    numbers: dict[str, Any]
    code: dict[str, str]
    is_finetuned: bool
    path: PathPlace | None
