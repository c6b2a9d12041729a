"""The plain sections of a study file: `[resources]`, `[report]`, `[save]`, `[callbacks]`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from clsweep.config_section import Section, as_toml, mistake

_MOST_LANES = 1024


def _checked_lanes(value: Any) -> Any:
    """A number of lanes, or 'auto'; one message for what is neither."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value == "auto" or (is_number and 1 <= value <= _MOST_LANES):
        return value
    raise mistake(
        f"lanes = {as_toml(value)}",
        expected=f'1 (each trial by itself), "auto", or a whole number from 2 to {_MOST_LANES}: '
        "trials in one program, at most",
    )


class Resources(Section):
    """What one trial may use, `[resources]`. No result depends on it, but for lanes' rounding."""

    cpus: Annotated[float, Field(gt=0, description="CPU cores of one trial")] = 1.0
    gpu_fraction: Annotated[
        float,
        Field(
            ge=0, description="share of a GPU per trial, where there is one; over 1: whole GPUs"
        ),
    ] = 0.25
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="'auto' uses GPUs, and the cores of nodes that have none"),
    ] = "auto"
    deterministic: Annotated[
        bool,
        Field(
            description="GPUs: only algorithms that give the same bits again on the same GPU; a "
            "trial that needs another one fails. Processors give them in any case"
        ),
    ] = False
    max_concurrent: Annotated[
        int, Field(ge=0, description="trials at the same time; 0 for as many as fit")
    ] = 0
    memory_mb: Annotated[
        int, Field(ge=0, description="main memory to reserve per trial, MB; 0 reserves none")
    ] = 0
    max_attempts: Annotated[
        int,
        Field(ge=1, description="starts of one trial that come to no end before it fails"),
    ] = 3
    oom_retry: Annotated[
        bool,
        Field(description="try a trial that is too large for its share of a GPU on a whole one"),
    ] = True
    lanes: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=_MOST_LANES)],
        BeforeValidator(_checked_lanes),
        Field(
            description="trials of one method that are trained as one program, at most; 'auto' "
            "for the number that is fastest where they run; 1 for each by itself, with equal bits"
        ),
    ] = 1

    @model_validator(mode="after")
    def _check(self) -> Resources:
        if self.gpu_fraction > 1 and self.gpu_fraction != int(self.gpu_fraction):
            raise mistake(
                f"gpu_fraction = {self.gpu_fraction} is neither a share nor whole GPUs",
                expected="a number between 0 and 1, or a whole number of GPUs",
                at=("gpu_fraction",),
            )
        if self.deterministic and self.device == "cpu":
            raise mistake(
                "deterministic = true means nothing with device = 'cpu'",
                expected="no such key: processors give the same bits in any case",
                at=("deterministic",),
            )
        if self.device == "cuda" and self.gpu_fraction == 0:
            raise mistake(
                "device = 'cuda' with gpu_fraction = 0.0 asks for a GPU without taking one",
                expected="gpu_fraction above 0",
                at=("gpu_fraction",),
            )
        return self


class ReportConfig(Section):
    """What `clsweep report` computes, `[report]`. No accuracy of a trial depends on it."""

    drops: Annotated[
        tuple[Annotated[float, Field(ge=0, le=100)], ...],
        Field(
            strict=False,
            description="required target accuracies: fine-tuning's minus these percentage points",
        ),
    ] = (1.0, 5.0)
    margin: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="by how many standard errors a choice must exceed a required target "
            "accuracy on validation data; 0: by none, as published",
        ),
    ] = 1.0
    choose_on: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
        Field(
            strict=False,
            description="seeds that choose the configurations, while test numbers of all others "
            "are shown; empty: all choose and all are shown, with cross-fitting",
        ),
    ] = ()
    per_class: Annotated[
        bool,
        Field(
            description="trials store what their final network takes every class for, and the "
            "report shows accuracies per class; a trial that has finished stores nothing more"
        ),
    ] = False
    measures: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]*$", max_length=300)], ...],
        Field(
            strict=False,
            description="measures of your own that trials compute and store, never used for "
            "choosing: 'package.module:function', or names of installed entry points",
        ),
    ] = ()

    @model_validator(mode="after")
    def _check(self) -> ReportConfig:
        repeatable = (("drops", "drop"), ("choose_on", "seed"), ("measures", "measure"))
        for key, what in repeatable:
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise mistake(f"a {what} is listed twice", expected="each once", at=(key,))
        return self


class SaveConfig(Section):
    """What trials leave beside their numbers, `[save]`. No result depends on it."""

    models: Annotated[
        Literal["none", "chosen", "all"],
        Field(
            description="final networks that are kept in the results folder's models/: 'all'; or "
            "'chosen', those of the configurations that a protocol of the report chooses, and of "
            "references, once all trials are done; until then all are kept"
        ),
    ] = "none"
    losses: Annotated[
        bool, Field(description="training losses, thinned, in the results folder's losses.parquet")
    ] = False

    @property
    def is_asked(self) -> bool:
        """Whether anything is to be left."""
        return self != type(self)()


_Event = Literal["done", "stopped", "failed", "claim"]
_EVENTS: tuple[_Event, ...] = ("done", "stopped", "failed", "claim")


class CallbacksConfig(Section):
    """Trackers that get finished trials, and an address that is told, `[callbacks]`.

    No trial depends on it.
    """

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

    webhook: Annotated[
        str,
        Field(
            description="'${NAME}': the environment variable that holds an address, which gets "
            "JSON by POST when the run is done, fails or finds a first difference; '' for none"
        ),
    ] = ""
    webhook_events: Annotated[
        tuple[_Event, ...],
        Field(strict=False, description="what the webhook is told of"),
    ] = _EVENTS

    @property
    def named(self) -> tuple[str, ...]:
        """The trackers that are asked for."""
        return tuple(name for name in ("tensorboard", "mlflow", "wandb") if getattr(self, name))

    @property
    def is_asked(self) -> bool:
        """Whether anybody is to be told anything."""
        return bool(self.named or self.webhook)

    @property
    def written(self) -> dict[str, Any]:
        """What the stored study says: nothing of a webhook where none is asked for."""
        webhook = {"webhook", "webhook_events"}
        return self.model_dump(exclude=None if self.webhook else webhook)

    @model_validator(mode="after")
    def _check(self) -> CallbacksConfig:
        if self.webhook and not re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", self.webhook):
            # What was written may be the address itself, which no message repeats.
            raise mistake(
                "webhook names no environment variable; an address would be a secret in a study "
                "file, which is copied into every result",
                expected="'${NAME}'",
                next_step="`export NAME=https://…` where the run is started",
                at=("webhook",),
            )
        if re.search(r"://[^/@]*:[^/@]*@", self.mlflow):
            raise mistake(
                "the tracking URI holds a password, and a study file is copied into every result",
                expected="a URI without user and password",
                next_step="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead",
                at=("mlflow",),
            )
        return self
