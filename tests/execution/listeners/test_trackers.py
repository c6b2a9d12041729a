"""`[callbacks]`: finished trials as runs of trackers, which never decide or end anything."""

from __future__ import annotations

import importlib.util
import json
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from clsweep.errors import RunnerError, StudyError
from clsweep.execution.listeners import trackers
from clsweep.execution.listeners.trackers import Callbacks, TrackedTrial, tracked_trial
from clsweep.execution.outcomes import Outcome
from clsweep.execution.ray.internals import UPLOADS, Part, Patch
from clsweep.execution.trial_record import record_of
from clsweep.methods import METHODS
from clsweep.study.configurations import Configuration, configurations, study_identity
from clsweep.study.jobs import Job
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.sections import CallbacksConfig
from clsweep.study.study import Study, parse_study
from tests.end_to_end.studies import clsweep_apart
from tests.support.command_line import TINY, CommandLine, tiny_study

TEXT = TINY.format(seeds=1, net="hidden = [4]", steps=2, lam="[100.0]")
FIRST = TEXT.index("[[methods]]")


def _study(section: str) -> Study:
    return parse_study(f"{TEXT[:FIRST]}[callbacks]\n{section}\n{TEXT[FIRST:]}")


def _trial(study: Study) -> tuple[Job, Configuration]:
    ewc = configurations(study)[1]
    return Job(f"{ewc.id}-3", "trial", "EWC", ewc.id, 3, ("s",)), ewc


def _rows(test_correct: int) -> list[tuple[int, int, str, int, int]]:
    return [
        (0, 0, "validation", 4, 4),
        (1, 0, "validation", 1, 4),
        (1, 1, "validation", 3, 4),
        (1, 0, "test", test_correct, 4),
        (1, 1, "test", test_correct, 4),
    ]


OK = Outcome("ok", "", 0.5, 1.5)


def _tracked(study: Study, test_correct: int = 2) -> TrackedTrial:
    job, ewc = _trial(study)
    record = record_of(ewc, 3, "ok", accuracy=_rows(test_correct), wall_seconds=1.5, n_steps=4)
    return tracked_trial(job, OK, ewc, record)


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)


# -------------------------------------------------------------------------------- what is told


def test_numbers_are_flat_and_metrics_are_of_validation_data() -> None:
    study = _study("tensorboard = true")
    told = _tracked(study)
    assert (told.name, told.is_ok) == ("EWC, lam = 100, seed 3", True)
    assert {type(value) for value in told.parameters.values()} <= {str, bool, int, float}
    job, ewc = _trial(study)
    assert told.trial_id == job.key
    assert told.parameters["lam"] == 100.0
    assert (told.parameters["training.lr"], told.parameters["training.optimizer"]) == (0.1, "sgd")
    assert (told.parameters["label"], told.parameters["method"]) == ("EWC", "ewc")
    assert (told.parameters["seed"], told.parameters["status"]) == (3, "ok")
    assert told.parameters["config_id"] == ewc.id
    assert told.metrics == {
        "validation_average_accuracy": 0.5,
        "validation_source_accuracy": 0.25,
        "validation_target_accuracy": 0.75,
        "wall_seconds": 1.5,
        "n_steps": 4.0,
        "memory_bytes": 0.0,
    }


def test_test_counts_reach_no_tracker() -> None:
    study = _study("tensorboard = true")
    assert _tracked(study, test_correct=0) == _tracked(study, test_correct=4)


def test_a_failed_trial_has_its_message_and_no_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    study = _study("tensorboard = true")
    job, ewc = _trial(study)
    message = "no 0123456789abcdef " + 1000 * "x"
    record = record_of(ewc, 3, "failed", message=message)
    told = tracked_trial(job, Outcome("failed", message), ewc, record)
    assert not told.is_ok
    assert not [key for key in told.metrics if "accuracy" in key]
    assert told.parameters["status"] == "failed"
    assert str(told.parameters["message"]).startswith("no [removed] x")
    assert len(str(told.parameters["message"])) == 250


def test_no_number_of_a_method_has_a_name_that_is_taken() -> None:
    taken = {"label", "method", "seed", "config_id", "status", "message", "callbacks"}
    for name, entry in METHODS.items():
        assert not taken & {*entry.hyper.model_fields}, name


# ------------------------------------------------------------------------------- how it is told


class Tracker:
    """Stands for one of Ray's callbacks."""

    def __init__(self, fails: int = 0, gate: threading.Event | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails, self.gate = fails, gate

    def setup(self) -> None:
        self.calls.append(("setup",))

    def log_trial_start(self, trial: Any) -> None:
        if self.gate is not None:
            self.gate.wait(30)
        if self.fails:
            self.fails -= 1
            raise ConnectionError("https://me:secret@host is away")
        trial.init_local_path()
        self.calls.append(("start", str(trial), dict(trial.config), trial.trial_id))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self.calls.append(("result", iteration, result))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        self.calls.append(("end", failed))

    def on_experiment_end(self, trials: list[Any]) -> None:
        self.calls.append(("over",))


def _with(
    monkeypatch: pytest.MonkeyPatch, tracker: Tracker, out: Path, uploads: Patch | None = None
) -> Callbacks:
    maker = trackers._Maker(lambda: tracker, lambda trial: out / "files", uploads)
    monkeypatch.setattr(trackers, "_maker", lambda *_: maker)
    return Callbacks(_study("tensorboard = true"), out, inline=False)


def _finish(telling: Callbacks, n: int = 1) -> None:
    study = _study("tensorboard = true")
    job, ewc = _trial(study)
    record = record_of(ewc, 3, "ok", accuracy=_rows(2))
    for _ in range(n):
        telling.finished(job, OK, ewc, lambda: record)


def test_one_trial_is_one_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tracker = Tracker()
    telling = _with(monkeypatch, tracker, tmp_path)
    job, ewc = _trial(_study("tensorboard = true"))
    with telling:
        telling.finished(Job("s", "source", "source, seed 0", "c", 0), OK, ewc, pytest.fail)
        _finish(telling)
    told = _tracked(_study("tensorboard = true"))
    setup, start, result, *rest = tracker.calls
    assert (setup, rest) == (("setup",), [("end", False), ("over",)])
    assert start[:3] == ("start", told.name, told.parameters)
    assert start[3].startswith(f"{job.key}-")
    assert result[1] == 1
    assert result[2]["validation_source_accuracy"] == 0.25
    assert result[2]["training_iteration"] == 1
    assert (tmp_path / "files").is_dir()
    assert telling.warnings == []


def test_a_tracker_that_is_away_for_a_while_misses_what_it_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracker = Tracker(fails=2)
    with _with(monkeypatch, tracker, tmp_path) as telling:
        _finish(telling, 6)
    assert [call[0] for call in tracker.calls].count("over") == 4
    first, last = telling.warnings
    assert first.startswith("tensorboard did not take a trial (ConnectionError: https://[removed]")
    assert "the sweep goes on" in first
    assert last.startswith("tensorboard lacks 2 of the 6 trials of this run")


def test_a_tracker_that_stays_away_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracker = Tracker(fails=100)
    with _with(monkeypatch, tracker, tmp_path) as telling:
        _finish(telling, 10)
    assert tracker.fails == 97
    assert len(telling.warnings) == 2
    assert "lacks 10 of the 10" in telling.warnings[1]


def test_the_sweep_does_not_wait_for_a_tracker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "_PATIENCE", 0.2)
    gate = threading.Event()
    tracker = Tracker(gate=gate)
    began = time.monotonic()
    with _with(monkeypatch, tracker, tmp_path) as telling:
        _finish(telling, 3)
        assert tracker.calls in ([], [("setup",)])
    assert time.monotonic() - began < 15  # the gate opens after 30
    assert "lacks 3 of the 3" in telling.warnings[0]
    gate.set()


class Uploader(Tracker):
    """Stands for Ray's callback for W&B, whose uploads fail."""

    _upload_timeout = 60

    def __init__(self) -> None:
        super().__init__()
        self._trial_logging_futures = {"trial": "future"}


def _upload_fails(uploads: list[str], timeout: float) -> None:
    assert (uploads, timeout) == (["future"], 60)
    raise ConnectionError("no upload")


def test_an_upload_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert trackers._maker("wandb", "x", CallbacksConfig(wandb="x"), tmp_path).uploads is UPLOADS
    monkeypatch.setattr(ray, "get", _upload_fails)
    with _with(monkeypatch, Uploader(), tmp_path, UPLOADS) as telling:
        _finish(telling)
    first, last = telling.warnings
    assert first.startswith("tensorboard did not take a trial (ConnectionError: no upload)")
    assert last.startswith("tensorboard lacks 1 of the 1 trials")


def test_another_ray_whose_uploads_cannot_be_waited_for_is_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unknown = Part("ray.job_config:JobConfig.__init__", None, ("_no_such_futures",))
    monkeypatch.setattr(ray, "get", _upload_fails)
    tracker = Uploader()
    with _with(monkeypatch, tracker, tmp_path, UPLOADS._replace(parts=(unknown,))) as telling:
        _finish(telling, 2)
    assert [call[0] for call in tracker.calls].count("over") == 2
    assert telling.warnings == [
        f"clsweep does not know this Ray, {ray.__version__}: ray.job_config:JobConfig.__init__ "
        "knows no _no_such_futures; therefore an upload to W&B that fails is not told"
    ]


# ------------------------------------------------------------------------------ the study's file


def test_no_identity_depends_on_it() -> None:
    plain, told = parse_study(TEXT), _study('tensorboard = true\nmlflow = "http://host:5000"')
    assert study_identity(plain) == study_identity(told)
    assert configurations(plain) == configurations(told)
    assert "[callbacks]" not in resolved_toml(plain)
    assert parse_study(resolved_toml(told)) == told
    assert told.callbacks.named == ("tensorboard", "mlflow")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('mlflow = "https://me:pass@host"', ["holds a password", "MLFLOW_TRACKING_PASSWORD"]),
        ('wandb_key = "abc"', ["unknown key 'wandb_key'", "wandb"]),
        ("tensorboard = 1", ["tensorboard = 1", "true or false"]),
    ],
)
def test_mistakes_in_the_section(section: str, words: list[str]) -> None:
    with pytest.raises(StudyError) as caught:
        _study(section)
    for word in (*words, "callbacks."):
        assert word in str(caught.value)


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_package_that_is_missing_is_named_before_anything_runs(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_folder: bool
) -> None:
    real = importlib.util.find_spec
    spec = importlib.machinery.ModuleSpec("wandb", None) if is_folder else None
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: spec if name == "wandb" else real(name)
    )
    path = tiny_study(tmp_path)
    path.write_text(path.read_text() + '[callbacks]\nwandb = "fronts"\n')
    ran = cli("run", path)
    ran.is_mistake("wandb is not installed", "`pip install wandb`", "[callbacks] wandb")
    assert not Path("results").exists()
    with pytest.raises(RunnerError):
        Callbacks(_study('wandb = "fronts"'), tmp_path, inline=False)


def test_inline_leaves_them_out_and_says_so(cli: CommandLine, tmp_path: Path) -> None:
    path = tiny_study(tmp_path)
    path.write_text(path.read_text() + '[callbacks]\nwandb = "fronts"\ntensorboard = true\n')
    ran = cli("run", path, "--inline", "-q", "--log-json", "log.jsonl")
    assert ran.code == 0
    assert "[callbacks] is left out (tensorboard, wandb)" in ran.err
    assert ran.err.count("left out") == 1
    end = json.loads(Path("log.jsonl").read_text().splitlines()[-1])
    assert "left out" in end["warnings"][0]
    assert not Path("results/tiny/tensorboard").exists()


# ------------------------------------------------------------------------------- the real ones


def _events(file: Path) -> list[Any]:
    """The events of a TensorBoard file: length, checksum, bytes, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, found, at = file.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        found.append(Event.FromString(data[at + 12 : at + 12 + length]))
        at += length + 16
    return found


def _scalars(folder: Path) -> dict[str, float]:
    (file,) = folder.glob("events.out.tfevents.*")
    values = [value for event in _events(file) for value in event.summary.value]
    return {v.tag: v.simple_value for v in values if v.HasField("simple_value")}


def _hand_over(study: Study, out: Path) -> TrackedTrial:
    job, ewc = _trial(study)
    record = record_of(ewc, 3, "ok", accuracy=_rows(4), wall_seconds=1.5)
    with Callbacks(study, out, inline=False) as telling:
        telling.finished(job, OK, ewc, lambda: record)
    assert telling.warnings == []
    return _tracked(study)


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    study = _study("tensorboard = true")
    told = _hand_over(study, tmp_path)
    folder = tmp_path / "tensorboard" / f"EWC_lam=100_seed_3_{told.trial_id}"
    scalars = _scalars(folder)
    assert scalars["ray/tune/validation_average_accuracy"] == 0.5
    assert scalars["ray/tune/validation_source_accuracy"] == 0.25
    assert not [tag for tag in scalars if "test" in tag]
    (file,) = folder.iterdir()
    assert b"training.lr" in file.read_bytes()  # among the parameters of its runs' table


def test_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/tracking.db"
    told = _hand_over(_study(f'mlflow = "{uri}"'), tmp_path)
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == told.name
    assert run.data.params == {key: str(value) for key, value in told.parameters.items()}
    assert run.data.metrics["validation_target_accuracy"] == 0.75
    assert not [key for key in (*run.data.metrics, *run.data.params) if "test" in key]


def test_mlflow_whose_server_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    study = _study('mlflow = "http://127.0.0.1:9"')  # the port of discard
    job, ewc = _trial(study)
    record = record_of(ewc, 3, "ok", accuracy=_rows(4))
    with Callbacks(study, tmp_path, inline=False) as telling:
        telling.finished(job, OK, ewc, lambda: record)
    first, last = telling.warnings
    assert first.startswith("mlflow did not take a trial (MlflowException")
    assert "lacks 1 of the 1" in last


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_on_ray_hands_over_every_trial_and_no_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = tiny_study(tmp_path, lam="[1.0, 1e30]", steps=20)
    section = "[callbacks]\ntensorboard = true\n"
    if importlib.util.find_spec("wandb"):
        section += 'wandb = "fronts"\n'
    path.write_text(path.read_text() + section)
    out = tmp_path / "out"
    printed = clsweep_apart("run", path, "--out", out, "--workers", 1, cwd=tmp_path, expect=1)
    assert "3 of 3 trials done, 3 by this run" in printed
    assert "warning" not in printed
    folders = sorted(folder.name for folder in (out / "tensorboard").iterdir())
    assert [name.rsplit("_", 1)[0] for name in folders] == [
        "EWC_lam=1_seed_0",
        "EWC_lam=1e+30_seed_0",
        "fine-tuning_seed_0",
    ]
    by_name = {n.rsplit("_", 1)[0]: _scalars(out / "tensorboard" / n) for n in folders}
    average = "ray/tune/validation_average_accuracy"
    assert 0 < by_name["EWC_lam=1_seed_0"][average] <= 1
    assert average not in by_name["EWC_lam=1e+30_seed_0"]
    if importlib.util.find_spec("wandb"):
        assert len(list((out / "wandb").glob("offline-run-*"))) == 3
