"""Features of a data set under a frozen backbone, computed once and kept as arrays.

    DIR/train_x.npy, train_y.npy, test_x.npy, ...   float32 [n, D] and int64 [n]; a data set
                                                    `arrays:DIR` of studies
    DIR/features.json                               what they were computed from, written last

While they are computed, arrays have names that no study reads, and a file says how many rows are
done: what was killed goes on from there. `features.json` names data, weights and code by what they
hold, so that nothing is computed twice, and nothing else is ever written over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import Framing
from clsweep.data.datasets import Dataset, load
from clsweep.data.fingerprints import combined, file_hash
from clsweep.errors import StoreError, StudyError
from clsweep.nets.backbones import Preprocessing, backbone, features_of
from clsweep.nets.code_files import code_files
from clsweep.storage.disk import disk_errors, write_atomically
from clsweep.study.input_fingerprints import data_inputs
from clsweep.user_code import is_import_path
from clsweep.versions import versions

# Raised when the same inputs give other features.
_VERSION = 1
_DONE, _UNDER_WAY, _LOCK = "features.json", ".features-under-way.json", ".features.lock"
_UNFINISHED = ".unfinished"
_NOTED_SECONDS = 5.0

Told = Callable[[int, int, float], None]  # (images done, images in all, seconds left)


@dataclass(frozen=True)
class FeatureRequest:
    """What is to be computed.

    Attributes:
        dataset: a name of a data set, folder:PATH or arrays:PATH; images.
        backbone: a model of torchvision, or 'package.module:factory'.
        weights: file with its weights; None to draw them.
        seed: of the weights that are drawn.
        resize: see `Preprocessing`; images of a folder are brought to this size when they are
            read.
        crop: see `Preprocessing`.
        pixels: see `Preprocessing`.
    """

    dataset: str
    backbone: str = "resnet18"
    weights: Path | None = None
    seed: int = 0
    resize: int = 0
    crop: int = 0
    pixels: str = "imagenet"


class FeatureArrays(NamedTuple):
    """What lies in a folder of features.

    Attributes:
        folder: the folder.
        n_examples: by part: 'train', 'val', 'test'.
        width: D.
        n_computed: images that this call computed; 0 where all was there.
    """

    folder: Path
    n_examples: dict[str, int]
    width: int
    n_computed: int


def compute_features(
    request: FeatureRequest,
    out: Path,
    root: Path | None,
    *,
    batch_size: int = 128,
    device: str = "cpu",
    told: Told | None = None,
) -> FeatureArrays:
    """Compute what is missing of the features of a data set.

    Args:
        request: what is to be computed.
        out: the folder; made when missing.
        root: the data root, see `dataset_lookup.dataset_spec`.
        batch_size: images at once; changes no feature but by rounding.
        device: 'cpu' or 'cuda'; changes no feature but by rounding.
        told: is told how far it is, from time to time.

    Raises:
        StudyError: there is no such data set or backbone, or one does not fit the other.
        StoreError: the folder holds something else, or cannot be written.
    """
    inputs = _inputs(request, root)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        stored = _json(out / _DONE)
        if stored is not None:
            _check_same(stored.get("inputs"), inputs, out, "features")
            return _stored_arrays(out, stored)
        dataset = load(request.dataset, root, _framing(request))
        if not inputs["data"]:  # a published data set that had to be downloaded first
            inputs = _inputs(request, root)
        return _Computation(request, inputs, dataset, out).run(batch_size, device, told)


class _Computation:
    """Features on their way into a folder."""

    def __init__(
        self, request: FeatureRequest, inputs: dict[str, Any], dataset: Dataset, out: Path
    ) -> None:
        shape = tuple(dataset.images.shape[1:])
        if len(shape) != 3:
            raise StudyError(
                f"'{request.dataset}' holds vectors of {shape[0]} numbers"
                if len(shape) == 1
                else f"'{request.dataset}' holds inputs of shape {shape}",
                expected="images (C, H, W)",
                where="DATASET",
                next_step="features are vectors already: a study reads them as they are",
            )
        self.request, self.inputs, self.dataset, self.out = request, inputs, dataset, out
        self.preprocessing = _preprocessing(request)
        first = self._prepared(0, 1)
        self.module = backbone(
            request.backbone, request.weights, request.seed, tuple(first.shape[1:])
        )
        self.width = features_of(self.module, request.backbone, first).shape[1]
        bounds = (0, dataset.n_train, dataset.n_before_test, len(dataset.labels))
        ranges = zip(("train", "val", "test"), zip(bounds, bounds[1:], strict=False), strict=True)
        self.parts = {part: rows for part, rows in ranges if rows[0] < rows[1]}

    def run(self, batch_size: int, device: str, told: Told | None) -> FeatureArrays:
        """Compute the rows that are missing, and give the arrays their names."""
        n_images, began_at = len(self.dataset.labels), self._n_done()
        n_done, began = began_at, time.monotonic()
        noted, module = began, self.module.to(device)
        for part, (start, stop) in self.parts.items():
            if n_done >= stop:
                continue
            array = self._array(part, stop - start)
            for first in range(max(start, n_done), stop, batch_size):
                last = min(first + batch_size, stop)
                x = self._prepared(first, last).to(device)
                found = features_of(module, self.request.backbone, x)
                array[first - start : last - start] = found.cpu().numpy()
                n_done = last
                if last == stop or time.monotonic() - noted > _NOTED_SECONDS:
                    self._note(array, n_done)
                    noted = time.monotonic()
                    if told is not None:
                        rate = (n_done - began_at) / max(noted - began, 1e-9)
                        told(n_done, n_images, (n_images - n_done) / rate)
        self._finish()
        return _stored_arrays(self.out, _json(self.out / _DONE) or {}, n_done - began_at)

    def _prepared(self, first: int, last: int) -> torch.Tensor:
        raw = self.dataset.images.index_select(0, torch.arange(first, last))
        return self.preprocessing(raw)

    def _n_done(self) -> int:
        """Rows that an earlier call has computed; what else lies in the folder is refused."""
        under_way = _json(self.out / _UNDER_WAY)
        if under_way is None:
            names = sorted(p.name for p in self.out.iterdir() if p.name != _LOCK)
            if names:
                raise StoreError(
                    f"the folder holds other files: {', '.join(names[:3])}",
                    expected="an empty folder, a new one, or one with features of the same inputs",
                    where=str(self.out),
                    next_step="choose another folder with --out",
                )
            self._write(_UNDER_WAY, {"inputs": self.inputs, "n_done": 0})
            return 0
        _check_same(under_way.get("inputs"), self.inputs, self.out, "unfinished features")
        return int(under_way["n_done"])

    def _array(self, part: str, n_rows: int) -> np.memmap[Any, Any]:
        path, shape = self._unfinished(part), (n_rows, self.width)
        with disk_errors(path):
            found: np.memmap[Any, Any] = (
                np.lib.format.open_memmap(path, mode="r+")
                if path.exists()
                else np.lib.format.open_memmap(path, "w+", np.float32, shape)
            )
        if found.shape != shape:
            raise _unreadable(path)
        return found

    def _unfinished(self, part: str) -> Path:
        return self.out / f"{part}_x.npy{_UNFINISHED}"

    def _note(self, array: np.memmap[Any, Any], n_done: int) -> None:
        """Remember how far it is, after the rows themselves are on the disk."""
        with disk_errors(self.out):
            array.flush()
        self._write(_UNDER_WAY, {"inputs": self.inputs, "n_done": n_done})

    def _finish(self) -> None:
        labels = self.dataset.labels.numpy()
        for part, (start, stop) in self.parts.items():
            with disk_errors(self.out):
                np.save(self.out / f"{part}_y.npy", labels[start:stop])
                if self._unfinished(part).exists():
                    self._unfinished(part).replace(self.out / f"{part}_x.npy")
        facts = {
            "inputs": self.inputs,
            "parts": {part: stop - start for part, (start, stop) in self.parts.items()},
            "width": self.width,
            "preprocessing": self.preprocessing._asdict(),
            "versions": versions(),
        }
        self._write(_DONE, facts)
        with disk_errors(self.out):
            (self.out / _UNDER_WAY).unlink()

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_atomically(self.out / name, json.dumps(content, indent=2).encode())


def _framing(request: FeatureRequest) -> Framing:
    """How images of a folder come to one size; others do so in batches."""
    if not request.dataset.startswith("folder:"):
        return Framing()
    return Framing(request.resize, request.crop)


def _preprocessing(request: FeatureRequest) -> Preprocessing:
    is_folder = request.dataset.startswith("folder:")
    in_colour = request.pixels == "imagenet" or not is_import_path(request.backbone)
    return Preprocessing(
        0 if is_folder else request.resize,
        0 if is_folder else request.crop,
        request.pixels,
        3 if in_colour else 0,
    )


def _inputs(request: FeatureRequest, root: Path | None) -> dict[str, Any]:
    """Everything that features depend on, by what it holds and not by where it lies."""
    if not request.dataset.startswith(("folder:", "arrays:")):
        dataset_spec(request.dataset, root)  # refuses a name that is none
    benchmark = SplitBenchmark.model_validate({"name": "split", "dataset": request.dataset})
    (data,) = data_inputs(benchmark, root)
    asked = {k: v for k, v in asdict(request).items() if k not in ("dataset", "weights", "seed")}
    weights = request.weights
    return {
        "dataset": request.dataset.partition(":")[0],
        "data": data.fingerprint,
        **asked,
        "weights": file_hash(_weights_file(weights))[:24] if weights else f"seed {request.seed}",
        "code": _code_fingerprint(request.backbone) if is_import_path(request.backbone) else "",
        "version": _VERSION,
    }


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    raise StudyError(
        f"there is no file '{path}' with weights, and none is downloaded",
        expected="a file with the backbone's state dict (.pth, .pt or .safetensors)",
        where="--weights",
        next_step="where there is a network: import torch, torchvision; torch.save("
        "torchvision.models.get_model('resnet18', weights='DEFAULT').state_dict(), "
        "'resnet18.pth')",
    )


def _code_fingerprint(factory: str) -> str:
    files = code_files(factory.partition(":")[0])
    if not files:
        raise StudyError(
            f"the source file of '{factory}' is not found, so that nothing would tell when it "
            "changes",
            expected="a module with a file of its own, installed or in the current folder",
            where="--backbone",
        )
    return combined({file.module: file.meaning for file in files})


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path) from error
    if not isinstance(found, dict):
        raise _unreadable(path)
    return found


def _unreadable(path: Path) -> StoreError:
    return StoreError(
        f"'{path.name}' cannot be read",
        expected="what `clsweep features` has written",
        where=str(path),
        next_step="choose another folder with --out, or remove this one",
    )


def _check_same(stored: Any, inputs: dict[str, Any], out: Path, what: str) -> None:
    if stored == inputs:
        return
    stored = stored if isinstance(stored, dict) else {}
    other = sorted(key for key in {*stored, *inputs} if stored.get(key) != inputs.get(key))
    texts = (f"{key} (there {stored.get(key)!r}, here {inputs.get(key)!r})" for key in other)
    raise StoreError(
        f"the folder holds {what} of other inputs; they differ in {', '.join(texts)}",
        expected="features of the same inputs, or a new folder",
        where=str(out),
        next_step="choose another folder with --out, or remove this one",
    )


def _stored_arrays(out: Path, facts: dict[str, Any], n_computed: int = 0) -> FeatureArrays:
    """The arrays that `features.json` tells of, if they are there."""
    try:
        parts, width = dict(facts["parts"]), int(facts["width"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(out / _DONE) from error
    for part, n in parts.items():
        path = out / f"{part}_x.npy"
        try:
            shape = np.lib.format.open_memmap(path, mode="r").shape
        except (OSError, ValueError) as error:
            raise _unreadable(path) from error
        if shape != (n, width) or not (out / f"{part}_y.npy").is_file():
            raise _unreadable(path)
    return FeatureArrays(out, parts, width, n_computed)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Be the only one who computes into a folder."""
    with disk_errors(out):
        lock = (out / _LOCK).open("w", encoding="utf-8")
    with lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise StoreError(
                "another process computes features into the folder",
                where=str(out),
                next_step="wait until it has ended, and give the command again",
            ) from error
        yield
