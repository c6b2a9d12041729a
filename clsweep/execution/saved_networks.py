"""Final networks of trials in a results folder, `models/TRIAL_ID.safetensors`, and their loader.

A file holds the tensors of one network, the scale from stored images to its inputs, and in its
header what is needed to build it besides the study file and the trial's record:

    {"schema": 1, "trial_id": ..., "heads": {"scenario": ..., "sizes": [...]}, of
     a regression with "metric",
     "input_shape": [...], "stored": type of the inputs, "sha256": of the tensors}

It is written before the trial's record, as a whole, so that a trial with a record has its network
if the study asked for it by then. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.tasks import Scale, TaskSequence
from clsweep.errors import ClsweepError, StoreError
from clsweep.methods.known_methods import entry_of
from clsweep.methods.own_build import built
from clsweep.methods.own_methods import code_fingerprint
from clsweep.nets.build import build_net
from clsweep.nets.code_files import check_unedited, factory_complaint
from clsweep.nets.parameter_trees import Params
from clsweep.records.metrics import METRICS
from clsweep.records.own_code import CODE_COMMIT, own_version
from clsweep.records.recorded_inputs import short_fingerprint
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.saved_files import model_name

if TYPE_CHECKING:
    from clsweep.methods.base import Method
    from clsweep.records.schema import Record
    from clsweep.storage.remote_path import Place
    from clsweep.study.study_tables import StudyTables

_SCHEMA = 1
_HEADER = "clsweep"
_NETWORK, _SCALE = "network|", "scale|"


class SavedNetwork(nn.Module):
    """A trained network, in evaluation form: nothing in it is trained, or changes with a batch.

    Attributes:
        scenario: 'task', 'domain' or 'class'.
        n_tasks: tasks that it has learnt.
        input_shape: (C, H, W) for images.
        net: the network as pure functions of its parameters.
    """

    def __init__(self, method: Method, params: Params, scale: Scale) -> None:
        """Put the tensors of a trained network into a module.

        Args:
            method: the method that it was trained by, which says how it predicts.
            params: the tensors.
            scale: from stored images to its inputs.
        """
        super().__init__()
        self.net, heads = method.net, method.net.heads
        self.scenario, self.n_tasks = heads.scenario, len(heads.sizes)
        self.input_shape = method.net.input_shape
        self._predict = method.predict or method.net.apply
        self._names = {name.replace(".", "/"): name for name in params}
        assert len(self._names) == len(params)
        for name, own in self._names.items():  # no module may have a dot in a name
            self.register_buffer(name, params[own])
        self._stores_bytes = method.net.stored == torch.uint8
        self._scale = [name for name, value in scale._asdict().items() if value is not None]
        for name in self._scale:
            self.register_buffer(f"scale/{name}", getattr(scale, name))
        self.eval()

    @property
    def params(self) -> Params:
        """The tensors of the network, by the names that `net` gives them."""
        return {own: self.get_buffer(name) for name, own in self._names.items()}

    def scaled(self, stored: Tensor) -> Tensor:
        """Inputs of the network, float32 [B, ...], from those that the data set stores.

        Args:
            stored: [B, ...], after what the task does to them.
        """
        return Scale(**{name: self.get_buffer(f"scale/{name}") for name in self._scale})(stored)

    def forward(
        self, x: Tensor, task: int | None = None, *, is_scaled: bool | None = None
    ) -> Tensor:
        """Logits [B, classes of the head].

        Args:
            x: inputs [B, ...].
            task: of the examples, from 0, where each task has a head of its own; else it is not
                asked for, and the head is that after the last task.
            is_scaled: whether `x` is what `scaled` returns, or else as the data set stores it.
                None: scaled if it is floating point where the data set stores bytes.

        Raises:
            ValueError: there is no such task, or it is not said.
        """
        if self.scenario != "task":
            task = self.n_tasks - 1
        elif task is None or not 0 <= task < self.n_tasks:
            raise ValueError(f"task = {task}; it is one of 0 to {self.n_tasks - 1}")
        if is_scaled is None:
            is_scaled = self._stores_bytes and x.is_floating_point()
        return self._predict(self.params, x if is_scaled else self.scaled(x), task)


def save_network(directory: Place, trial_id: str, params: Params, sequence: TaskSequence) -> None:
    """Write the network of a trial, as a whole.

    Args:
        directory: the results folder.
        trial_id: the trial.
        params: the final network.
        sequence: what it has learnt.

    Raises:
        StoreError: the storage refuses.
    """
    from safetensors.torch import save

    named = {_NETWORK + name: value for name, value in params.items()}
    named |= {_SCALE + name: value for name, value in sequence.scale._asdict().items()}
    plain = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in named.items()
        if value is not None
    }
    header = {
        "schema": _SCHEMA,
        "trial_id": trial_id,
        "heads": _heads_header(sequence.heads),
        "input_shape": list(sequence.input_shape),
        "stored": str(sequence.stored).removeprefix("torch."),
        "sha256": _digest(plain),
    }
    data = save(plain, {_HEADER: json.dumps(header)})
    folder_of(directory).write(model_name(trial_id), data)


def _heads_header(heads: Heads) -> dict[str, Any]:
    """As it was before there were regressions, of which it says the metric."""
    plain = {"scenario": heads.scenario, "sizes": list(heads.sizes)}
    return {**plain, "metric": heads.metric} if heads.is_regression else plain


def load_network(
    directory: Place, study: StudyTables, record: Record, data_root: Path | None = None
) -> SavedNetwork:
    """The network of a trial, on the CPU.

    Args:
        directory: the results folder.
        study: what the folder's study file says.
        record: of the trial.
        data_root: folder below which weights of a torchvision model are looked for.

    Raises:
        StoreError: it is not there, or damaged; or it was trained with other code of the user's
            own than there is here, which might build or predict otherwise.
        MethodError: the code of a user's own method does not build.
    """
    trial_id = record["trial"]["trial_id"]
    path = directory / model_name(trial_id)
    try:
        read = _parsed(path.read_bytes(), trial_id)
    except FileNotFoundError:
        raise StoreError(
            f"the network of trial {trial_id} was not kept",
            expected="a trial that was run with [save] models = 'all', or that was chosen with "
            "'chosen'",
            where=str(path),
            next_step=f"write [save] models = 'all' into the study file, `clsweep forget DIR "
            f"--where 'trial_id = \"{trial_id}\"'`, and run the study again",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    config = record["config"]
    key = config["method"]
    declared = {request.method_key: request.entry for request in study.methods}
    entry = declared[key] if key in declared else entry_of(key)
    own = entry if entry.path else None  # whose code is imported here
    # A learner's network predicts without the learner.
    if own is not None and own.kind != "learner":
        _check_code(own.path, record, path)
    if study.net.name == "custom":
        _check_code(study.net.factory, record, path)
    net = build_net(study.located_net, read.input_shape, read.heads, data_root, read.stored)
    hyper = entry.hyper(**config["hyper"])
    method = methods.build(key, net, hyper) if own is None else built(own, net, hyper)
    try:
        module = SavedNetwork(method, read.params, read.scale)
        with torch.no_grad():  # a file of another network would only be noticed when it is used
            module(torch.zeros(2, *read.input_shape), 0, is_scaled=True)
    except (KeyError, RuntimeError) as error:
        raise _damaged(path, f"it is no network of this study: {error}") from error
    return module


def _check_code(code: str, record: Record, path: Place) -> None:
    """Refuse code, by import path, that is not what a trial was computed with."""
    versions = record["trial"]["versions"]
    then = own_version(versions, code)
    if not then or factory_complaint(code):  # building says what is wrong with the import
        return
    here = code_fingerprint(code)
    if here == then:
        check_unedited(code, str(path))  # files that were put back, and an import of before
        return
    commit = versions.get(CODE_COMMIT)
    at = f" (of the commit {commit}, or a change of it)" if commit else ""
    raise StoreError(
        f"the network of trial {record['trial']['trial_id']} was trained with other code of "
        f"'{code}' than there is here: {short_fingerprint(then)} then, {short_fingerprint(here)} "
        "here",
        expected="the code that it was trained with: another might predict otherwise",
        where=str(path),
        next_step=f"put back the code of then{at}, and load it in a new process; or run the study "
        "with the code of now and another `--out`",
    )


class _Read(NamedTuple):
    params: Params
    scale: Scale
    heads: Heads
    input_shape: tuple[int, ...]
    stored: torch.dtype


def _parsed(data: bytes, trial_id: str) -> _Read:
    """A file's content; raises ValueError, KeyError or TypeError where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    n_header = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + n_header])["__metadata__"][_HEADER])
    if header["schema"] != _SCHEMA:
        raise ValueError(f"schema {header['schema']}, which a newer clsweep has written")
    if header["trial_id"] != trial_id:
        raise ValueError(f"it is of the trial {header['trial_id']}")
    if header["sha256"] != _digest(tensors):
        raise ValueError("its checksum differs from the one written with it")
    stored = getattr(torch, str(header["stored"]))
    if not isinstance(stored, torch.dtype):
        raise ValueError(f"'{header['stored']}' is no type of numbers")
    sizes = tuple(int(n) for n in header["heads"]["sizes"])
    return _Read(
        _part(tensors, _NETWORK),
        Scale(**_part(tensors, _SCALE)),
        Heads(str(header["heads"]["scenario"]), sizes, _known_metric(header["heads"])),
        tuple(int(n) for n in header["input_shape"]),
        stored,
    )


def _known_metric(heads: Mapping[str, Any]) -> str:
    metric = str(heads.get("metric", "accuracy"))
    if metric not in METRICS:
        raise ValueError(f"'{metric}' is no metric")
    return metric


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value: Any = tensors[name]
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _damaged(path: Place, cause: str) -> ClsweepError:
    return StoreError(
        f"a saved network cannot be used: {cause}",
        where=str(path),
        next_step="put back a copy of the file; or `clsweep forget` its trial, and run the study "
        "again",
    )
