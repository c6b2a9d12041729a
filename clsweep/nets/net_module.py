"""A network as an `nn.Module`, for training code that is written for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params

if TYPE_CHECKING:
    from clsweep.data.heads import Heads
    from clsweep.nets.net import Net


class NetModule(nn.Module):
    """The study's network, with its parameters under the names that methods know them by.

    In training mode its batch norms normalise by the batch, in evaluation mode by the running
    statistics; no pass changes those. They are set from a task's training data when the task has
    been learnt, as for every method.

    Attributes:
        holds_statistics: whether the running statistics are used in training mode too.
    """

    def __init__(self, net: Net, params: Params, *, holds_statistics: bool = False) -> None:
        """A module with parameters of its own.

        Args:
            net: the functions.
            params: copied; running statistics among them become buffers.
            holds_statistics: whether training uses them, where there are any.
        """
        super().__init__()
        self._net = net
        self._places: list[tuple[str, dict[str, Tensor | None], str]] = []
        self.holds_statistics = holds_statistics
        for name, value in params.items():
            self._put(name, value.detach().clone())

    @property
    def layout(self) -> Heads:
        """Which outputs belong to which task."""
        return self._net.heads

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of an input, (C, H, W) for images."""
        return self._net.input_shape

    def n_outputs(self, task: int) -> int:
        """Classes among which the examples of a task are told apart once it is learnt.

        Args:
            task: its index.
        """
        start, stop = self.layout.columns(task)
        return stop - start

    def forward(self, x: Tensor, task: int) -> Tensor:
        """Logits of the head of a task, [B, classes].

        Args:
            x: inputs, float32 [B, C, H, W].
            task: whose head; with one head over all classes seen, the newest task.
        """
        return self.logits_of(self.features_of(x), task)

    def features_of(self, x: Tensor) -> Tensor:
        """Everything below the heads, [B, ...].

        Args:
            x: inputs, float32 [B, C, H, W].
        """
        return self._net.features(self._used(), x)

    def logits_of(self, h: Tensor, task: int) -> Tensor:
        """Logits of the head of a task, [B, classes].

        Args:
            h: what `features_of` returns.
            task: whose head.
        """
        return self._net.head(self._used(), h, task)

    def params(self) -> Params:
        """All parameters and running statistics by name, detached; not copied."""
        return {name: value.detach() for name, value in self._live().items()}

    def set_statistics(self, params: Params) -> None:
        """Put new running statistics in place of the old ones.

        Args:
            params: of this network; what is no running statistic is left out.
        """
        live = self._live()
        for name, value in params.items():
            if not is_statistic(name):
                continue
            if name in live:
                live[name].copy_(value)
            else:
                self._put(name, value.detach().clone())

    def _used(self) -> Params:
        """What a pass uses in this mode."""
        live = self._live()
        if not self.training or self.holds_statistics or not self._net.statistics:
            return live
        return {name: value for name, value in live.items() if not is_statistic(name)}

    def _live(self) -> Params:
        """What the module holds now, looked up anew: others may replace a parameter."""
        found: Params = {}
        for name, held, key in self._places:
            value = held[key]
            assert value is not None
            found[name] = value
        return found

    def _put(self, name: str, value: Tensor) -> None:
        *path, key = name.split(".")
        node: nn.Module = self
        for part in path:
            # Not by `add_module`, which refuses the names of this class's own methods.
            below = node._modules.setdefault(part, nn.Module())
            assert below is not None
            node = below
        if is_statistic(name):
            node.register_buffer(key, value)
            self._places.append((name, node._buffers, key))
        else:
            node.register_parameter(key, nn.Parameter(value))
            self._places.append((name, node._parameters, key))  # type: ignore[arg-type]
