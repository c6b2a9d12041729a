"""The optimisers that a study names: torch's by name with their numbers, others by import path.

Known without torch, so that `clsweep plan` checks names and keys. A test compares the table with
the signatures of torch's optimisers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from clsweep.errors import closest_name
from clsweep.user_code import is_import_path


class TorchOptimiser(NamedTuple):
    """One of torch's optimisers.

    Attributes:
        kind: its name in `torch.optim`.
        numbers: keys of `[training]` that it takes beside `lr`.
        takes_decay: whether it takes `weight_decay`.
    """

    kind: str
    numbers: tuple[str, ...] = ()
    takes_decay: bool = True

    def options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Its numbers as torch takes them, without learning rate and weight decay.

        A number at 0 that stands for torch's own is left out.

        Args:
            values: key of `[training]` -> value.
        """
        found = {
            key: values[key]
            for key in self.numbers
            if key not in _HALVES and not (key in OWN_DEFAULT and not values[key])
        }
        for pair, keys in PAIRS.items():
            if keys[0] in self.numbers:
                found[pair] = tuple(values[key] for key in keys)
        return found


# Torch's pairs of numbers, which are one key each here: each is an axis of a grid.
PAIRS = {
    "betas": ("beta1", "beta2"),
    "etas": ("eta_minus", "eta_plus"),
    "step_sizes": ("step_min", "step_max"),
}
_HALVES = frozenset(key for keys in PAIRS.values() for key in keys)
# Torch's default depends on the optimiser: 0 stands for it.
_TORCHS: dict[str, dict[str, float]] = {
    "eps": {"adagrad": 1e-10, "adadelta": 1e-6},
    "alpha": {"rmsprop": 0.99, "asgd": 0.75},
}
OWN_DEFAULT = frozenset(_TORCHS)

_BETAS = PAIRS["betas"]
OPTIMISERS: dict[str, TorchOptimiser] = {
    "sgd": TorchOptimiser("SGD", ("momentum", "dampening", "nesterov")),
    "adam": TorchOptimiser("Adam", (*_BETAS, "eps", "amsgrad")),
    "adagrad": TorchOptimiser("Adagrad", ("eps", "lr_decay", "initial_accumulator_value")),
    "adamw": TorchOptimiser("AdamW", (*_BETAS, "eps", "amsgrad")),
    "adamax": TorchOptimiser("Adamax", (*_BETAS, "eps")),
    "nadam": TorchOptimiser("NAdam", (*_BETAS, "eps", "momentum_decay", "decoupled_weight_decay")),
    "radam": TorchOptimiser("RAdam", (*_BETAS, "eps", "decoupled_weight_decay")),
    "rmsprop": TorchOptimiser("RMSprop", ("momentum", "eps", "alpha", "centered")),
    "adadelta": TorchOptimiser("Adadelta", ("eps", "rho")),
    "adafactor": TorchOptimiser("Adafactor", ("beta2_decay", "d")),
    "asgd": TorchOptimiser("ASGD", ("alpha", "lambd", "t0")),
    "rprop": TorchOptimiser("Rprop", (*PAIRS["etas"], *PAIRS["step_sizes"]), takes_decay=False),
}
# Of torch's own, with the reason.
REFUSED = {
    "lbfgs": "it evaluates the loss several times within a step, and a step here is one batch, "
    "one gradient and what a method makes of it",
    "sparseadam": "it steps sparse gradients, and every gradient here is dense",
    "muon": "it steps matrices alone, and networks have biases as well",
}
# A step of stacked parameters is one of every lane, whatever its learning rate: it is elementwise
# and proportional to that.
STACKED = ("sgd", "adam", "adamw", "rmsprop")
# A step follows signs and its own sizes; the learning rate is the size of the first one alone.
WITHOUT_RATE = frozenset(("rprop",))
NUMBERS = tuple(dict.fromkeys(key for one in OPTIMISERS.values() for key in one.numbers))


def taking(*keys: str) -> tuple[str, ...]:
    """The names of torch's optimisers that take all of some keys.

    Args:
        keys: of `[training]`.
    """
    return tuple(name for name, one in OPTIMISERS.items() if set(keys) <= {*one.numbers})


def takes(optimizer: str, key: str) -> bool:
    """Whether a key of `[training]` may mean something to an optimiser.

    Args:
        optimizer: a key of `OPTIMISERS`, or an import path.
        key: `weight_decay`, `options` or one of `NUMBERS`.
    """
    own = OPTIMISERS.get(optimizer)
    if own is None:
        return key in ("options", "weight_decay")
    return own.takes_decay if key == "weight_decay" else key in own.numbers


def is_torchs_default(optimizer: str, key: str, value: float) -> bool:
    """Whether a number says what a 0 says that stands for torch's own default.

    Args:
        optimizer: a key of `OPTIMISERS`, or an import path.
        key: one of `OWN_DEFAULT`.
        value: of the key.
    """
    known = OPTIMISERS.get(optimizer)
    if known is None or key not in known.numbers:
        return False
    return value == _TORCHS[key].get(optimizer, 1e-8)


def name_complaint(optimizer: str) -> tuple[str, str]:
    """What is wrong with the name of an optimiser, and what was expected; empty for nothing.

    Args:
        optimizer: as the study file has it.
    """
    if optimizer in OPTIMISERS:
        return "", ""
    own = "('package.module:Optimizer' names one of your own)"
    plain = optimizer.lower().replace("_", "")
    if plain.startswith("torch.optim:"):
        plain = plain.removeprefix("torch.optim:")
        if plain in OPTIMISERS:
            return f"'{optimizer}' is one of torch's own", f"its name here, '{plain}'"
    elif is_import_path(optimizer):
        return "", ""
    if plain in REFUSED:
        reason = f"optimizer = '{optimizer}' cannot be used: {REFUSED[plain]}"
        return reason, "one of " + ", ".join(f"'{n}'" for n in OPTIMISERS)
    return f"unknown optimizer '{optimizer}'", f"{closest_name(plain, OPTIMISERS)} {own}"
