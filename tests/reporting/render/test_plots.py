"""What the figure shows and where: views, artists, files and looks."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from clsweep.reporting.comparison_building import compare
from clsweep.reporting.render import plots, views
from clsweep.reporting.render.plots import line_style
from clsweep.reporting.render.styles import RING, curve_styles, reference_styles
from clsweep.reporting.report_data import ReportData
from tests.support.records import Record, make_record, split_rows

Pair = tuple[float, float]

CURVES: dict[str, list[Pair]] = {
    "EWC": [(0.6, 0.9), (0.8, 0.86), (0.9, 0.7)],
    "replay": [(0.7, 0.94), (0.92, 0.92), (0.93, 0.85)],
}
REFERENCES: dict[str, tuple[str, Pair]] = {
    "fine-tuning": ("finetune", (0.65, 0.95)),
    "joint": ("joint", (0.95, 0.95)),
}


def records_of(
    curves: dict[str, list[Pair]],
    references: dict[str, tuple[str, Pair]],
    n_seeds: int = 1,
    test: dict[Pair, Pair] | None = None,
) -> list[Record]:
    """Test data are one percent below validation data where `test` says nothing else."""
    made = []
    for seed in range(n_seeds):
        for label, pairs in curves.items():
            for i, pair in enumerate(pairs):
                luck = 0.01 * seed
                x, y = (test or {}).get(pair, (pair[0] - 0.01, pair[1] - 0.01))
                rows = split_rows(pair, (x - luck, y))
                hyper = {"lam": 10.0**i, "name": label}
                made.append(make_record(label, "ewc", seed, hyper, {"lam": 10.0**i}, rows))
        for label, (method, pair) in references.items():
            rows = split_rows(pair, (pair[0] - 0.01, pair[1] - 0.01))
            made.append(make_record(label, method, seed, {}, {}, rows, is_reference=True))
    return made


def data_of(
    curves: dict[str, list[Pair]] = CURVES,
    references: dict[str, tuple[str, Pair]] = REFERENCES,
    n_seeds: int = 1,
    **more: Any,
) -> ReportData:
    records = records_of(curves, references, n_seeds, **more)
    comparison = compare(records, labels=list(curves), drops=[0.01, 0.05])
    return ReportData(comparison, "study", "split digits", 2, True, {}, ())


def drawn(data: ReportData, view: views.View | None = None) -> tuple[Figure, Axes]:
    made = plots.figure(data, view or views.views(data)[0])
    (axes,) = made.axes
    return made, axes


def lines(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_label() == label]


def points(line: Line2D) -> list[list[float]]:
    return np.round(np.asarray(line.get_xydata()), 6).tolist()


def is_head(line: Line2D) -> bool:
    return (
        line.get_linestyle() == "None"
        and line.get_markerfacecolor() == "white"
        and (not line.get_clip_on())
    )


def notes(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


class TestViews:
    def test_all_in_one_where_everything_competes(self) -> None:
        curves = {"EWC": [(0.86, 0.9), (0.9, 0.86), (0.88, 0.89)]}
        view, everything = views.views(data_of(curves, {"joint": ("joint", (0.9, 0.9))}))
        assert everything is None
        # From 85 to 89 on both axes, and seven percent of the span beyond it.
        np.testing.assert_allclose(view, [84.72, 89.28, 84.72, 89.28])

    def test_what_does_not_compete_is_left_out_of_the_first_only(self) -> None:
        curves = {"EWC": [(0.2, 0.93), (0.88, 0.9), (0.9, 0.87), (0.95, 0.1)]}
        data = data_of(curves, {"joint": ("joint", (0.9, 0.9))})
        view, everything = views.views(data)
        assert everything is not None
        outside, inside = np.array([[19, 92], [94, 9.0]]), np.array([[87, 89], [89, 86.0]])
        assert not view.holds(outside).any()
        assert view.holds(inside).all()
        assert everything.holds(np.concatenate([outside, inside])).all()

    def test_what_tables_print_is_inside(self) -> None:
        curves = {"good": [(0.95, 0.95)], "bad": [(0.3, 0.91)], "worst": [(0.1, 0.1)]}
        view, _ = views.views(data_of(curves))
        assert view.holds(np.array([[94, 94], [29, 90], [9, 9.0]])).all()

    def test_one_point_has_room_around_it(self) -> None:
        view, everything = views.views(data_of({"EWC": [(0.5, 0.5)]}, {}))
        assert everything is None
        np.testing.assert_allclose(view, [47.86, 50.14, 47.86, 50.14])

    def test_no_room_beyond_a_hundred_percent(self) -> None:
        view, _ = views.views(data_of({"EWC": [(1.0, 1.0)]}, {}, test={(1.0, 1.0): (1.0, 1.0)}))
        assert max(view) <= 100.15

    def test_of_nothing(self) -> None:
        failed = [make_record(status="failed")]
        data = ReportData(compare(failed), "study", "split", 2, True, {}, ())
        assert views.views(data) == (views.View(0, 100, 0, 100), None)
        _, axes = drawn(data)
        assert "no configuration has finished with every seed" in notes(axes)

    def test_what_diverged_is_said_not_to_be_drawn(self) -> None:
        records = records_of(CURVES, REFERENCES)
        records[0] = {**records[0], "trial": {**records[0]["trial"], "status": "diverged"}}
        figure, _ = drawn(ReportData(compare(records), "study", "split", 2, True, {}, ()))
        (legend,) = figure.legends
        texts = [" ".join(text.get_text().split()) for text in legend.get_texts()]
        assert "diverged, not drawn: EWC 1 of 3" in texts
        lost = [make_record(status="diverged")]
        _, axes = drawn(ReportData(compare(lost), "study", "split", 2, True, {}, ()))
        assert "every configuration has diverged with a seed, or not finished" in notes(axes)


class TestFigure:
    def test_one_line_per_curve_at_its_test_accuracies(self) -> None:
        _, axes = drawn(data_of())
        (ewc,), (replay,) = lines(axes, "EWC"), lines(axes, "replay")
        assert points(ewc) == [[59, 89], [79, 85], [89, 69]]
        assert points(replay) == [[69, 93], [91, 91], [92, 84]]
        assert ewc.get_color() != replay.get_color()

    def test_only_the_front_is_joined_and_every_point_is_shown(self) -> None:
        _, axes = drawn(data_of({"EWC": [(0.6, 0.9), (0.5, 0.5), (0.9, 0.7)]}))
        assert points(lines(axes, "EWC")[0]) == [[59, 89], [89, 69]]
        assert [[49, 49]] in [points(line) for line in axes.lines]
        texts = [text.get_text() for text in axes.figure.legends[0].get_texts()]
        assert "not on the front" in texts

    def test_points_are_joined_in_the_order_of_validation_data(self) -> None:
        swapped = {(0.8, 0.8): (0.82, 0.8), (0.81, 0.7): (0.8, 0.7)}
        data = data_of({"EWC": [(0.7, 0.9), (0.8, 0.8), (0.81, 0.7)]}, test=swapped)
        _, axes = drawn(data)
        assert points(lines(axes, "EWC")[0]) == [[69, 89], [82, 80], [80, 70]]

    def test_the_best_average_has_a_ring(self) -> None:
        _, axes = drawn(data_of())
        rings = [points(line) for line in axes.lines if line.get_markersize() == RING["ms"]]
        assert [[79.0, 85.0]] in rings
        assert [[91.0, 91.0]] in rings

    def test_references_have_their_names(self) -> None:
        data = data_of()
        _, axes = drawn(data, views.View(50, 100, 60, 100))
        assert points(lines(axes, "fine-tuning")[0]) == [[64, 94]]
        assert points(lines(axes, "joint")[0]) == [[94, 94]]
        assert {"fine-tuning", "joint"} <= set(notes(axes))

    @pytest.mark.parametrize(
        ("view", "at", "way"),
        [
            (views.View(70, 100, 60, 100), (70, 94), (-1, 0)),
            (views.View(50, 60, 60, 100), (60, 94), (1, 0)),
            (views.View(50, 100, 60, 90), (64, 90), (0, 1)),
            (views.View(50, 100, 95, 99), (64, 95), (0, -1)),
            (views.View(70, 100, 60, 90), (70, 90), (-1, 1)),
        ],
    )
    def test_a_reference_outside_has_an_arrow_and_no_marker(
        self, view: views.View, at: tuple[float, float], way: tuple[int, int]
    ) -> None:
        made, axes = drawn(data_of(), view)
        assert lines(axes, "fine-tuning") == []
        assert "fine-tuning (64.0, 94.0)" in notes(axes)
        ends = [(t.xy, t.xyann) for t in axes.texts if isinstance(t, Annotation) if t.arrow_patch]
        assert (at, (-18 * way[0], -18 * way[1])) in [
            (tuple(np.round(end, 6)), start) for end, start in ends
        ]
        legend = [t.get_text() for t in made.legends[0].get_texts()]
        assert any(text.startswith("fine-tuning: outside") for text in legend)

    def test_a_line_that_leaves_the_axes_has_a_head_there(self) -> None:
        view = views.View(50, 100, 80, 100)
        made, axes = drawn(data_of(references={}), view)
        heads = {(line.get_marker(), *points(line)[0]) for line in axes.lines if is_head(line)}
        # EWC's front, a percent below validation's, goes from (79, 85) to (89, 69).
        assert heads == {("v", 82.125, 80.0)}
        legend = [t.get_text() for t in made.legends[0].get_texts()]
        assert "line goes on outside" in legend
        whole, axes = drawn(data_of(references={}), views.View(0, 100, 0, 100))
        assert not any(map(is_head, axes.lines))
        texts = [t.get_text() for t in whole.legends[0].get_texts()]
        assert "line goes on outside" not in texts

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("n" * 24, "n" * 24),
            ("n" * 60, "n" * 24 + "…"),
            ("joint training that goes on and on", "joint training that goes…"),
        ],
    )
    def test_a_long_name_is_whole_in_the_legend_only(self, name: str, shown: str) -> None:
        made, axes = drawn(data_of(CURVES, {name: ("joint", (0.9, 0.9))}))
        assert shown in notes(axes)
        legend = [t.get_text() for t in made.legends[0].get_texts()]
        assert name.replace(" ", "") in ["".join(text.split()) for text in legend]

    def test_required_accuracies_are_marked(self) -> None:
        _, axes = drawn(data_of(), views.View(50, 100, 90, 100))
        heights = {tuple(np.round(np.asarray(line.get_ydata()), 6)) for line in axes.lines}
        assert (93.0, 93.0) in heights
        assert "−1" in notes(axes)
        # 89 % lies below the view.
        assert "−5" not in notes(axes)

    def test_legend(self) -> None:
        made, _ = drawn(data_of())
        texts = [text.get_text() for text in made.legends[0].get_texts()]
        assert texts == [
            *("EWC", "replay", "fine-tuning", "joint"),
            "chosen: best average\non validation data",
            "target so many points\nbelow fine-tuning",
        ]

    @pytest.mark.parametrize("n_seeds", [2, 3])
    def test_points_have_their_errors_in_both_directions_and_every_seed(
        self, n_seeds: int
    ) -> None:
        made, axes = drawn(data_of(n_seeds=n_seeds))
        assert not axes.collections
        # The first point of EWC: source 59, 58 (and 57), a mean in the middle; target 89.
        sources = [59.0 - seed for seed in range(n_seeds)]
        mean = np.mean(sources)
        error = np.std(sources, ddof=1) / np.sqrt(n_seeds)
        shown = [points(line) for line in axes.lines]
        ends = np.round([[mean - error, 89], [mean + error, 89]], 6).tolist()
        assert ends in shown
        assert [[mean, 89], [mean, 89]] in shown
        (each,) = (s for s in shown if len(s) == 3 * n_seeds and [59.0, 89.0] in s)
        assert {(x, 89.0) for x in sources} <= {(x, y) for x, y in each}
        texts = [text.get_text() for text in made.legends[0].get_texts()]
        assert f"mean ± standard error\nof {n_seeds} seeds" in texts
        assert "one seed" in texts

    def test_names_of_references_keep_off_what_is_drawn(self) -> None:
        # The front passes to the upper right of the marker, where a name would stand first.
        curve = [(0.47 + 0.01 * i, 0.93 - 0.004 * i) for i in range(10)]
        data = data_of({"EWC": curve}, {"joint": ("joint", (0.5, 0.9))})
        _, axes = drawn(data, views.View(40, 80, 80, 100))
        (name,) = (text for text in axes.texts if text.get_text() == "joint")
        assert (name.get_ha(), name.get_va()) == ("right", "bottom")

    def test_axes_say_what_they_are(self) -> None:
        _, axes = drawn(data_of())
        assert axes.get_xlabel() == "source accuracy, task 1 (%)"
        assert axes.get_ylabel() == "target accuracy, task 2 (%)"
        assert axes.get_title(loc="left") == "study: split digits"

    @pytest.mark.parametrize("label", ["$x_1$", "_x", "[b]", "\\frac{", "a" * 60, "é→λ"])
    def test_labels_are_drawn_as_they_are(self, label: str) -> None:
        made, _ = drawn(data_of({label: CURVES["EWC"]}, {label + "!": ("joint", (0.9, 0.9))}))
        first = made.legends[0].get_texts()[0].get_text()
        assert first.replace("\n", "") == label
        made.savefig(io.BytesIO(), format="svg")

    def test_many_curves_fit_their_legend(self) -> None:
        data = data_of({f"method {i}": CURVES["EWC"] for i in range(30)})
        made, _ = drawn(data)
        made.draw_without_rendering()
        box = made.legends[0].get_window_extent()
        assert box.y0 >= 0
        assert box.y1 <= made.bbox.height


class TestFiles:
    names = ("front.png", "front.svg", "front_all.png", "front_all.svg")

    def test_png_and_svg_of_both_views(self, tmp_path: Path) -> None:
        wide = data_of({"EWC": [(0.1, 0.93), (0.9, 0.9)]}, {})
        assert [p.name for p in plots.draw(wide, tmp_path / "front")] == list(self.names)
        assert sorted(p.name for p in tmp_path.iterdir()) == list(self.names)
        assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (tmp_path / "front_all.svg").read_bytes()

    def test_no_second_view_where_all_fits_and_none_of_an_earlier_report(
        self, tmp_path: Path
    ) -> None:
        for name in self.names:
            (tmp_path / name).write_bytes(b"of an earlier report")
        close = data_of({"EWC": [(0.9, 0.9)]}, {})
        assert [p.name for p in plots.draw(close, tmp_path / "front")] == list(self.names[:2])
        assert sorted(p.name for p in tmp_path.iterdir()) == list(self.names[:2])
        assert (tmp_path / "front.png").stat().st_size > 1000


class TestLooks:
    def test_no_two_curves_look_the_same(self) -> None:
        curves = data_of({f"{i:03}": [(0.5, 0.5)] for i in range(60)}, {}).comparison.curves
        looks = curve_styles(curves)
        assert len({(look.colour, look.marker, str(look.dashes)) for look in looks}) == 60
        # Without colour, marker and line style are still enough.
        assert len({(look.marker, str(look.dashes)) for look in looks}) == 60

    def test_neighbours_differ_in_all_three(self) -> None:
        curves = data_of({str(i): [(0.5, 0.5)] for i in range(7)}, {}).comparison.curves
        for one, other in itertools.combinations(curve_styles(curves), 2):
            assert all(a != b for a, b in zip(one, other, strict=True))

    def test_lines_show_on_white(self) -> None:
        curves = data_of({str(i): [(0.5, 0.5)] for i in range(7)}, {}).comparison.curves
        styles = [line_style(look) for look in curve_styles(curves)]
        assert [s["color"] for s in styles if s["path_effects"]] == ["#F0E442"]

    def test_references_have_markers_of_their_own(self) -> None:
        references = {name: (name, (0.5, 0.5)) for name in ("finetune", "frozen", "joint", "x")}
        made = data_of({}, {**references, "y": ("y", (0.5, 0.5))}).comparison.references
        markers = [style["marker"] for style in reference_styles(made)]
        assert len(set(markers)) == 5
        assert {s["color"] for s in reference_styles(made)} == {"black"}
