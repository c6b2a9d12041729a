"""Finished trials as runs of TensorBoard, MLflow and Weights & Biases, by Ray's own callbacks.

Ray's callbacks read a Tune trial's `config`, which here is a job: a stage, or a trial by its id.
So they are not given to Tune; each is called by a thread of its own, once per finished trial, with
a stand-in whose `config` is flat: the configuration's numbers and how the trial ended. The thread
waits for the tracker; the sweep never does. Metrics are those of validation data: whoever
chooses by looking at a tracker has then not chosen by test data.

A run appears when its trial has ended, as its record does, so that a killed sweep leaves no run
behind that seems to be at work.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.errors import RunnerError
from clsweep.execution.listeners.base import Listener
from clsweep.execution.ray.internals import UPLOADS, Patch, doubt
from clsweep.redaction import without_secrets
from clsweep.storage.folder_kinds import folder_of

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Outcome
    from clsweep.records.schema import Record
    from clsweep.storage.remote_path import Place
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job
    from clsweep.study.sections import CallbacksConfig
    from clsweep.study.study_tables import Conditions

_PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
_STRIKES = 3
_PATIENCE, _PATIENCE_WHEN_STOPPED = 60.0, 5.0
_LONGEST_MESSAGE = 250


class TrackedTrial(NamedTuple):
    """What a tracker is told of a finished trial.

    Attributes:
        trial_id: its identity.
        name: for people.
        parameters: flat; text, numbers and truth values.
        metrics: numbers, of validation data; none of accuracies if it is not ok.
        is_ok: whether it ended well.
    """

    trial_id: str
    name: str
    parameters: dict[str, str | bool | int | float]
    metrics: dict[str, float]
    is_ok: bool


def tracked_trial(
    job: Job, outcome: Outcome, configuration: Configuration, record: Record
) -> TrackedTrial:
    """What a tracker is told.

    Args:
        job: the trial.
        outcome: how it ended.
        configuration: with which numbers.
        record: its record; its test rows, if it has them, are not read.
    """
    from clsweep.search.validation_table import validation_point

    trial, config = record["trial"], record["config"]
    parameters: dict[str, str | bool | int | float]
    parameters = {"label": job.label, "method": configuration.method, "seed": job.seed}
    parameters |= {key: _flat(value) for key, value in config["hyper"].items()}
    parameters |= {f"training.{key}": _flat(value) for key, value in config["training"].items()}
    parameters |= {"config_id": job.config_id, "status": outcome.status}
    if outcome.message:
        parameters["message"] = without_secrets(outcome.message)[:_LONGEST_MESSAGE]
    metrics = {key: float(trial[key]) for key in ("wall_seconds", "n_steps", "memory_bytes")}
    point = validation_point(record)
    if point is not None:
        source, target = point
        metrics["validation_average_accuracy"] = outcome.average_accuracy
        metrics["validation_source_accuracy"] = source
        metrics["validation_target_accuracy"] = target
    knobs = "".join(f", {key} = {value:.6g}" for key, value in configuration.knobs.items())
    name = f"{job.label}{knobs}, seed {job.seed}"
    return TrackedTrial(job.key, name, parameters, metrics, outcome.status in ("ok", "stopped"))


class Callbacks(Listener):
    """The trackers of a study; within its block they are at work.

    Args:
        conditions: of the study, which names them.
        out: the results folder; for one in an object store, files of callbacks go to
            `results/NAME` here.
        inline: whether Ray is not used: then they are left out, since they are Ray's.

    Raises:
        RunnerError: a package is not installed.
    """

    name = "[callbacks]"

    def __init__(self, conditions: Conditions, out: Place, *, inline: bool) -> None:
        super().__init__()
        asked = conditions.callbacks
        names = asked.named
        self._couriers: list[_Courier] = []
        if names and inline:
            listed = ", ".join(names)
            self.warnings.append(
                f"[callbacks] is left out ({listed}): the callbacks are Ray's, and --inline runs "
                "without it"
            )
            return
        for name in names:
            _check_installed(name)
        # What they write are files of their own kind, which no object store takes.
        folder = folder_of(out).local_path or conditions.results_folder
        makers = {name: _maker(name, conditions.name, asked, folder) for name in names}
        self._couriers = [_Courier(name, made, self.warnings) for name, made in makers.items()]

    def __enter__(self) -> Callbacks:
        for courier in self._couriers:
            courier.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        patience = _PATIENCE if kind is None else _PATIENCE_WHEN_STOPPED
        deadline = time.monotonic() + patience
        for courier in self._couriers:
            courier.dismiss(deadline)

    def finished(
        self,
        job: Job,
        outcome: Outcome,
        configuration: Configuration,
        record: Callable[[], Record],
    ) -> None:
        """Hand a trial on; a stage is no run."""
        if job.kind != "trial" or not self._couriers:
            return
        trial = tracked_trial(job, outcome, configuration, record())
        for courier in self._couriers:
            courier.take(trial)


class _Maker(NamedTuple):
    """How one of Ray's callbacks is made, and what is done with it.

    Attributes:
        callback: makes it.
        folder: where it may put files of a trial.
        uploads: what waiting for its uploads counts on; None for one that uploads at once.
    """

    callback: Callable[[], Any]
    folder: Callable[[TrackedTrial], Path]
    uploads: Patch | None


class _Courier(threading.Thread):
    """Hands trials to one tracker, in turn; gives it up after some failures in a row."""

    def __init__(self, name: str, maker: _Maker, warnings: list[str]) -> None:
        super().__init__(name=f"clsweep-{name}", daemon=True)
        self._tracker, self._maker, self._warnings = name, maker, warnings
        self._trials: queue.SimpleQueue[TrackedTrial | None] = queue.SimpleQueue()
        self._n_taken = self._n_given = self._n_strikes = 0
        self._has_warned = self._has_uploads = False
        self._callback: Any = None

    def take(self, trial: TrackedTrial) -> None:
        """Queue a trial."""
        self._n_taken += 1
        self._trials.put(trial)

    def dismiss(self, deadline: float) -> None:
        """Wait until all trials are handed over, or for the deadline; say what is missing."""
        self._trials.put(None)
        self.join(max(0.0, deadline - time.monotonic()))
        n_missing = self._n_taken - self._n_given
        if n_missing:
            self._warnings.append(
                f"{self._tracker} lacks {n_missing} of the {self._n_taken} trials of this run; "
                "their results are in the results folder like all others"
            )

    def run(self) -> None:
        """Work through the queue."""
        while (trial := self._trials.get()) is not None:
            if self._n_strikes >= _STRIKES:
                continue
            try:
                self._hand_over(trial)
            except Exception as error:  # a server that is away, a full disk: never the sweep's end
                self._warn_once(error)
                self._n_strikes += 1
            else:
                self._n_strikes = 0
                self._n_given += 1

    def _hand_over(self, trial: TrackedTrial) -> None:
        if self._callback is None:
            made = self._maker.callback()
            made.setup()
            self._has_uploads = self._maker.uploads is not None and self._fits(self._maker.uploads)
            self._callback = made
        _report(self._callback, trial, self._maker.folder(trial), self._has_uploads)

    def _fits(self, patch: Patch) -> bool:
        """Whether it fits the installed Ray; warns where it does not."""
        said = doubt(patch)
        if said:
            self._warnings.append(said)
        return not said

    def _warn_once(self, error: Exception) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        reason = without_secrets(" ".join(f"{type(error).__name__}: {error}".split()))
        self._warnings.append(
            f"{self._tracker} did not take a trial ({reason[:300]}); the sweep goes on, and after "
            f"{_STRIKES} failures in a row without it"
        )


class _StandIn:
    """As much of a Tune trial as Ray's callbacks read."""

    def __init__(self, trial: TrackedTrial, folder: Path) -> None:
        # A trial may be tried again under its id, which W&B wants to be new.
        self.trial_id = f"{trial.trial_id}-{uuid.uuid4().hex[:8]}"
        self.config = self.evaluated_params = dict(trial.parameters)
        self.local_path = str(folder)
        self.experiment_dir_name = folder.name
        self.checkpoint = None
        self._name = trial.name

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return self._name


def _report(callback: Any, trial: TrackedTrial, folder: Path, has_uploads: bool) -> None:
    """One finished trial as one run of a `LoggerCallback`; back when the tracker has it.

    Args:
        callback: the `LoggerCallback`.
        trial: what it is told.
        folder: where it may put files.
        has_uploads: whether it uploads after it has been told, and can be waited for.
    """
    stand_in = _StandIn(trial, folder)
    stand_in.init_local_path()
    callback.log_trial_start(stand_in)
    callback.log_trial_result(1, stand_in, {**trial.metrics, "training_iteration": 1})
    callback.log_trial_end(stand_in, failed=not trial.is_ok)
    if has_uploads:  # W&B runs in an actor of Ray's, whose failure Ray's callback would not tell
        import ray

        uploads = list(callback._trial_logging_futures.values())
        ray.get(uploads, timeout=callback._upload_timeout)
    callback.on_experiment_end(trials=[])


def _maker(tracker: str, study: str, config: CallbacksConfig, out: Path) -> _Maker:
    def tensorboard() -> Any:
        from ray.tune.logger import TBXLoggerCallback

        return TBXLoggerCallback()

    def mlflow() -> Any:
        # Read when mlflow is imported: a line per run would tear the progress display.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        return MLflowLoggerCallback(tracking_uri=config.mlflow, experiment_name=study)

    def wandb() -> Any:
        from ray.air.integrations.wandb import WandbLoggerCallback

        return WandbLoggerCallback(
            project=config.wandb, group=study, upload_timeout=int(_PATIENCE)
        )

    def event_files(trial: TrackedTrial) -> Path:
        safe = re.sub(r"[^A-Za-z0-9._=+-]+", "_", trial.name.replace(" = ", "="))
        return out / "tensorboard" / f"{safe[:150]}_{trial.trial_id}"

    makers: Mapping[str, Callable[[], Any]] = {
        "tensorboard": tensorboard,
        "mlflow": mlflow,
        "wandb": wandb,
    }
    # wandb makes its own folder in the one that it is given; mlflow has no use for any.
    folder = event_files if tracker == "tensorboard" else lambda trial: out
    return _Maker(makers[tracker], folder, UPLOADS if tracker == "wandb" else None)


def _check_installed(tracker: str) -> None:
    package = _PACKAGES[tracker]
    spec = importlib.util.find_spec(package)
    # A folder `wandb` where the command is started, as wandb itself makes, is no package.
    if spec is None or spec.origin is None:
        raise RunnerError(
            f"the study's [callbacks] hand trials to {tracker}, and {package} is not installed",
            where=f"[callbacks] {tracker}",
            next_step=f"`pip install {package}` where the run is started, or leave the key out",
        )


def _flat(value: Any) -> str | bool | int | float:
    return value if isinstance(value, str | bool | int | float) else str(value)
