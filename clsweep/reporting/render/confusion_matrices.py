"""Confusion matrices as HTML tables, shaded by the share of a row; every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from clsweep.reporting.class_results import ClassResults, Confusion

_MOST_OUTPUTS = 40


def confusions_html(classes: Sequence[ClassResults]) -> str:
    """The matrices of every label, each label folded away; '' for none.

    Args:
        classes: per label with counts.
    """
    parts = [_label_html(one) for one in classes if one.confusions]
    if not parts:
        return ""
    return (
        "<h3>Confusion matrices</h3><p>Test images after the last task, summed over seeds. Rows: "
        "the class; columns: what the network takes it for. A class without a column was "
        f"predicted for no image.</p>{''.join(parts)}"
    )


def _label_html(one: ClassResults) -> str:
    tables = "".join(map(_matrix_html, one.confusions))
    return f"<details><summary>{html.escape(one.label)}</summary>{tables}</details>"


def _matrix_html(confusion: Confusion) -> str:
    title = f"task {confusion.task + 1}"
    if len(confusion.outputs) > _MOST_OUTPUTS:
        return (
            f"<p>{title}: {len(confusion.classes)} classes among {len(confusion.outputs)} "
            "outputs, too many to show; class_counts.parquet in the results folder has them.</p>"
        )
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in confusion.outputs)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{_cells(counts)}</tr>'
        for name, counts in zip(confusion.classes, confusion.counts.tolist(), strict=True)
    )
    return (
        f'<figure class="table"><figcaption>{title}</figcaption><table><thead><tr><th></th>{head}'
        f"</tr></thead><tbody>{rows}</tbody></table></figure>"
    )


def _cells(counts: Sequence[int]) -> str:
    total = sum(counts)
    shades = (f"background: rgba(70, 120, 200, {0.6 * n / total:.2f})" for n in counts)
    return "".join(
        f'<td class="number" style="{shade}">{n or ""}</td>'
        for n, shade in zip(counts, shades, strict=True)
    )
