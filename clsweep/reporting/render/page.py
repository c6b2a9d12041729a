r"""`report.html`: a report in one file, to be read without a network, and printed.

The file holds text and tables as HTML, the values that figures are drawn from, and a script that
draws them (`web/*.js`). Names, labels and messages of a study are only ever text: in HTML they are
escaped, in the block of values every `<` is written as `\u003c`, the script sets text and never
HTML, and a content security policy lets nothing run but scripts whose hashes it names and nothing
be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from clsweep.reporting.ledger import shown_text
from clsweep.reporting.render.confusion_matrices import confusions_html
from clsweep.reporting.render.page_pairs import pair_values, pairs_html
from clsweep.reporting.render.page_summary import summary_html
from clsweep.reporting.render.page_tables import costs_html, numbers_html
from clsweep.reporting.render.page_terms import explained, glossary_html
from clsweep.reporting.render.page_values import page_values, without_nan
from clsweep.reporting.render.summary_texts import what_was_run
from clsweep.reporting.render.table_formats import html_text
from clsweep.reporting.render.tables import tables as tables_of
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import Column, ReportTable, Section
from clsweep.reporting.sampling_error import sizes_text
from clsweep.versions import versions

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; script-src {scripts}"
)
_SCRIPTS = ("svg.js", "figures.js", "tables.js", "page.js")


@dataclass(frozen=True)
class LiveSection:
    """What stands on top of a report that a server shows.

    Attributes:
        html: markup between the heading and the first section; every text in it is escaped.
        script: JavaScript of its own, run after the page's; it may fetch from the page's own
            address and from nowhere else. `clsweepPage.show(values)` draws new values, which
            `page_values` gives. Empty for none.
        style: CSS of its own; empty for none.
    """

    html: str
    script: str = ""
    style: str = ""


class _Part(NamedTuple):
    """A section of the page, with its place in the navigation.

    Attributes:
        key: its id.
        heading: above it, and in the navigation.
        body: HTML.
        wide: whether it fills the width of the page.
    """

    key: str
    heading: str
    body: str
    wide: bool = True


def page_of(
    data: ReportData,
    *,
    tables: Sequence[ReportTable] | None = None,
    live: LiveSection | None = None,
    title: str = "",
) -> str:
    """The whole page as text.

    Args:
        data: what `report_building.build` computed.
        tables: its tables, where they have been made already.
        live: what stands on top where a server shows it; None for a file.
        title: the heading instead of the report's own.
    """
    made = tables_of(data) if tables is None else tables
    live = live or LiveSection("")
    parts = list(_parts(data, made))
    script = data.in_words(_script())
    scripts = [script, *[live.script] * bool(live.script)]
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts)
    pieces = {
        "policy": _POLICY.format(scripts=hashes) + "; connect-src 'self'" * bool(live.script),
        "title": html.escape(title or data.title),
        "style": _asset("page.css") + live.style,
        "run": data.in_words(explained(_run_text(data))),
        "navigation": "".join(
            f'<li><a href="#{part.key}">{html.escape(part.heading)}</a></li>' for part in parts
        ),
        "live": live.html,
        "parts": data.in_words("".join(map(_section, parts))),
        "values": data.in_words(_embedded({**page_values(data), "pairs": pair_values(data)})),
        "script": script,
        "live_script": f"<script>{live.script}</script>" * bool(live.script),
    }
    # In one pass: what is put in is never looked through for further places.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: pieces[found[1]], _asset("page.html"))


def _run_text(data: ReportData) -> str:
    return f"{what_was_run(data)} {data.metric_text}".strip()


# ------------------------------------------------------------------------------------ sections


def _parts(data: ReportData, tables: Sequence[ReportTable]) -> Iterator[_Part]:
    """Every section of a report, in order."""
    yield _Part("summary", "At a glance", summary_html(data))
    yield from _figures()
    yield _Part("numbers", "All numbers", numbers_html(data, tables))
    pairs = pairs_html(data, tables)
    if pairs:
        yield _Part("pairs", "Pairs", pairs)
    yield _Part("costs", "Costs", costs_html(data, tables))
    if data.details.matrices:
        yield _Part("tasks", "Task by task", _asset("tasks.html"))
    classes = "".join(
        html_text(table, f"class-{place}") for place, table in enumerate(data.extras.page_tables)
    ) + confusions_html(data.extras.classes)
    if classes:
        yield _Part("classes", "Classes", classes)
    if data.embeddings:
        from clsweep.reporting.render.embedding_figures import maps_html  # matplotlib is slow

        yield _Part("embeddings", "Task embeddings", maps_html(data.embeddings))
    yield _Part("findings", "Caveats", _findings(data))
    yield _Part("study", "Study", _study(data))
    yield _Part("glossary", "Glossary", glossary_html())


def _figures() -> Iterator[_Part]:
    yield _Part("fronts", "Fronts", _asset("fronts.html"), wide=False)
    yield _Part("knobs", "What the knob does", _asset("knobs.html"), wide=False)


def _section(part: _Part) -> str:
    kind = "" if part.wide else ' class="beside"'
    return (
        f'<section id="{part.key}" aria-labelledby="{part.key}-heading"{kind}>'
        f'<h2 id="{part.key}-heading">{html.escape(part.heading)}</h2>{part.body}</section>'
    )


def _findings(data: ReportData) -> str:
    """What to know before trusting the numbers, and what trials said that failed."""
    notes = data.notes or ("Nothing was found to be unequal, missing or at the end of its grid.",)
    items = "".join(f"<li>{explained(note)}</li>" for note in notes)
    return f"<ul>{items}</ul>{_failures(data)}"


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


def _study(data: ReportData) -> str:
    looks = f"Accuracies are test numbers throughout. {shown_text(data.shown)}".strip()
    about = [data.method_of_reading, looks, data.training, data.seeds_vary, sizes_text(data.luck)]
    texts = "".join(f"<p>{explained(text)}</p>" for text in about if text)
    study_files = "".join(
        f"<details><summary>{html.escape(name)}</summary>"
        f'<pre tabindex="0">{html.escape(text)}</pre></details>'
        for name, text in data.details.study_files
    )
    rows = "".join(_version_rows(data))
    return (
        f'{texts}{study_files}<div class="scroll" tabindex="0" role="region" '
        f'aria-label="Versions, table"><table><tbody>{rows}</tbody></table></div>'
    )


def _version_rows(data: ReportData) -> Iterator[str]:
    rows: list[tuple[str, Sequence[str]]] = [
        (f"{package} (trials)", found) for package, found in data.details.versions.items()
    ]
    rows.append(("clsweep (report)", [versions()["clsweep"]]))
    if data.details.finished:
        rows.append(("trials finished", [" – ".join(dict.fromkeys(data.details.finished))]))
    for name, found in rows:
        text = html.escape(", ".join(found))
        yield f'<tr><th scope="row">{html.escape(name)}</th><td>{text}</td></tr>'


# ------------------------------------------------------------------------------------- pieces


def _asset(name: str) -> str:
    return (files("clsweep.reporting.render") / "web" / name).read_text(encoding="utf-8")


def _script() -> str:
    """The modules of the script as one, which leaves no name to others but `clsweepPage`."""
    modules = "\n".join(map(_asset, _SCRIPTS))
    return f'"use strict";\n(() => {{\n{modules}\n}})();'


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _embedded(values: Mapping[str, Any]) -> str:
    """JSON that can stand in a script block: no character of HTML, no NaN."""
    text = json.dumps(without_nan(values), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
