r"""`report.html`: a report in one file, to be read without a network, and printed.

The file holds the plotting library, the values, and a script of about 200 lines (`web/page.js`)
that draws them. Names, labels and messages of a study are only ever text: in HTML they are
escaped, in the block of values every `<` is written as `\u003c`, the script sets text and never
HTML, and a content security policy lets nothing run but the two scripts whose hashes it names and
nothing be fetched at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.util
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsweep.records.accuracy import mean_and_error
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.curves import Curve, Point
from clsweep.reporting.render.confusion_matrices import confusions_html
from clsweep.reporting.render.page_fronts import fronts_figure
from clsweep.reporting.render.page_panels import matrices_figure, responses_figure
from clsweep.reporting.render.table_formats import html_text
from clsweep.reporting.render.tables import tables as tables_of
from clsweep.reporting.report_table import Column, ReportTable, Section
from clsweep.reporting.sampling_error import sizes_text
from clsweep.search.selection_protocols import assured_target, best_finetuned
from clsweep.text import axes_text
from clsweep.versions import versions

if TYPE_CHECKING:
    from clsweep.reporting.report_data import ReportData

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; script-src {scripts}"
)
_STEP = 0.05


@dataclass(frozen=True)
class LiveSection:
    """What stands on top of the page of a sweep that is still running.

    Attributes:
        html: markup between the heading and the first section; every text in it is escaped.
        script: JavaScript of its own, run after the page's; it may fetch from the page's own
            address and from nowhere else. Empty for none.
        style: CSS of its own; empty for none.
    """

    html: str
    script: str = ""
    style: str = ""


def page_of(data: ReportData, *, live: LiveSection | None = None, title: str = "") -> str:
    """The whole page as text.

    Args:
        data: what `report_data.build` computed.
        live: what stands on top while a sweep is running; None for a report.
        title: the heading instead of the report's own.
    """
    live = live or LiveSection("")
    tables = tables_of(data)
    scripts = [_library(), _asset("page.js"), *[live.script] * bool(live.script)]
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts)
    policy = _POLICY.format(scripts=hashes) + "; connect-src 'self'" * bool(live.script)
    library, script = scripts[:2]
    parts = {
        "policy": policy,
        "title": html.escape(title or data.title),
        "live": live.html,
        "live_style": live.style,
        "live_script": f"<script>{live.script}</script>" * bool(live.script),
        "style": _asset("page.css"),
        "reading": html.escape(data.method_of_reading),
        "training": html.escape(data.training),
        "luck": html.escape(f"{data.seeds_vary} {sizes_text(data.luck)}".strip()),
        "findings": "".join(f"<li>{html.escape(note)}</li>" for note in data.notes)
        or "<li>Nothing was found to be unequal, missing or at the end of its grid.</li>",
        "tables": "".join(
            html_text(table, i) for i, table in enumerate((*tables, *data.extras.page_tables))
        )
        + confusions_html(data.extras.classes),
        "failures": _failures(data),
        "studies": "".join(_study(name, text) for name, text in data.details.study_files),
        "versions": "".join(_version_rows(data)),
        "values": _embedded(page_values(data)),
        "library": library,
        "script": script,
    }
    # In one pass: what is put in is never looked through for further places.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def page_values(data: ReportData) -> dict[str, Any]:
    """What the page's script works on: figures, and the points that the slider chooses from.

    Args:
        data: what `report_data.build` computed.
    """
    from clsweep.reporting.render.views import views

    view, everything = views(data)
    return {
        "figures": {
            "fronts": fronts_figure(data),
            "responses": responses_figure(data),
            "matrices": matrices_figure(data),
        },
        "view": list(view),
        "everything": None if everything is None else list(everything),
        "curves": [_curve(curve, data.comparison) for curve in data.comparison.all_curves],
        "picks": [{"name": name, "chosen": chosen} for name, chosen in _picks(data)],
        "slider": _slider(data),
    }


# ------------------------------------------------------------------------------------- values


def _curve(curve: Curve, comparison: Comparison) -> dict[str, Any]:
    """Points of a curve; means of validation data unrounded, since they are what chooses.

    The target accuracy is less the margin, so that the slider chooses as the tables do.
    """
    finetuned = best_finetuned(comparison.validation)

    def validation(point: Point) -> list[float]:
        source, target = (float(v) for v in point.mean("validation"))
        if finetuned is None:
            return [source, target]
        return [source, assured_target(point.candidate, finetuned, comparison.margin)]

    return {
        "label": curve.label,
        "is_reference": curve.is_reference,
        "absence": curve.absence,
        "points": [
            {
                "configuration": axes_text(point.axes),
                "validation": validation(point),
                "source": [100 * v for v in mean_and_error(point.test_S2[:, 0])],
                "target": [100 * v for v in mean_and_error(point.test_S2[:, 1])],
            }
            for point in curve.points
        ],
    }


def _picks(data: ReportData) -> Iterator[tuple[str, dict[str, int | None]]]:
    """Rules of choosing by name, each with the index of the point that it picks per label."""
    yield "best average accuracy", {c.label: c.best for c in data.comparison.curves}
    for rule in data.protocols:
        if rule.kind != "average":
            found = data.scores[rule.name]
            yield f"protocol {rule.name}", {s.pick.label: s.index for s in found}


def _slider(data: ReportData) -> dict[str, Any]:
    """Range of the required target accuracy, its marks, and what it asks of validation data.

    As in the printed table, a requirement is fine-tuning's target accuracy less what is allowed:
    it reads as test accuracy and is met on validation data. Their difference for fine-tuning is
    `offset`; it is zero where there is no fine-tuning.
    """
    requirements = data.comparison.requirements
    tuned = max(
        (
            curve.points[curve.best]
            for curve in data.comparison.references
            if curve.method == "finetune" and curve.best is not None
        ),
        key=lambda point: float(point.mean("validation")[1]),
        default=None,
    )
    offset = 0.0 if tuned is None else float(tuned.mean("test")[1] - tuned.mean("validation")[1])
    reached = [
        100 * (float(point.mean("validation")[1]) + offset)
        for curve in data.comparison.curves
        for point in curve.points
    ]
    reached = [value for value in reached if math.isfinite(value)]
    low, high = (min(reached), max(reached)) if reached else (0.0, 100.0)
    marks: list[dict[str, Any]] = [
        {"text": f"fine-tuning −{100 * r.drop:.3g}", "value": 100 * r.target} for r in requirements
    ]
    start = marks[0]["value"] if marks else (low + high) / 2
    ends = [low, high, *(100 * r.target for r in requirements)]
    return {
        "low": math.floor(min(ends) / _STEP) * _STEP,
        "high": math.ceil(max(ends) / _STEP) * _STEP,
        "step": _STEP,
        "start": start,
        "marks": marks,
        "offset": offset,
        "finetuning": None if tuned is None else 100 * float(tuned.mean("test")[1]),
    }


# --------------------------------------------------------------------------------------- HTML


def _failures(data: ReportData) -> str:
    """What trials said that failed or diverged, or nothing."""
    details = data.details
    if not details.failures:
        return ""
    left_out = details.n_failures_left_out
    rows = [(f.label, f.status, f"{f.n_trials:,}", f.message) for f in details.failures]
    names = ("method", "status", "trials", "message")
    table = ReportTable(
        title="Trials that failed or diverged",
        caption=f"and {left_out:,} further messages" if left_out else "",
        columns=tuple(Column(name, name, is_number=name == "trials") for name in names),
        sections=(Section(rows),),
    )
    return html_text(table, "failures")


def _study(name: str, text: str) -> str:
    return (
        f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(text)}</pre></details>"
    )


def _version_rows(data: ReportData) -> Iterator[str]:
    rows: list[tuple[str, Sequence[str]]] = [
        (f"{package} (trials)", found) for package, found in data.details.versions.items()
    ]
    rows.append(("clsweep (report)", [versions()["clsweep"]]))
    if data.details.finished:
        rows.append(("trials finished", [" – ".join(dict.fromkeys(data.details.finished))]))
    for name, found in rows:
        yield f"<tr><td>{html.escape(name)}</td><td>{html.escape(', '.join(found))}</td></tr>"


# ------------------------------------------------------------------------------------- pieces


def _asset(name: str) -> str:
    return (files("clsweep.reporting.render") / "web" / name).read_text(encoding="utf-8")


def _library() -> str:
    """The script of plotly, from its Python package, which is found without importing it."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None, "plotly is a dependency of clsweep"
    folders: Iterable[str] = spec.submodule_search_locations or ()
    return (Path(next(iter(folders))) / "package_data" / "plotly.min.js").read_text("utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _embedded(values: Mapping[str, Any]) -> str:
    """JSON that can stand in a script block: no character of HTML, no NaN."""
    text = json.dumps(_without_nan(values), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
