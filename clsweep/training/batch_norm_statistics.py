"""Batch norms with the statistics of a whole training set, summed over it in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clsweep.errors import MethodError, StudyError
from clsweep.nets.norms import EPSILON, STATISTIC_ENDINGS, statistic_names
from clsweep.nets.parameter_trees import Params

if TYPE_CHECKING:
    from clsweep.data.tasks import Scale, Trainable
    from clsweep.nets.net import Net
    from clsweep.training.config import TrainingConfig

_CHUNK_ROWS = 1024


def with_population(net: Net, params: Params, data: Trainable, scale: Scale) -> Params:
    """`params` with every running statistic of the network on a data set; unchanged without any.

    Mean and variance of what each batch norm sees, in one pass in training mode over equal
    interleaved parts of up to 1024 examples, whose moments are merged exactly; a layer normalises
    each part by its own statistics for the layers above, as in training.

    Args:
        net: the network.
        params: its parameters; running statistics of the network among them are replaced, others
            stay as they are.
        data: training examples.
        scale: from stored values to inputs.

    Raises:
        MethodError: a batch norm is not reached by the network's forward pass.
    """
    if not net.statistics:
        return params
    bare = {name: value for name, value in params.items() if name not in net.statistics}
    device = data.labels.device
    # The placeholders make every batch norm ask for its statistics; which one asks is told by the
    # identity of the tensor that it passes, and it is then answered with the batch's.
    holders = {name: torch.empty(0, device=device) for name in sorted(net.statistics)}
    names = {id(value): name for name, value in holders.items()}
    recorder = _Recorder(names, in_training=True)
    with torch.no_grad(), recorder:
        for index in _parts(len(data), device):
            net.features({**bare, **holders}, scale(data.raw(index)))
    found = dict(bare)
    for name, moments in recorder.moments.items():
        layer = name.removesuffix(STATISTIC_ENDINGS[0])
        mean_name, var_name = statistic_names(layer)
        found[mean_name] = moments.mean.float()
        found[var_name] = (moments.scatter / moments.size).float()
    unseen = sorted(net.statistics - found.keys())
    if unseen:
        raise MethodError(f"the network's forward pass does not use {unseen}")
    return found


def with_data_statistics(net: Net, params: Params, data: Trainable, scale: Scale) -> Params:
    """The same function in evaluation mode, with a data set's statistics in every batch norm.

    g' = g √((v'+ε)/(v+ε)),   b' = b + g (μ' − μ)/√(v+ε)   for the moments μ', v' of what it sees

    Args:
        net: the network.
        params: its parameters, with running statistics.
        data: training examples.
        scale: from stored values to inputs.
    """
    names = {id(params[name]): name for name in net.statistics}
    watcher = _Recorder(names, in_training=False)
    with torch.no_grad(), watcher:
        for index in _parts(len(data), data.labels.device):
            net.features(params, scale(data.raw(index)))
    found = dict(params)
    for name, moments in watcher.moments.items():
        layer = name.removesuffix(STATISTIC_ENDINGS[0])
        gain, bias = f"{layer}.weight", f"{layer}.bias"
        (mean, var), epsilon = statistic_names(layer), watcher.epsilons[name]
        found[mean], found[var] = moments.mean.float(), (moments.scatter / moments.size).float()
        slope = params[gain] * (params[var] + epsilon).rsqrt()
        found[gain] = slope * (found[var] + epsilon).sqrt()
        found[bias] = params[bias] + slope * (found[mean] - params[mean])
    return found


def check_batches(net: Net, n_examples: Sequence[int], training: TrainingConfig) -> None:
    """Refuse batches of one example where a batch norm sees one value per channel of it.

    Args:
        net: the network.
        n_examples: sizes of the training sets, task by task; one for all tasks together.
        training: batch size and number of steps.

    Raises:
        StudyError: there is such a batch.
    """
    size = training.batch_size
    first = 0 if len(n_examples) > 1 else 1  # all tasks in one are no first task
    alone = [
        n
        for task, n in enumerate(n_examples, first)
        if size == 1 or (n % size == 1 and training.n_steps(n, task) > n // size)
    ]
    if not alone or not net.statistics:
        return
    try:
        with torch.no_grad():
            net.features(net.init(torch.Generator()), torch.zeros(1, *net.input_shape))
    except ValueError as error:  # torch's, for a single value per channel
        raise StudyError(
            f"with {alone[0]} training examples and batch_size = {size} the last batch is one "
            "example, of which a batch norm sees a single value per channel",
            expected="a batch_size that leaves two examples or more for the last batch",
            where="[training] batch_size",
        ) from error


def _parts(n_examples: int, device: torch.device) -> Iterator[Tensor]:
    """Positions of all examples in interleaved parts of almost equal size."""
    n_parts = -(-n_examples // _CHUNK_ROWS)
    for first in range(n_parts):
        yield torch.arange(first, n_examples, n_parts, device=device)


class _Moments(NamedTuple):
    """Moments of a sample per channel: size, mean [C], Σ (x − mean)² [C], in float64."""

    size: int
    mean: Tensor
    scatter: Tensor

    def merged(self, other: _Moments) -> _Moments:
        """Moments of both samples together (Chan, Golub and LeVeque 1979)."""
        size = self.size + other.size
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.size / size)
        between = apart.square() * (self.size * other.size / size)
        return _Moments(size, mean, self.scatter + other.scatter + between)


def _moments_of(x: Tensor) -> _Moments:
    dims = [d for d in range(x.ndim) if d != 1]
    var, mean = torch.var_mean(x, dims, correction=0)
    size = x.numel() // x.shape[1]
    return _Moments(size, mean.double(), var.double() * size)


class _Recorder(TorchFunctionMode):
    """Notes the moments of what every batch norm sees; in training it is answered with them.

    Working at the level of torch's functions, it sees built-in nets and modules alike.
    """

    def __init__(self, names: dict[int, str], in_training: bool) -> None:
        super().__init__()
        self.names, self.in_training = names, in_training
        self.moments: dict[str, _Moments] = {}
        self.epsilons: dict[str, float] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        keys = ("input", "running_mean", "running_var", "weight", "bias", "training")
        given = dict(zip((*keys, "momentum", "eps"), args, strict=False)) | kwargs
        name = self.names.get(id(given["running_mean"]))
        if name is None:
            return func(*args, **kwargs)
        x = given["input"]
        here, before = _moments_of(x), self.moments.get(name)
        self.moments[name] = here if before is None else before.merged(here)
        self.epsilons[name] = given.get("eps", EPSILON)
        if not self.in_training:
            return func(*args, **kwargs)
        gain, bias = given.get("weight"), given.get("bias")
        return F.batch_norm(x, None, None, gain, bias, True, 0.0, self.epsilons[name])
