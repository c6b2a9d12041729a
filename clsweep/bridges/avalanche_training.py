"""Avalanche's training loop over our batches; the one module that imports Avalanche."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from avalanche.benchmarks.utils import _make_taskaware_classification_dataset
from avalanche.benchmarks.utils.data_loader import GroupBalancedInfiniteDataLoader
from avalanche.models import MultiTaskModule
from avalanche.training import plugins
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from clsweep.errors import MethodError

if TYPE_CHECKING:
    from clsweep.nets.net_module import NetModule
    from clsweep.training.imperative_learner import Batches, TrainingExamples

_Si = plugins.SynapticIntelligencePlugin
# What a plugin computes anew at every step, and needs to carry nowhere.
_OF_ONE_STEP = ("G", "reference_gradients")


class _OneHead(nn.Module):
    """The network for a strategy without task labels: one head, over the classes seen so far."""

    def __init__(self, net: NetModule) -> None:
        super().__init__()
        self.net, self.task = net, 0

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x, self.task)
        return found


class _HeadPerTask(MultiTaskModule):  # type: ignore[misc]
    """The network for a strategy with task labels."""

    def __init__(self, net: NetModule) -> None:
        super().__init__()
        self.net, self.task = net, 0

    def forward(self, x: Tensor, task_labels: Tensor | None) -> Tensor | dict[int, Tensor]:
        if task_labels is None:
            return {task: self.net(x, task) for task in range(self.task + 1)}
        tasks = torch.unique(task_labels).tolist()
        if len(tasks) == 1:
            found: Tensor = self.net(x, tasks[0])
            return found
        widest = max(self.net.layout.sizes)
        out = x.new_zeros(len(x), widest)
        for task in tasks:
            rows = (task_labels == task).nonzero().flatten()
            logits = self.net(x[rows], task)
            out[rows, : logits.shape[1]] = logits
        return out


class _Strategy(SupervisedTemplate):  # type: ignore[misc]
    """Avalanche's strategy, whose batches and optimiser are handed to it."""

    offered: Any = ()

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Take the batches that are offered."""
        self.dataloader = self.offered

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Leave both: the network has all its heads, the optimiser is the study's."""

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Take the task's examples."""
        self.adapted_dataset = self.experience.dataset

    def _before_training_exp(self, **kwargs: Any) -> None:
        super()._before_training_exp(**kwargs)
        if self.dataloader is self.offered:
            return
        replay = next((p for p in self.plugins if isinstance(p, plugins.ReplayPlugin)), None)
        if replay is None:
            raise MethodError("a plugin brought batches of its own in place of the study's")
        size = replay.batch_size_mem or self.train_mb_size
        self.dataloader = _with_stored(self.offered, replay.storage_policy.buffer, size)

    def _train_cleanup(self) -> None:
        super()._train_cleanup()
        self.offered = ()


@dataclass(frozen=True)
class _Experience:
    """What plugins ask of an experience."""

    dataset: Any
    task_labels: list[int]
    current_experience: int
    classes_in_this_experience: list[int]

    def logging(self) -> _Experience:
        """Itself, for what only looks on."""
        return self


class Training:
    """A strategy with one plugin, told of one task after the other."""

    def __init__(
        self,
        net: NetModule,
        plugin: str,
        numbers: dict[str, Any],
        device: torch.device,
        *,
        mended: bool = False,
    ) -> None:
        """Before the first task.

        Args:
            net: trained in place.
            plugin: name of its class.
            numbers: its arguments.
            device: where inputs arrive.
            mended: whether SI keeps copies of the weights.

        Raises:
            MethodError: SI would keep views of the weights, and so do nothing.
        """
        self._mended = mended
        if plugin == "SynapticIntelligencePlugin" and not mended and _keeps_views(device):
            raise MethodError(
                "SynapticIntelligencePlugin of this Avalanche keeps views of the weights on a "
                "processor: they move along, every path integral is zero, and the result is that "
                "of fine-tuning",
                where="[[methods]] plugin",
                next_step="write mended = true to keep copies, or run on a GPU",
            )
        has_tasks = net.layout.scenario == "task"
        if plugin == "SynapticIntelligencePlugin" and has_tasks:
            # It asks every parameter for a gradient, and heads of other tasks have none.
            numbers = {**numbers, "excluded_parameters": ["*heads.*"]}
        self._plugin = getattr(plugins, plugin)(**numbers)
        self._model = _HeadPerTask(net) if has_tasks else _OneHead(net)
        self._has_tasks, self._device = has_tasks, device
        with warnings.catch_warnings():  # that nothing is logged is meant
            warnings.filterwarnings("ignore", message="No loggers specified")
            evaluator = EvaluationPlugin()
        self._strategy = _Strategy(
            model=self._model,
            # For what asks for zeroed gradients before there was any training.
            optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
            criterion=nn.CrossEntropyLoss(),
            train_epochs=1,  # all epochs of ours arrive as one
            device=device,
            plugins=[self._plugin],
            evaluator=evaluator,
        )

    def train(self, task: int, examples: TrainingExamples, batches: Batches | None) -> None:
        """Run Avalanche's `train` on a task.

        Args:
            task: its index.
            examples: its training examples, for what plugins compute of them.
            batches: what is trained on; None to train on nothing.
        """
        strategy, self._model.task = self._strategy, task
        strategy.train_mb_size = examples.training.batch_size  # of importances, too
        smoothing = examples.training.label_smoothing
        strategy._criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        label = task if self._has_tasks else 0
        if batches is not None:
            strategy.optimizer = batches.optimiser(self._model.net.parameters())
            strategy.offered = _Labelled(batches, label)
        x = examples.inputs(torch.arange(len(examples), device=self._device))
        dataset = _dataset(x, examples.labels, label)
        classes = examples.labels.unique().tolist()
        with _copies_kept() if self._mended else contextlib.nullcontext():
            strategy.train(_Experience(dataset, [label], task, classes), eval_streams=[])
        self._let_go()

    def _let_go(self) -> None:
        """Keep of past tasks what the plugin has chosen, not the data sets that it lies in."""
        for name in _OF_ONE_STEP:
            if hasattr(self._plugin, name):
                setattr(self._plugin, name, torch.empty(0))
        if isinstance(self._plugin, plugins.ReplayPlugin):
            for group in self._plugin.storage_policy.buffer_groups.values():
                group.buffer = _copied(group.buffer)
        if isinstance(self._plugin, plugins.AGEMPlugin):
            kept = [_copied(one) for one in self._plugin.buffers]
            self._plugin.buffers = kept
            size = self._plugin.sample_size // len(kept)
            loader = GroupBalancedInfiniteDataLoader(kept, batch_size=size)
            self._plugin.buffer_dataloader = loader
            self._plugin.buffer_dliter = iter(loader)


def _keeps_views(device: torch.device) -> bool:
    """Whether the weights that SI notes move along with the network."""
    layer = nn.Linear(1, 1).to(device)
    noted = {name: SimpleNamespace(data=None) for name, _ in layer.named_parameters()}
    _Si.extract_weights(layer, noted, set())
    before = {name: one.data.clone() for name, one in noted.items()}
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(1)
    return any(not torch.equal(one.data, before[name]) for name, one in noted.items())


@contextlib.contextmanager
def _copies_kept() -> Iterator[None]:
    """Within the block, the weights that SI notes are copies."""
    theirs = _Si.extract_weights

    def extract(model: nn.Module, target: dict[str, Any], excluded: set[str]) -> None:
        theirs(model, target, excluded)
        for one in target.values():
            one.data = one.data.clone()

    _Si.extract_weights = staticmethod(extract)
    try:
        yield
    finally:
        _Si.extract_weights = staticmethod(theirs)


class _Labelled:
    """Our batches as Avalanche's: [inputs, labels, task labels]."""

    def __init__(self, batches: Batches, label: int) -> None:
        self._batches, self._label = batches, label

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in self._batches:
            if batch.weights is not None:
                raise MethodError(
                    "Avalanche's loop knows no weights of examples",
                    expected="class_balance = 'none', or one that draws them",
                    where="[training] class_balance",
                )
            yield [batch.x, batch.y, torch.full_like(batch.y, self._label)]


def _with_stored(offered: _Labelled, buffer: Any, size: int) -> Iterator[list[Tensor]]:
    """Every batch with one of stored examples behind it, in shuffled passes over the buffer."""
    size = min(size, len(buffer))
    loader = DataLoader(buffer, batch_size=size, shuffle=True, drop_last=True)
    stored = iter(loader)
    for x, y, tasks in offered:
        found = next(stored, None)
        if found is None:
            stored = iter(loader)
            found = next(stored)
        old = [part.to(x.device) for part in (found[0], found[1], found[-1])]
        pairs = zip((x, y, tasks), old, strict=True)
        yield [torch.cat(pair) for pair in pairs]


def _dataset(x: Tensor, y: Tensor, label: int | list[int]) -> Any:
    return _make_taskaware_classification_dataset(
        TensorDataset(x, y), task_labels=label, targets=y.tolist()
    )


def _copied(dataset: Any) -> Any:
    """A data set of its own rows alone."""
    rows = [dataset[index] for index in range(len(dataset))]
    x = torch.stack([row[0] for row in rows])
    y = torch.stack([torch.as_tensor(row[1]) for row in rows])
    return _dataset(x, y, [int(row[-1]) for row in rows])
