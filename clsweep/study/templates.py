"""The study files that `clsweep init` writes: a short one, and one with every key and its meaning.

Both are the same study: the short one leaves out what is at its default.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clsweep.data.benchmark_specs import BENCHMARKS, BenchmarkConfig
from clsweep.errors import StudyError, closest_name
from clsweep.methods import ALL_SCENARIOS, METHODS
from clsweep.methods.entry import MethodEntry
from clsweep.methods.hyper_fields import knob_keys, search_range
from clsweep.methods.known_methods import entry_of
from clsweep.methods.regulariser_hypers import PenaltyHyper
from clsweep.nets.config import NetConfig
from clsweep.number_conditions import switched_off
from clsweep.study.field_text import in_words
from clsweep.study.method_tables import request_type
from clsweep.study.search_section import SearchConfig
from clsweep.study.sections import CallbacksConfig, ReportConfig, Resources, SaveConfig
from clsweep.study.study import Study
from clsweep.text import number_text
from clsweep.toml_text import toml_value
from clsweep.training.config import TrainingConfig

N_GRID_VALUES = 7
_HEADER = """\
# A study of clsweep. Every key stands here, with its default unless the line says another one:
# delete what you do not change. Knobs have the range that is worth searching.
# `clsweep plan FILE` checks the file and says what it costs; `clsweep run FILE` runs it.
"""
_SHORT_HEADER = """\
# A study of clsweep. `clsweep init --full` writes every other key, with its meaning and default.
# `clsweep plan FILE` checks the file and says what it costs; `clsweep run FILE` runs it.
"""
# What a short file says of its keys, where the name does not say it.
_SHORT_HELP = {
    "seeds": "three show how a study goes; a claim takes six",
    "scenario": "what is known of the task at test time: task, domain or class",
    "split": "the same share of every class validates",
    "epochs": "of every task",
    "form": "the form that does not diverge",
}
_RANGE_HELP = """\
# One [[methods]] table per curve. A range is tried at n values from low to high; a list, such as
# lam = [1, 10, 100], at each of its values.
"""
_AXIS_HELP = """\
# One [[methods]] table per curve. Every number of a method, and of its `training`, may be one
# value, a list of values, or a range such as { low = 1, high = 1000, n = 4 }, evenly spaced on a
# logarithmic scale where log = true or the number is declared so. All combinations are run.
"""
_SEEDS_HELP = """\
# Three seeds show how a study goes. Claims take six; ten are recommended where they are wanted.
"""
_CHOOSING_HELP = """\
# With ten seeds or more, some may choose while the others are shown, which owe the choice nothing:
# choose_on = [0, 1, 2, 3]
"""
# What makes the order of tasks one of a seed's draws.
_ORDER_KEYS = {
    "split": 'class_order = "shuffled" and draws = "per_seed"',
    "permuted": 'draws = "per_seed"',
    "rotated": 'draws = "per_seed"',
    "pair": 'order = "shuffled" and draws = "per_seed"',
    "sequence": 'order = "shuffled" and draws = "per_seed"',
    "polynomials": 'order = "shuffled" and draws = "per_seed"',
}
_ORDER_HELP = """\
# For a claim that is to hold beyond one order of the tasks, let every seed draw its own, below:
# {keys}.
# Seeds then differ more: the standard deviation of an average was 7.5 points instead of 4.1 for
# EWC, and 7.9 instead of 2.4 for SI.
"""
# A value that says more than the default, which is none.
_SEARCHED = {"training": {"lr": {"low": 0.01, "high": 0.3}}}
# The form that no λ makes diverge; every range of λ goes beyond what the gradient form bears.
_WRITTEN = {
    (method, "form"): "proximal"
    for method, entry in METHODS.items()
    if issubclass(entry.hyper, PenaltyHyper)
}
# What a benchmark cannot do without and has no default for.
_REQUIRED = {"target": ("mnist",), "datasets": ("digits", "mnist")}
_SHAPES = {"sequence": {"dataset": "digits"}}
# A tenth of the training examples, of a benchmark that has fewer than memories hold by default.
_FEW_EXAMPLES = {"polynomials": {"memory_size": 30}}


def study_template(benchmark: str, methods: Sequence[str], name: str) -> str:
    """A study file that loads as it is.

    Args:
        benchmark: a key of `BENCHMARKS`.
        methods: keys of `METHODS`, each once.
        name: the study's name; replaced by 'study' where it cannot be one.

    Raises:
        StudyError: a benchmark or method of that name does not exist, or is listed twice, or no
            scenario is one of all methods.
    """
    config = _checked(benchmark, methods)
    blocks = [
        _HEADER,
        _top(name),
        _ORDER_HELP.format(keys=_ORDER_KEYS[benchmark]),
        _section(
            "benchmark",
            config,
            config.__doc__ or "",
            _benchmark_values(benchmark, methods),
        ),
        _section("net", NetConfig, "The network.", {}, NetConfig().used_keys),
        _section(
            "training",
            TrainingConfig,
            "How every task is trained, by every method; epochs or steps.",
            _training_values(config),
            _used_in_training(),
        ),
        _section("resources", Resources, "What a trial may use; no result depends on it.", {}),
        _section("report", ReportConfig, "What `clsweep report` computes.", {}) + _CHOOSING_HELP,
        _section("search", SearchConfig, SearchConfig.__doc__ or "", _SEARCHED, ("kind",)),
        _section("save", SaveConfig, SaveConfig.__doc__ or "", {}),
        _section("callbacks", CallbacksConfig, CallbacksConfig.__doc__ or "", {}),
        _AXIS_HELP,
        *(_method_table(method, benchmark) for method in methods),
    ]
    return "\n".join(blocks)


def _used_in_training() -> list[str]:
    """Keys of [training] that are written as they are; others stand there as comments."""
    usual = TrainingConfig()
    off = switched_off(TrainingConfig, usual.model_dump())
    first = usual.recorded
    return [k for k in type(usual).model_fields if k != "steps" and (k in first or k not in off)]


def _checked(benchmark: str, methods: Sequence[str]) -> type[BenchmarkConfig]:
    for method in methods:
        entry_of(method)
        if methods.count(method) > 1:
            raise StudyError(f"method '{method}' is listed twice", expected="each once")
    return benchmark_type(benchmark)


def _benchmark_values(benchmark: str, methods: Sequence[str]) -> dict[str, Any]:
    """What a file says of the benchmark beside its defaults."""
    return {
        "name": benchmark,
        "scenario": _scenario(benchmark, methods),
        # Leaves no class without a validation example.
        "split": "random" if _is_regression(benchmark) else "stratified",
        **_SHAPES.get(benchmark, {}),
    }


def _training_values(config: type[BenchmarkConfig]) -> dict[str, Any]:
    return {"epochs": 10} if config.model_fields["dataset"].default == "digits" else {}


def short_template(benchmark: str, methods: Sequence[str], name: str) -> str:
    """The same study as `study_template` writes, without the keys that are at their default.

    Args:
        benchmark: a key of `BENCHMARKS`.
        methods: keys of `METHODS`, each once.
        name: the study's name; replaced by 'study' where it cannot be one.

    Raises:
        StudyError: see `study_template`.
    """
    config = _checked(benchmark, methods)
    written = _benchmark_values(benchmark, methods)
    shown = {key: field.default for key, field in config.model_fields.items()}
    shown |= {key: _REQUIRED.get(key) for key, f in config.model_fields.items() if f.is_required()}
    keys = ["name", *_REQUIRED, "dataset", "n_tasks", *written]
    shown = {key: (shown | written)[key] for key in dict.fromkeys(keys) if key in shown}
    epochs = _training_values(config).get("epochs", TrainingConfig().epochs)
    blocks = [
        _SHORT_HEADER + _short_lines("", {"name": _usable(name), "seeds": 3}),
        _short_lines("[benchmark]", shown),
        _short_lines("[training]", {"lr": TrainingConfig().lr, "epochs": epochs}),
        *(_short_lines("[[methods]]", _short_method(method, benchmark)) for method in methods),
    ]
    if any(search_range(f) for m in methods for f in METHODS[m].hyper.model_fields.values()):
        blocks.insert(-len(methods), _RANGE_HELP)
    return "\n".join(blocks)


def _short_method(method: str, benchmark: str) -> dict[str, Any]:
    few = _FEW_EXAMPLES.get(benchmark, {})
    numbers = METHODS[method].hyper.model_fields
    found: dict[str, Any] = {"name": method}
    for key, field in numbers.items():
        worth = search_range(field)
        if worth and key in knob_keys(numbers)[:1]:
            found[key] = {"low": worth[0], "high": worth[1], "n": N_GRID_VALUES}
        elif (method, key) in _WRITTEN:
            found[key] = _WRITTEN[method, key]
        elif key in few:
            found[key] = few[key]
    return found


def _short_lines(heading: str, values: Mapping[str, Any]) -> str:
    lines = [heading] if heading else []
    for key, value in values.items():
        text = _range_text(value) if isinstance(value, dict) else toml_value(value)
        note = _SHORT_HELP.get(key)
        line = f"{key} = {text}"
        lines.append(f"{line:<24}  # {note}" if note else line)
    return "\n".join(lines) + "\n"


def _range_text(values: Mapping[str, float]) -> str:
    low, high, n = (values[key] for key in ("low", "high", "n"))
    return f"{{ low = {number_text(low)}, high = {number_text(high)}, n = {n} }}"


def usual_methods(benchmark: str) -> list[str]:
    """All methods that are defined for the benchmark's scenario by default.

    Args:
        benchmark: a key of `BENCHMARKS`.

    Raises:
        StudyError: no benchmark has that name.
    """
    usual = _scenarios(benchmark)[0]
    return [name for name, entry in METHODS.items() if usual in _defined(entry, benchmark)]


def _is_regression(benchmark: str) -> bool:
    return bool(benchmark_type(benchmark).model_fields["targets"].default == "numbers")


def _defined(entry: MethodEntry, benchmark: str) -> tuple[str, ...]:
    """Scenarios of the benchmark that a method is defined for."""
    return entry.regression if _is_regression(benchmark) else entry.scenarios


def _scenarios(benchmark: str) -> list[str]:
    """All scenarios, the benchmark's own default first."""
    usual = benchmark_type(benchmark).model_fields["scenario"].default
    return sorted(ALL_SCENARIOS, key=lambda scenario: scenario != usual)


def _scenario(benchmark: str, methods: Sequence[str]) -> str:
    for scenario in _scenarios(benchmark):
        if all(scenario in _defined(entry_of(method), benchmark) for method in methods):
            return scenario
    raise StudyError(
        f"no scenario is one of all of {', '.join(methods)}",
        expected="methods that share a scenario",
        next_step="`clsweep methods` lists them",
    )


def write_new(path: Path, text: str) -> None:
    """Write a file that does not exist yet.

    Args:
        path: the file.
        text: what it is to hold.

    Raises:
        StudyError: it exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StudyError(
            f"{path} exists already", next_step="choose another name; nothing was changed"
        ) from None
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror or error}") from None


def benchmark_type(name: str) -> type[BenchmarkConfig]:
    """The declaration of a benchmark.

    Args:
        name: a key of `BENCHMARKS`.

    Raises:
        StudyError: no benchmark has that name.
    """
    if name not in BENCHMARKS:
        raise StudyError(
            f"unknown benchmark '{name}'",
            expected=closest_name(name, BENCHMARKS),
            next_step="`clsweep benchmarks` lists them",
        )
    return BENCHMARKS[name]


def _top(name: str) -> str:
    fields = Study.model_fields
    lines = _key_lines("name", fields["name"], toml_value(_usable(name)))
    seeds = "\n".join(_key_lines("seeds", fields["seeds"], "3"))
    return "\n".join(lines) + f"\n{_SEEDS_HELP}{seeds}\n"


def _usable(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name) else "study"


def _section(
    name: str,
    model: type[BaseModel],
    doc: str,
    values: Mapping[str, Any],
    used: Sequence[str] | None = None,
) -> str:
    lines = [f"# {doc.splitlines()[0]}" if doc else "", f"[{name}]"]
    for key, field in model.model_fields.items():
        value = values.get(key, _REQUIRED.get(key) if field.is_required() else field.default)
        in_use = used is None or key in used
        text = toml_value(value) + (_default_note(field, value) if in_use else "")
        lines += _key_lines(key, field, text, commented=not in_use)
    return "\n".join(filter(None, lines)) + "\n"


def _method_table(method: str, benchmark: str) -> str:
    entry = entry_of(method)
    fields = request_type(method).model_fields
    numbers = entry.hyper.model_fields
    lines = [f"# {entry.title}: {entry.citation}", "[[methods]]"]
    lines += [f"{key} = {toml_value(value)}" for key, value in entry.keys_for(method).items()]
    lines += _key_lines("label", fields["label"], toml_value(entry.title))
    knobs = knob_keys(numbers)
    for key, field in numbers.items():
        usual = _FEW_EXAMPLES.get(benchmark, {}).get(key, field.default)
        written = _WRITTEN.get((method, key), usual)
        value = toml_value(written) + _default_note(field, written)
        worth = search_range(field)
        if worth and key in knobs[:1]:
            value = _range_text({"low": worth[0], "high": worth[1], "n": N_GRID_VALUES})
        lines += _key_lines(key, field, value)
    lines += _key_lines("training", fields["training"], "{ lr = [0.03, 0.1] }", commented=True)
    return "\n".join(lines) + "\n"


def _default_note(field: FieldInfo, value: Any) -> str:
    """What stands behind a recommended value that is not the default."""
    if field.is_required() or value == field.default:
        return ""
    return f"  # recommended; the default is {toml_value(field.default)}"


def _key_lines(key: str, field: FieldInfo, value: str, *, commented: bool = False) -> list[str]:
    lines = textwrap.wrap(in_words(field), 97, initial_indent="# ", subsequent_indent="#   ")
    return [*lines, f"# {key} = {value}" if commented else f"{key} = {value}"]
