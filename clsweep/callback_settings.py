"""`[callbacks]` of a study file: to whom Ray's own callbacks hand the finished trials."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, model_validator

from clsweep.settings import Section
from clsweep.study_errors import mistake

__all__ = ["CallbacksConfig"]


class CallbacksConfig(Section):
    """Trackers that are handed the finished trials, `[callbacks]`. No trial depends on it."""

    tensorboard: Annotated[
        bool, Field(description="event files for TensorBoard in the results folder's tensorboard/")
    ] = False
    mlflow: Annotated[
        str,
        Field(
            description="tracking URI of MLflow, such as 'http://HOST:5000' or "
            "'sqlite:////ABSOLUTE/PATH.db'; the experiment has the study's name; '' for none"
        ),
    ] = ""
    wandb: Annotated[
        str,
        Field(
            description="project of Weights & Biases; the key comes from `wandb login` or "
            "WANDB_API_KEY, never from this file; '' for none"
        ),
    ] = ""

    @property
    def named(self) -> tuple[str, ...]:
        """The trackers that are asked for."""
        return tuple(name for name in type(self).model_fields if getattr(self, name))

    @model_validator(mode="after")
    def _check(self) -> CallbacksConfig:
        if re.search(r"://[^/@]*:[^/@]*@", self.mlflow):
            raise mistake(
                "the tracking URI holds a password, and a study file is copied into every result",
                expected="a URI without user and password",
                next_step="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead",
                at=("mlflow",),
            )
        return self
