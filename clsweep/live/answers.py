"""What the page is told, as JSON values: nothing in them comes from a test accuracy.

What passes with time alone (how long a trial has been running) is left to the browser's clock, so
that a folder in which nothing happens gives the same bytes, and the browser need not be sent them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from clsweep.live.trial_rows import SORTABLE, STATES, TrialRow, Wanted, wanted_rows
from clsweep.live.validation_fronts import LabelFront
from clsweep.live.watched_sweep import SweepState, WatchedSweep
from clsweep.records.metrics import Metric
from clsweep.redaction import without_secrets
from clsweep.text import shortened

_MOST_RUNNING = 12
_MOST_MACHINES = 40
_MOST_POINTS = 250
_LONGEST_TEXT = 200


def sweeps_answer(watched: Sequence[WatchedSweep]) -> dict[str, Any]:
    """All folders in a line each.

    Args:
        watched: the folders.
    """
    return {"sweeps": [_line(i, one) for i, one in enumerate(watched)]}


def _line(index: int, watched: WatchedSweep) -> dict[str, Any]:
    state = watched.state()
    told = {"index": index, "folder": watched.folder, "error": without_secrets(state.error)}
    if state.sweep is None:
        return {**told, "name": watched.place.name, "state": "unreadable"}
    s = state.sweep.status
    return {
        **told,
        "name": s.study,
        "state": s.state,
        "n_done": s.n_done,
        "n_trials": s.n_trials,
        "n_not_ok": s.n_failed + s.n_diverged + s.n_oom,
        "is_upper_limit": s.is_upper_limit,
        "has_report": state.is_done,
    }


def sweep_answer(state: SweepState) -> dict[str, Any]:
    """One folder but for its list of trials.

    Args:
        state: what was read.
    """
    error = without_secrets(state.error)
    if state.sweep is None:
        return {"error": error, "study": None}
    sweep = state.sweep
    status = sweep.status
    told = asdict(status)
    for key in ("curves", "running", "errors", "format"):
        del told[key]
    started = {key: mark.at for key, mark in sweep.at_work.items()}
    return {
        **told,
        "error": error,
        "holder": without_secrets(status.holder),
        "warnings": [without_secrets(text) for text in status.warnings],
        "has_report": state.is_done,
        "benchmark": _benchmark(state),
        "metric": _metric(sweep.study.benchmark.shown_metric),
        "seeds": list(sweep.study.seeds),
        "methods": _methods(state),
        "running": [
            {
                "label": one.label,
                "configuration": one.configuration,
                "seed": one.seed,
                "started_at": started[one.trial_id],
                "n_starts": one.n_starts,
                "machine": one.machine,
                "process": one.process,
            }
            for one in status.running[:_MOST_RUNNING]
        ],
        "machines": _machines(state),
        "errors": [
            {
                "label": one.label,
                "configuration": one.configuration,
                "seed": one.seed,
                "status": one.status,
                "message": _message(one.message),
            }
            for one in status.errors
        ],
        "series": list(_series(state.fronts)),
    }


def trials_answer(state: SweepState, query: str) -> dict[str, Any]:
    """Some trials of a folder.

    Args:
        state: what was read.
        query: of the URL: `text`, `state`, `label`, `sort`, `order`, `page`, `size`.
    """
    found = wanted_rows(state.rows, wanted_of(query))
    return {
        "page": found.page,
        "n_pages": found.n_pages,
        "n_found": found.n_found,
        "n_trials": len(state.rows),
        "rows": [_row(row) for row in found.rows],
    }


def wanted_of(query: str) -> Wanted:
    """Which trials a URL asks for; what it says wrongly counts as not said.

    Args:
        query: what stands behind the question mark.
    """
    said = {key: value[:_LONGEST_TEXT] for key, value in parse_qsl(query)}
    usual = Wanted()

    def number(key: str, otherwise: int) -> int:
        text = said.get(key, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else otherwise

    state, sort = said.get("state", ""), said.get("sort", "")
    return Wanted(
        text=said.get("text", ""),
        state=state if state in (*STATES, "not ok") else "",
        label=said.get("label", ""),
        sort=sort if sort in SORTABLE else "",
        is_descending=said.get("order") == "descending",
        page=number("page", usual.page),
        size=number("size", usual.size),
    )


def _benchmark(state: SweepState) -> str:
    from clsweep.reporting.study_values import benchmark_text

    assert state.sweep is not None
    return benchmark_text(state.sweep.study.benchmark.model_dump(mode="json"))


def _metric(metric: Metric) -> dict[str, Any]:
    """What stands in accuracy's place, and where it ends; null for no end."""
    low, high = (None if math.isinf(end) else 100 * end for end in metric.bounds)
    return {"title": metric.title, "low": low, "high": high}


def _methods(state: SweepState) -> list[dict[str, Any]]:
    """Counts per label, and the best so far on validation data."""
    assert state.sweep is not None
    fronts = {front.label: front for front in state.fronts}
    told = []
    for curve in state.sweep.status.curves:
        front = fronts.get(curve.label)
        best = None
        if front is not None and front.best is not None:
            mean = front.means[front.best]
            numbers = {k: getattr(mean, k) for k in ("average", "source", "target")}
            best = {**numbers, "configuration": mean.configuration}
        told.append(
            {
                "label": curve.label,
                "n_trials": curve.n_trials,
                "n_done": curve.n_done,
                "n_not_ok": curve.n_not_ok,
                "n_running": curve.n_running,
                "best": best,
            }
        )
    return told


def _machines(state: SweepState) -> list[dict[str, Any]]:
    """Where trials are at work, the busiest first."""
    assert state.sweep is not None
    marks = state.sweep.at_work.values()
    n_trials = Counter(mark.machine for mark in marks)
    workers = Counter(machine for machine, _ in {(m.machine, m.process) for m in marks})
    return [
        {"name": name, "n_workers": workers[name], "n_trials": n}
        for name, n in n_trials.most_common(_MOST_MACHINES)
    ]


def _series(fronts: Sequence[LabelFront]) -> Iterator[dict[str, Any]]:
    """The labels as the figures of the report's page have them (`page_values`), in percent."""
    from clsweep.reporting.render.page_values import style_values
    from clsweep.reporting.render.styles import curve_styles, reference_styles

    curves = [front for front in fronts if not front.is_reference]
    references = [front for front in fronts if front.is_reference]
    for place, (front, look) in enumerate(zip(curves, curve_styles(curves), strict=True)):
        yield {"kind": "curve", "style": style_values(place, look), **_points(front)}
    for front, style in zip(references, reference_styles(references), strict=True):
        yield {"kind": "reference", "style": {"marker": style["marker"]}, **_points(front)}


def _points(front: LabelFront) -> dict[str, Any]:
    """Of its front, and of the others, as many as a figure can show; of a reference the best."""
    left_out: set[int] = set()
    for on_front in (True, False):
        alike = [i for i, mean in enumerate(front.means) if mean.on_front is on_front]
        step = max(1, -(-len(alike) // _MOST_POINTS))
        left_out |= {i for n, i in enumerate(alike) if n % step and i != front.best}
    if front.is_reference:
        left_out = {i for i in range(len(front.means)) if i != front.best}
    shown = [(i, mean) for i, mean in enumerate(front.means) if i not in left_out]
    return {
        "label": front.label,
        "n_seeds": len(front.seeds),
        "n_left_out": 0 if front.is_reference else len(left_out),
        "front": [n for n, (_, mean) in enumerate(shown) if mean.on_front],
        "best": next((n for n, (i, _) in enumerate(shown) if i == front.best), None),
        "points": [
            {
                "text": mean.configuration,
                "x": [_percent(mean.source), _percent(mean.source_error)],
                "y": [_percent(mean.target), _percent(mean.target_error)],
            }
            for _, mean in shown
        ],
    }


def _percent(share: float) -> float | None:
    return round(100 * share, 3) if math.isfinite(share) else None


def _row(row: TrialRow) -> Mapping[str, Any]:
    point = row.point
    return {
        "label": row.label,
        "configuration": row.configuration(),
        "seed": row.seed,
        "state": row.state,
        "source": None if point is None else round(point.source, 5),
        "target": None if point is None else round(point.target, 5),
        "average": None if point is None else round(point.average, 5),
        "message": _message(row.message),
        "at": row.at,
        "machine": row.machine,
        "trial_id": row.trial_id,
    }


@lru_cache(maxsize=1000)
def _message(text: str) -> str:
    return shortened(without_secrets(text))
