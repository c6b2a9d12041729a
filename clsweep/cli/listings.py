"""Output of `clsweep methods`, `benchmarks`, `plan` and `run`, as rich tables and text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from clsweep.data.benchmark_specs import BENCHMARKS
from clsweep.data.dataset_specs import DATASETS
from clsweep.errors import StudyError
from clsweep.methods import METHODS, MethodEntry
from clsweep.methods.hyper_fields import knob_keys
from clsweep.methods.hypers import NoHyper
from clsweep.methods.known_methods import entry_of
from clsweep.methods.own_methods import installed_names
from clsweep.storage.remote_path import Place
from clsweep.text import counted, duration, key_text, number_text, printable

if TYPE_CHECKING:
    from clsweep.execution.forecast import Forecast
    from clsweep.execution.outcomes import Summary


def methods_table() -> Table:
    """All methods, one line each."""
    table = _table(
        *(
            "name",
            "method",
            "family",
            "knobs",
            "uses besides the network",
            "scenarios",
            "regression",
            "reference",
        )
    )
    for name, entry in _known():
        knobs = ", ".join(map(_key, knob_keys(entry.hyper.model_fields)))
        scenarios = ", ".join(entry.scenarios)
        uses = ", ".join(entry.uses)
        numbers = ", ".join(entry.regression)
        row = (name, entry.title, entry.family, knobs, uses, scenarios, numbers, entry.citation)
        table.add_row(*map(Text, row))
    return table


def _key(name: str) -> str:
    """A number as people write it, with its key where that is another: 'λ (lam)'."""
    symbol = key_text(name)
    return name if symbol == name else f"{symbol} ({name})"


def _known() -> Iterator[tuple[str, MethodEntry]]:
    """Our methods, and those that installed packages bring."""
    yield from METHODS.items()
    for name in installed_names():
        try:
            yield name, entry_of(name)
        except StudyError as error:  # one broken package hides no other method
            yield name, MethodEntry(f"cannot be used: {error.found}", NoHyper)


def benchmarks_table() -> Table:
    """All benchmarks, one line each."""
    table = _table("name", "benchmark", "scenario by default")
    for name, config in BENCHMARKS.items():
        doc = (config.__doc__ or "").splitlines()[0]
        table.add_row(Text(name), Text(doc), Text(str(config.model_fields["scenario"].default)))
    return table


def datasets_table() -> Table:
    """All data sets that are known by name."""
    table = _table("name", "training", "test", "classes", "image (C × H × W) or vector")
    for name, spec in DATASETS.items():
        shape = " × ".join(map(str, spec.shape))
        n_classes = "numbers" if spec.n_targets else str(spec.n_classes)
        table.add_row(name, f"{spec.n_train:,}", f"{spec.n_test:,}", n_classes, shape)
    table.add_row(Text("folder:PATH"), "", "", "", "PATH/train/CLASS/*.png and PATH/test/CLASS/*")
    return table


def plan_table(plan: Forecast) -> Table:
    """The curves of a plan, one line each.

    Args:
        plan: what a run would do.
    """
    table = _table("label", "method", "knobs", "configurations", "trials", "done")
    for curve in plan.curves:
        knobs = ", ".join(
            f"{key_text(key)} {number_text(low)}…{number_text(high)}"
            for key, (low, high) in curve.knobs.items()
        )
        counts = (curve.n_configurations, curve.n_trials, curve.n_done)
        table.add_row(Text(curve.label), Text(curve.method), Text(knobs), *map(str, counts))
    return table


def plan_text(plan: Forecast, out: Place) -> str:
    """The totals, the time and the fairness notes of a plan.

    Args:
        plan: what a run would do.
        out: the results folder.
    """
    bad = f" ({plan.n_not_ok} not ok)" if plan.n_not_ok else ""
    stages = [
        counted(plan.n_sources, "source model"),
        counted(plan.n_statistics, "set of statistics", "sets of statistics"),
    ]
    if plan.n_finetuned:
        stages.append(counted(plan.n_finetuned, "fine-tuned network"))
    at = printable(str(out), one_line=True)
    lines = [
        f"{counted(plan.n_configurations, 'configuration')} × {counted(plan.n_seeds, 'seed')} = "
        f"{counted(plan.n_trials, 'trial')}; {plan.n_done} done in {at}{bad}, {plan.n_left} to do",
        f"source stages to compute: {', '.join(stages)}; {plan.n_cached} in the cache",
        f"training steps: {plan.n_steps_missing:,} to do, of {plan.n_steps_all:,} in all",
    ]
    if plan.search:
        lines.append(f"search: {plan.search}")
    lines.append(f"told to methods: {plan.told}")
    if not plan.n_left:
        lines.append("nothing is left to do")
    elif plan.seconds is None:
        lines.append("no trial has finished yet, so no estimate of the time")
    else:
        lines.append(
            f"about {duration(plan.seconds)} of one worker's time; divide by the trials that run "
            "at once"
        )
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines)


def summary_text(summary: Summary) -> str:
    """How a run ended.

    Args:
        summary: of the run.
    """
    s = summary
    lines = [
        f"{s.n_done} of {s.n_trials} trials done, {s.n_new} by this run in "
        f"{duration(s.wall_seconds)}"
    ]
    counts = ((s.n_failed, "failed"), (s.n_diverged, "diverged"), (s.n_oom, "out of memory"))
    bad = ", ".join(f"{n} {word}" for n, word in counts if n)
    if bad:
        lines.append(f"not ok: {bad}")
    if s.n_stopped:
        lines.append(
            f"{counted(s.n_stopped, 'trial')} stopped: behind another configuration by more than "
            "stop_margin"
        )
    if s.undrawn:
        lines.append(
            f"not drawn to the end: {', '.join(s.undrawn)}; gaps wider than [search] gap, or open "
            "ends, are left, and a larger `trials` goes on from here"
        )
    if s.n_sources_trained or s.n_sources_reused:
        trained, reused = s.n_sources_trained, s.n_sources_reused
        lines.append(f"source models: {trained} trained, {reused} times reused")
    if s.n_finetuned_trained or s.n_finetuned_reused:
        trained, reused = s.n_finetuned_trained, s.n_finetuned_reused
        lines.append(f"fine-tuned networks: {trained} trained, {reused} times reused")
    if s.seconds_saved >= 1:
        lines.append(
            f"saved by reuse: about {duration(s.seconds_saved)} of one worker's time (times "
            "reused × median duration of such a training)"
        )
    if s.out_of_time or s.interrupted or s.terminated:
        lines.append(_stopped_text(s))
    if s.later:
        labels = ", ".join(f"{label} ({counted(n, 'trial')})" for label, n in s.later.items())
        lines.append(f"left for later: {labels}")
    return "\n".join(lines)


def _stopped_text(s: Summary) -> str:
    """Why a run ended early, and that nothing is lost."""
    rest = "what has ended is kept, and the next command does the rest"
    if not s.out_of_time:
        return f"stopped early ({'SIGTERM' if s.terminated else 'Ctrl-C'}): {rest}"
    too_short = (
        "" if s.n_new else "; it counts from the start of the run, which takes time of its own"
    )
    return f"stopped early, as the time limit was reached: {rest}{too_short}"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
