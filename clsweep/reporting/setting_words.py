"""The network, the training and the values of a study in the words of a paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clsweep.methods import known_entry
from clsweep.methods.hyper_fields import knob_keys
from clsweep.reporting.curves import Curve
from clsweep.reporting.training_text import fixed_settings, setting_said, tried_settings
from clsweep.text import counted, key_text, number_text, printable
from clsweep.training.optimiser_names import OPTIMISERS

# More values than these are told by their ends.
_MOST_VALUES = 8
_NETWORKS = {
    "mlp": "a multilayer perceptron",
    "conv": "a convolutional network",
    "lenet": "a LeNet",
    "resnet32": "a pre-activation residual network",
    "resnet18": "a ResNet-18",
}
_TRAINING_KEYS = ("optimizer", "lr", "batch_size", "epochs", "steps")


def network_words(net: Mapping[str, Any]) -> str:
    """The network in words, such as 'a multilayer perceptron with 100 and 100 hidden units'.

    Args:
        net: `[net]` of a study file as plain values; whatever it holds, nothing is raised.
    """
    name = str(net.get("name", "mlp"))
    details = []
    if name == "mlp" and _is_list(net.get("hidden", [100, 100])):
        hidden = [str(n) for n in net.get("hidden", [100, 100])]
        details.append(f"{listed(hidden)} hidden units" if hidden else "no hidden layer")
    if name == "conv" and _is_list(net.get("channels", [16, 32])):
        channels = listed([str(n) for n in net.get("channels", [16, 32])])
        details.append(f"blocks of {channels} channels and a layer of {net.get('width', 128)}")
    if name == "resnet32":
        details.append(f"{net.get('depth', 32)} layers")
    if name in ("mlp", "conv", "lenet"):
        details.append({"relu": "ReLU"}.get(str(net.get("activation", "relu")), "tanh"))
    if str(net.get("norm", "standard")) not in ("standard", "none"):
        details.append(f"{net['norm']} normalisation")
    found = _NETWORKS.get(name) or f"the network {net.get('model') or net.get('factory') or name}"
    if net.get("weights"):
        details.append("pretrained weights")
    return printable(f"{found} with {listed(details)}" if details else found)


def training_words(curves: Sequence[Curve], searched: Sequence[str]) -> tuple[str, ...]:
    """How tasks were learnt: what all methods share, then what was tried, then what differs.

    Args:
        curves: the methods' labels.
        searched: keys of [training] that a search has chosen.
    """
    own = [curve for curve in curves if curve.training]
    if not own:
        return ()
    fixed = dict(fixed_settings(own))
    optimiser = fixed.get("optimizer", "")
    known = OPTIMISERS.get(optimiser)
    name = known.kind if known else optimiser
    parts = [f"learning rate {fixed['lr']}"] if "lr" in fixed else []
    parts += [f"batches of {fixed['batch_size']}"] if "batch_size" in fixed else []
    steps, epochs = fixed.get("steps", "0"), fixed.get("epochs")
    if steps != "0":
        parts.append(f"{steps} steps per task")
    elif epochs:
        parts.append(f"{counted(int(epochs), 'epoch')} per task" if epochs.isdigit() else epochs)
    parts += [
        setting_said(key, value).replace("_", " ")
        for key, value in fixed.items()
        if key not in _TRAINING_KEYS
    ]
    found = [f"Every method learnt each task with {name or 'the same training'}"]
    if parts:
        found[0] += f" ({', '.join(parts)})"
    alike, unequal = tried_settings(own, searched)
    tried = [f"{key.replace('_', ' ')} {text}" for key, text in alike.items()]
    if tried:
        found.append(f"every method alike was tried with {listed(tried)}")
    if unequal:
        found.append(f"the methods differ in {listed([k.replace('_', ' ') for k in unequal])}")
    return tuple(found)


def values_words(curve: Curve) -> str:
    """How many configurations of a method there were and of which values.

    Such as '7 configurations: λ of 1, 10 and 100; form proximal'.

    Args:
        curve: the method's label.
    """
    parts = [f"{key_text(name)} {_values(values)}" for name, values in curve.grid.items()]
    others = "; ".join([", ".join(parts), *_unusual(curve)] if parts else _unusual(curve))
    n = counted(curve.n_configs, "configuration")
    return f"{n}: {others}" if others else n


def _values(values: Sequence[Any]) -> str:
    texts = [number_text(value) for value in values]
    if len(texts) <= _MOST_VALUES:
        return f"of {listed(texts)}"
    return f"from {texts[0]} to {texts[-1]}"


def _unusual(curve: Curve) -> Iterator[str]:
    """The method's own numbers that do not vary: all knobs, of the others what is no default."""
    entry = known_entry(curve.method)
    if entry is None or not curve.points:
        return
    first = curve.points[0].candidate.hyper
    knobs = knob_keys(entry.hyper.model_fields)
    for name, field in entry.hyper.model_fields.items():
        if name in curve.grid or name not in first:
            continue
        if first[name] == field.default and name not in knobs:
            continue
        if all(point.candidate.hyper.get(name) == first[name] for point in curve.points):
            words, value = key_text(name).replace("_", " "), first[name]
            if isinstance(value, bool):
                yield words if value else f"no {words}"
            else:
                yield f"{words} {number_text(value)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def listed(texts: Sequence[str], word: str = "and") -> str:
    """With commas, and a word before the last: 'a, b and c'.

    Args:
        texts: in order; '' for none.
        word: the word.
    """
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {word} {texts[-1]}"
