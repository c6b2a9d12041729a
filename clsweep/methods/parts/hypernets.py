"""A hypernetwork as pure functions: it generates the parameters of another network.

    Θ_t = f_h(e_t; Θ_h),   e_t a learned embedding of task t
    f_h(e, ·) in chunks: the flattened Θ is cut into pieces of one size, and one small perceptron
    maps (e_t, c_i) to piece i, c_i learned embeddings of the chunks that all tasks share
    penalty (1/K) Σ_{k<K} ‖f_h(e_k; Θ_h*) − f_h(e_k; Θ_h)‖²₂ over the K tasks learnt so far, with
    the squares of all generated numbers summed; or the mean over a few of them, which every step
    draws anew without replacement, so that its expectation is the same
    for task k it may leave out what generates the outputs of other tasks than k

von Oswald, Henning, Sacramento and Grewe 2020, "Continual learning with hypernetworks", ICLR. The
last piece is cut to length. Weights are Xavier-uniform and biases zero; embeddings are N(0, σ²): a
rule 'vectors start at zero' would make all tasks one. σ = 1 in all of the published runs, one for
tasks and one for chunks. Θ_h contains the chunks' embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.methods.parts.vae import layer_shapes, xavier_layers
from clsweep.nets.parameter_trees import Params

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "elu": F.elu,
    "sigmoid": torch.sigmoid,
    "linear": lambda h: h,
}
_KEYS = "penalty_keys"


def embedding_name(task: int) -> str:
    """Name of the embedding of a task among the parameters."""
    return f"embeddings.{task}"


def trained_on(params: Params, task: int) -> Params:
    """What is trained on a task: all but the other tasks' embeddings, which are frozen.

    Args:
        params: a hypernetwork's.
        task: the task being learnt.
    """
    own = embedding_name(task)
    return {n: v for n, v in params.items() if n == own or not n.startswith("embeddings.")}


def looked_ahead(grads: Params, ahead: Params, penalty: Callable[[Params], Tensor]) -> Params:
    """`grads` plus the gradient of a penalty where a step along `grads` would lead.

    Args:
        grads: gradient of the loss without the penalty, by parameter name.
        ahead: every parameter after that step; nothing is differentiated through the step.
        penalty: of every parameter, shape ().
    """
    with torch.enable_grad():
        leaves = {n: ahead[n].detach().requires_grad_() for n in grads}
        value = penalty({**ahead, **leaves})
        pull = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    pulls = dict(zip(grads, pull, strict=True))
    return {n: g if (p := pulls[n]) is None else g + p for n, g in grads.items()}


class Hypernet(NamedTuple):
    """The shape of a hypernetwork; its parameters are handed in.

    Attributes:
        shapes: of the parameters that it generates, by name.
        n_tasks: how many embeddings it has.
        hidden: units of the hidden layers; empty for a linear map of the embeddings.
        activation: 'relu', 'elu', 'sigmoid' or 'linear'.
        task_size: dimensions of a task's embedding.
        chunk_size: dimensions of a chunk's embedding.
        piece: parameters generated at once.
        n_penalised: past tasks in the penalty of a step, at most; 0 for all.
        task_std: σ of the tasks' embeddings.
        chunk_std: σ of the chunks' embeddings.
        owners: runs of generated parameters as (numbers, task whose outputs alone they make, or
            −1), where the penalty for a task leaves out those of other tasks; empty for none.
    """

    shapes: dict[str, tuple[int, ...]]
    n_tasks: int
    hidden: tuple[int, ...]
    activation: str
    task_size: int
    chunk_size: int
    piece: int
    n_penalised: int = 0
    task_std: float = 1.0
    chunk_std: float = 1.0
    owners: tuple[tuple[int, int], ...] = ()

    @property
    def n_generated(self) -> int:
        """Number of parameters that it generates."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def n_chunks(self) -> int:
        """Number of pieces."""
        return -(-self.n_generated // self.piece)

    def init(self, rng: torch.Generator) -> Params:
        """Parameters Θ_h, among them 'chunks' [n_chunks, chunk_size], and all e_t.

        Args:
            rng: draws them.
        """
        widths = (self.task_size + self.chunk_size, *self.hidden, self.piece)
        params = xavier_layers(layer_shapes(widths), rng)
        chunks = torch.randn(self.n_chunks, self.chunk_size, generator=rng)
        params["chunks"] = self.chunk_std * chunks
        for task in range(self.n_tasks):
            embedding = torch.randn(self.task_size, generator=rng)
            params[embedding_name(task)] = self.task_std * embedding
        return params

    def flat(self, params: Params, tasks: range) -> Tensor:
        """Generated parameters of several tasks, [tasks, n_generated].

        Args:
            params: the hypernetwork's.
            tasks: which; at least one.
        """
        return self.flat_of(params, torch.stack([params[embedding_name(task)] for task in tasks]))

    def flat_of(self, params: Params, embeddings: Tensor) -> Tensor:
        """Generated parameters of any embeddings, [N, n_generated].

        Args:
            params: the hypernetwork's.
            embeddings: [N, task_size].
        """
        chunks = params["chunks"]
        size = (len(embeddings), len(chunks), -1)
        h = torch.cat([embeddings[:, None].expand(size), chunks[None].expand(size)], 2)
        act, n_hidden = _ACTIVATIONS[self.activation], len(self.hidden)
        for index in range(n_hidden + 1):
            h = F.linear(h, params[f"{index}.weight"], params[f"{index}.bias"])
            h = act(h) if index < n_hidden else h
        return h.flatten(1)[:, : self.n_generated]

    def generated(self, params: Params, task: int) -> Params:
        """Generated parameters of one task, by name.

        Args:
            params: the hypernetwork's.
            task: which.
        """
        return self.shaped(self.flat(params, range(task, task + 1))[0])

    def shaped(self, flat: Tensor) -> Params:
        """A row of `flat` cut into the parameters of the generated network.

        Args:
            flat: [n_generated].
        """
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def penalty(
        self, params: Params, stored: Tensor, n_past: int, draw: Mapping[str, Tensor]
    ) -> Tensor:
        """The penalty above, shape (); 0 without a past task.

        Args:
            params: the hypernetwork's.
            stored: f_h(e_k; Θ_h*) in row k, [at least n_past, n_generated].
            n_past: K, tasks learnt so far.
            draw: holds a step's row of `penalty_keys`.
        """
        if n_past == 0:
            return stored.new_zeros(())
        if not 0 < self.n_penalised < n_past:
            moved = self.flat(params, range(n_past)) - stored[:n_past]
            tasks = torch.arange(n_past, device=stored.device)
            return self._own(moved.square(), tasks).sum() / n_past
        chosen = draw[_KEYS][:n_past].topk(self.n_penalised).indices
        embeddings = torch.stack([params[embedding_name(k)] for k in range(n_past)])
        moved = self.flat_of(params, embeddings[chosen]) - stored[chosen]
        return self._own(moved.square(), chosen).sum() / self.n_penalised

    def _own(self, squares: Tensor, tasks: Tensor) -> Tensor:
        """`squares` [N, n_generated], 0 where a number makes outputs of other `tasks` [N]."""
        if not self.owners:
            return squares
        runs = [tasks.new_full((n,), owner) for n, owner in self.owners]
        owner = torch.cat(runs)
        return squares * ((owner < 0) | (owner == tasks[:, None]))

    def penalty_keys(self, rng: torch.Generator, n_steps: int) -> dict[str, Tensor]:
        """Draws of a phase with the penalty: a number per step and task, the largest are chosen.

        Args:
            rng: draws them; not used if every step penalises all past tasks.
            n_steps: steps of the epoch.
        """
        if not self.n_penalised:
            return {}
        return {_KEYS: torch.rand(n_steps, self.n_tasks, generator=rng)}

    def snapshot(self, params: Params, stored: Tensor, n_past: int) -> Tensor:
        """`stored` with the rows of the first `n_past` tasks set anew, a new tensor.

        Args:
            params: the hypernetwork's, after a task.
            stored: [n_tasks, n_generated].
            n_past: tasks learnt so far, at least 1.
        """
        with torch.no_grad():
            return torch.cat([self.flat(params, range(n_past)), stored[n_past:]])
