"""Optimisers as a study names them, what is kept of their state, and clipping of gradients."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clsweep.errors import StudyError, closest_name
from clsweep.nets.code_files import check_unedited
from clsweep.nets.parameter_trees import Params
from clsweep.training.eager_optimisers import eager
from clsweep.training.optimiser_names import OPTIMISERS
from clsweep.user_code import UserCode, user_code

if TYPE_CHECKING:
    from clsweep.training.config import TrainingConfig

OptimiserState = dict[str, Tensor]  # "<parameter>/<entry>" -> tensor

_WHERE = "[training] optimizer"
_NAMES = {bool: ":bool", int: ":int", float: ":float"}  # behind the name of an entry
_KINDS: dict[str, type] = {"bool": bool, "int": int, "float": float}


def made_optimiser(training: TrainingConfig, leaves: list[Tensor]) -> torch.optim.Optimizer:
    """The optimiser of a study; torch's in the fused form (one kernel for all) where it has one.

    Args:
        training: names it, with learning rate, decay and its own numbers.
        leaves: what it is to step.

    Raises:
        StudyError: it is the user's own and cannot be made, or this torch does not have it.
    """
    known = OPTIMISERS.get(training.optimizer)
    if known is None:
        return _users(training, leaves)
    kind = getattr(torch.optim, known.kind, None)
    if kind is None:
        raise StudyError(
            f"torch {torch.__version__} has no optimiser '{known.kind}'",
            expected="a newer torch, or another optimizer",
            where=_WHERE,
        )
    made_of: Callable[..., torch.optim.Optimizer] = eager(kind)
    options = {"lr": training.lr, **known.options(training.model_dump())}
    if known.takes_decay:
        options["weight_decay"] = training.weight_decay
    if training.optimizer == "sgd" and training.momentum and training.dampening:
        # The first buffer is the whole gradient, which zeros to begin with would not give.
        return made_of(leaves, **options)
    if training.optimizer == "sgd":
        made = made_of(leaves, **_with_nesterov_checked(options), fused=True)
        if training.momentum:
            # Torch sets the buffer at a parameter's first gradient to that gradient, which zero
            # times the momentum, plus the gradient, is as well; its fused form fails where only
            # some parameters have a buffer, as with the new head of a task.
            for leaf in leaves:
                made.state[leaf]["momentum_buffer"] = torch.zeros_like(leaf, requires_grad=False)
        return made
    # Torch has no fused Adagrad on CUDA.
    on_cpu = not (leaves and leaves[0].is_cuda)
    if training.optimizer in ("adam", "adamw") or (training.optimizer == "adagrad" and on_cpu):
        options["fused"] = True
    return made_of(leaves, **options)


def _with_nesterov_checked(options: dict[str, Any]) -> dict[str, Any]:
    """Without what acts with a momentum alone, which torch refuses."""
    return options if options["momentum"] else {**options, "nesterov": False, "dampening": 0.0}


def _users(training: TrainingConfig, leaves: list[Tensor]) -> torch.optim.Optimizer:
    """An optimiser of the user's own."""
    code = user_code(
        training.optimizer,
        where=_WHERE,
        expected="Optimizer(params, lr=..., **options), as torch's optimisers are",
    )
    given = json.loads(training.options) if training.options else {}
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    made = code.called(leaves, **_accepted(code, training, options))
    for attribute in ("step", "param_groups", "state"):
        if not hasattr(made, attribute):
            raise code.mistake(
                f"'{code.name}' made a {type(made).__name__}, which has no '{attribute}'"
            )
    if any("lr" not in group for group in made.param_groups):
        raise code.mistake(f"'{code.name}' has no learning rate 'lr' in its param_groups")
    optimiser: torch.optim.Optimizer = made
    return optimiser


def _accepted(code: UserCode, training: TrainingConfig, options: dict[str, Any]) -> dict[str, Any]:
    """What an optimiser of the user's is called with, checked against its signature."""
    try:
        parameters = inspect.signature(code.found).parameters
    except (TypeError, ValueError) as error:
        raise code.mistake(f"'{code.name}' has no signature that can be read", error) from error
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    names = [name for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD][1:]
    for key in options:
        if key in ("lr", "weight_decay"):
            raise code.mistake(
                f"options holds '{key}', which is a key of [training] beside optimizer"
            )
        if key not in names and not takes_all:
            raise code.mistake(f"'{code.name}' takes no '{key}': {closest_name(key, names)}")
    if "lr" not in names and not takes_all:
        raise code.mistake(f"'{code.name}' takes no learning rate 'lr'")
    found = {"lr": training.lr, **options}
    if "weight_decay" in names:
        found["weight_decay"] = training.weight_decay
    elif training.weight_decay:
        raise code.mistake(
            f"'{code.name}' takes no 'weight_decay', and weight_decay = {training.weight_decay}"
        )
    return found


def check_optimiser(training: TrainingConfig) -> None:
    """Make the optimiser of a study and have it make a step, before any work is handed out.

    Args:
        training: names it.

    Raises:
        StudyError: it cannot be made, raises, or was edited after its import.
    """
    leaf = torch.ones(2, requires_grad=True)
    made = made_optimiser(training, [leaf])
    leaf.grad = torch.ones(2)
    if training.optimizer in OPTIMISERS:
        made.step()
        return
    check_unedited(training.optimizer, _WHERE)
    groups = GroupsAsMade(made, training.optimizer)
    step = user_code(training.optimizer, where=_WHERE, expected="step() without arguments")
    step._replace(found=made.step).called()
    if not training.reset:
        groups.check()


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Have the next step made with a learning rate.

    Args:
        optimiser: whose.
        rate: η.
    """
    for group in optimiser.param_groups:
        group["lr"] = rate


class Snapshot:
    """All that a step of an optimiser changes beside the parameters, to be put back."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        """Copy state and groups.

        Args:
            optimiser: as it is now.
        """
        self.optimiser = optimiser
        self.state = {key: _copied(entries) for key, entries in optimiser.state.items()}
        self.groups = [
            {key: _copied(value) for key, value in group.items() if key != "params"}
            for group in optimiser.param_groups
        ]

    def put_back(self) -> None:
        """Undo what steps have changed since."""
        self.optimiser.state.clear()
        self.optimiser.state.update(self.state)
        for group, before in zip(self.optimiser.param_groups, self.groups, strict=True):
            group.update(before)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return copy.deepcopy(value)


class GroupsAsMade:
    """What the groups of an optimiser of the user's own held when it was made.

    Its state goes from task to task by parameter. A number of a group, such as a count of steps,
    would be lost with the optimiser; carried, it would be wrong for the parameters that a later
    task adds, whose state is new.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, origin: str) -> None:
        """Keep the values, all but the parameters and the learning rate of the schedule.

        Args:
            optimiser: before its first step.
            origin: its name in the study file; torch's own keep nothing in their groups.
        """
        self.optimiser, self.origin = optimiser, origin
        groups = [] if origin in OPTIMISERS else optimiser.param_groups
        self.values = [_of_group(group, _held) for group in groups]

    def check(self) -> None:
        """That steps have changed nothing.

        Raises:
            StudyError: they have.
        """
        for group, held in zip(self.optimiser.param_groups, self.values, strict=False):
            now = _of_group(group, lambda value: value)
            changed = [key for key in now if key not in held or not _is_as(now[key], held[key])]
            if changed:
                raise StudyError(
                    f"'{self.origin}' keeps '{changed[0]}' in param_groups, and steps change it: "
                    "it cannot be carried from task to task",
                    expected="what steps change in state[parameter], for each parameter",
                    where="[training] reset",
                    next_step="reset = true starts every task with a fresh state",
                )


def _of_group(group: dict[str, Any], read: Callable[[Any], Any]) -> dict[str, Any]:
    """What a group holds; `initial_lr` is a note of torch's schedules."""
    outer = ("params", "lr", "initial_lr")
    return {key: read(value) for key, value in group.items() if key not in outer}


def _held(value: Any) -> Any:
    """A copy of what can be compared later, and anything else itself."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _held(item) for key, item in value.items()}
    return [_held(item) for item in value] if isinstance(value, list | tuple) else value


def _is_as(value: Any, held: Any) -> bool:
    """Whether a value is as `_held` has found it."""
    if isinstance(held, Tensor):
        same_kind = isinstance(value, Tensor) and value.device == held.device
        return same_kind and torch.equal(value, held)
    if isinstance(held, dict):
        same_keys = isinstance(value, dict) and value.keys() == held.keys()
        return same_keys and all(_is_as(value[key], item) for key, item in held.items())
    if isinstance(held, list):
        same_length = isinstance(value, list | tuple) and len(value) == len(held)
        return same_length and all(map(_is_as, value, held))
    is_plain = isinstance(held, bool | int | float | str)
    return value is held or (is_plain and type(value) is type(held) and bool(value == held))


def kept_state(
    optimiser: torch.optim.Optimizer, names: list[str], leaves: list[Tensor], origin: str
) -> OptimiserState:
    """The state of an optimiser as tensors by '<parameter>/<entry>'.

    A number of Python's is kept as a tensor whose name ends in its kind.

    Args:
        optimiser: whose.
        names: of the parameters.
        leaves: the parameters.
        origin: its name in the study file, for messages.

    Raises:
        StudyError: it keeps something that is no tensor and no number.
    """
    found = {}
    for name, leaf in zip(names, leaves, strict=True):
        for entry, value in optimiser.state[leaf].items():
            if isinstance(value, Tensor):
                found[f"{name}/{entry}"] = value.detach()
            elif type(value) in _NAMES:
                found[f"{name}/{entry}{_NAMES[type(value)]}"] = torch.tensor(
                    value, dtype=torch.float64 if isinstance(value, float) else None
                )
            elif value is not None:
                raise StudyError(
                    f"'{origin}' keeps '{entry}' as a {type(value).__name__}, which cannot be "
                    "carried from task to task",
                    expected="tensors and numbers in its state",
                    where="[training] reset",
                    next_step="reset = true starts every task with a fresh state",
                )
    return found


def put_state(
    optimiser: torch.optim.Optimizer, names: list[str], leaves: list[Tensor], kept: OptimiserState
) -> None:
    """Have an optimiser continue from a state.

    Args:
        optimiser: whose.
        names: of the parameters.
        leaves: the parameters; those of which nothing is kept start anew.
        kept: of `kept_state`.
    """
    by_parameter: dict[str, dict[str, Any]] = {}
    for key, value in kept.items():
        name, _, entry = key.rpartition("/")
        entry, _, kind = entry.partition(":")
        read = _KINDS[kind](value.item()) if kind else value.clone()
        by_parameter.setdefault(name, {})[entry] = read
    (group, *_) = optimiser.param_groups
    is_torchs = "fused" in group or "capturable" in group
    counts_on_device = group.get("fused") or group.get("capturable")
    for name, leaf in zip(names, leaves, strict=True):
        if name not in by_parameter:
            continue
        entries = by_parameter[name]
        if is_torchs and "step" in entries:  # a tensor, which torch wants in one of two places
            entries["step"] = entries["step"].to(leaf.device if counts_on_device else "cpu")
        optimiser.state[leaf] = entries


def laid_out(grad: Tensor, leaf: Tensor) -> Tensor:
    """A gradient in the memory layout of its parameter; copied only where the two differ.

    `torch.autograd.grad` returns any layout (a slice of a larger gradient, a transposed product,
    one number for all), and torch's fused optimisers read memory in order: they step by other
    numbers on a processor, and refuse on CUDA.

    Args:
        grad: any strides.
        leaf: the parameter, same shape.
    """
    if grad.stride() == leaf.stride():
        return grad
    return torch.empty_like(leaf, requires_grad=False).copy_(grad)


def clipped(grads: Params, bound: float) -> Params:
    """Gradients with every element in [−bound, bound].

    Args:
        grads: by name.
        bound: at least 0.
    """
    if not grads:
        return grads
    values = torch._foreach_clamp_min(list(grads.values()), -bound)
    torch._foreach_clamp_max_(values, bound)
    return dict(zip(grads, values, strict=True))


def clipped_to_norm(grads: Params, bound: float) -> Params:
    """Gradients times min(1, bound / (‖g‖₂ + 10⁻⁶)), ‖g‖₂ over all of them together.

    As torch's `clip_grad_norm_`. A norm that is no number makes every gradient none.

    Args:
        grads: by name.
        bound: more than 0.
    """
    if not grads:
        return grads
    norms = torch._foreach_norm(list(grads.values()))
    share = (bound / (torch.linalg.vector_norm(torch.stack(norms)) + 1e-6)).clamp(max=1.0)
    values = torch._foreach_mul(list(grads.values()), share)
    return dict(zip(grads, values, strict=True))
