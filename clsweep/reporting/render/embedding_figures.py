"""The figure of a map of task embeddings: one panel per task, coloured by its test accuracy."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from clsweep.records.embedding_maps import EmbeddingMap
from clsweep.storage.disk import write_atomically

_COLUMNS = 3
_SETTINGS: Any = {"font.size": 8, "svg.hashsalt": "clsweep"}


def figure(found: EmbeddingMap) -> Figure:
    """One map, all tasks on one scale of colours; numbers mark what was learnt for each task.

    Args:
        found: the map.
    """
    n_tasks = len(found.accuracy_TMN)
    n_columns = min(_COLUMNS, n_tasks)
    n_rows = math.ceil(n_tasks / n_columns)
    made = Figure(figsize=(2.4 * n_columns + 0.8, 2.4 * n_rows + 0.5), layout="constrained")
    panels = made.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True).flat
    shown = None
    for task, axes in enumerate(panels):
        if task >= n_tasks:
            axes.set_axis_off()
            continue
        shown = axes.pcolormesh(
            found.x_N,
            found.y_M,
            100 * found.accuracy_TMN[task],
            cmap="viridis",
            vmin=0,
            vmax=100,
            shading="nearest",
            rasterized=True,
        )
        axes.set(aspect="equal")
        axes.set_title(f"task {task + 1}: {100 * found.learnt_TT[task, task]:.1f} % at its own")
        for other, (x, y) in enumerate(found.embeddings_T2):
            axes.annotate(
                str(other + 1),
                (x, y),
                ha="center",
                va="center",
                color="white",
                fontweight="bold" if other == task else "normal",
                fontsize=11 if other == task else 8,
                path_effects=[withStroke(linewidth=2, foreground="black")],
            )
    title = made.suptitle(f"{found.label}, seed {found.seed}", x=0.01, ha="left", fontsize=9)
    title.set_parse_math(False)
    if shown is not None:
        made.colorbar(shown, ax=made.axes, label="test accuracy (%)", shrink=0.8)
    return made


def draw_maps(maps: Sequence[EmbeddingMap], folder: Path, endings: Sequence[str]) -> list[Path]:
    """Write `embeddings_TRIAL.png` and others of every map; returns the files.

    Args:
        maps: of any number of trials.
        folder: where they go.
        endings: of 'png', 'svg' and 'pdf'.

    Raises:
        StoreError: the disk refuses them.
    """
    written = []
    for found in maps:
        for ending in endings:
            path = folder / f"embeddings_{found.trial_id}.{ending}"
            write_atomically(path, _bytes(found, ending))
            written.append(path)
    return written


def maps_html(maps: Sequence[EmbeddingMap]) -> str:
    """The maps as pictures within the page; every text is escaped.

    Args:
        maps: of any number of trials.
    """
    images = "".join(
        f'<figure><img alt="{html.escape(_text(found))}" style="max-width: 100%" '
        f'src="data:image/png;base64,{base64.b64encode(_bytes(found, "png")).decode()}">'
        f"<figcaption>{html.escape(_text(found))}</figcaption></figure>"
        for found in maps
    )
    return (
        "<p>A panel shows how much of one task the network knows that is generated from each "
        "point of the plane of embeddings, after the last task. A number marks the embedding "
        f"that was learnt for that task.</p>{images}"
    )


def _text(found: EmbeddingMap) -> str:
    n_tasks, n_points = len(found.accuracy_TMN), found.accuracy_TMN[0].size
    return (
        f"{found.label}, seed {found.seed}: test accuracy of {n_tasks} tasks at {n_points:,} "
        f"embeddings each, {found.n_images:,} images or more per task"
    )


def _bytes(found: EmbeddingMap, ending: str) -> bytes:
    sink = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending, {})
        figure(found).savefig(sink, format=ending, dpi=150, metadata=metadata)
    return sink.getvalue()
