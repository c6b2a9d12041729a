"""`[training]` of a study file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clsweep.config_section import Section, mistake
from clsweep.number_conditions import conditions


class TrainingConfig(Section):
    """How every task is trained, `[training]`."""

    optimizer: Annotated[Literal["sgd", "adam", "adagrad"], Field(description="the optimiser")] = (
        "sgd"
    )
    lr: Annotated[
        float, Field(gt=0, description="learning rate", json_schema_extra={"log": True})
    ] = 0.1
    momentum: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="momentum",
            json_schema_extra=conditions(where={"optimizer": "sgd"}),
        ),
    ] = 0.0
    weight_decay: Annotated[
        float, Field(ge=0, description="L2 decay of all weights", json_schema_extra={"log": True})
    ] = 0.0
    batch_size: Annotated[int, Field(ge=1, description="examples per step")] = 32
    epochs: Annotated[int, Field(ge=1, description="passes over each task's training set")] = 1
    steps: Annotated[
        int, Field(ge=0, description="steps per task, instead of epochs; 0 counts epochs")
    ] = 0
    clip_value: Annotated[
        float, Field(ge=0, description="largest size of one gradient element; 0 for no clipping")
    ] = 0.0
    augment: Annotated[
        Literal["none", "flip", "crop_flip"],
        Field(
            description="random views of training images: mirrored, or also shifted by up to an "
            "eighth of the image; examples that a method stores stay as they are"
        ),
    ] = "none"
    reset: Annotated[
        bool,
        Field(
            description="start every task with a fresh optimiser state",
            json_schema_extra=conditions(unless={"optimizer": "sgd", "momentum": 0}),
        ),
    ] = True

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.steps > 0 and "epochs" in self.model_fields_set:
            raise mistake(
                "both 'epochs' and 'steps' are given",
                expected="one of the two: passes over the data, or steps per task",
                at=("steps",),
            )
        if self.momentum > 0 and self.optimizer != "sgd":
            raise mistake(
                f"momentum = {self.momentum} means nothing for '{self.optimizer}'",
                expected="momentum with optimizer = 'sgd' only",
                next_step="write momentum = 0.0 where the optimizer is chosen",
                at=("momentum",),
            )
        return self

    def n_steps(self, n_examples: int) -> int:
        """Training steps on a task.

        Args:
            n_examples: size of its training set, at least 1.
        """
        return self.steps or self.epochs * -(-n_examples // self.batch_size)
