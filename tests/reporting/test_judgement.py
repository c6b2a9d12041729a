"""Fronts in numbers by hand: normalised hypervolume, good region, intervals."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from clsweep.methods.information_needs import NOTHING_MORE, task_identity_text
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.comparison_building import compare
from clsweep.reporting.inference import ACCURACY, differences
from clsweep.reporting.judging import _enclosing_pairs, judge
from clsweep.reporting.render import plots, views
from clsweep.reporting.render.judgement_tables import (
    _difference,
    _no_interval_text,
    pair_table,
    source_pair_table,
)
from clsweep.reporting.render.one_screen import screen_lines
from clsweep.reporting.render.page_values import page_values
from clsweep.reporting.render.tables import grouped_by_needs, on_terminal, tables
from clsweep.reporting.report_building import build
from clsweep.reporting.result_tables import pairs_table
from clsweep.reporting.scoring import scores
from clsweep.search.selection_protocols import protocol_of
from tests.support.records import Record, make_record, make_study, split_rows, write_study

Pair = tuple[float, float]


def trial(lam: float, seed: int, validation: Pair, test: Pair | None = None) -> Record:
    rows = split_rows(validation, test)
    return make_record("EWC", "ewc", seed, {"lam": lam}, accuracy=rows)


def reference(method: str, seed: int, test: Pair) -> Record:
    return make_record(method, method, seed, {}, {}, split_rows(test), is_reference=True)


def study(n_seeds: int = 2, with_frozen: bool = True) -> Comparison:
    records = []
    for seed in range(n_seeds):
        records += [
            trial(1.0, seed, (0.5, 0.9), (0.6, 0.8)),
            trial(10.0, seed, (0.9, 0.5), (0.8, 0.6)),
            reference("finetune", seed, (0.4, 0.9)),
        ]
        if with_frozen:
            records.append(reference("frozen", seed, (0.9, 0.4)))
    return compare(records, drops=[0.01])


class TestNormalised:
    def test_by_hand(self) -> None:
        made = judge(study())
        # Beyond (0.4, 0.4): 0.2 · 0.4 + 0.2 · 0.2, of 0.5 · 0.5.
        np.testing.assert_allclose(made.fronts[0].normalised_S, [0.48, 0.48])
        assert made.is_normalised
        assert made.remark == ""

    def test_all_of_the_rectangle_is_one(self) -> None:
        records = [reference("finetune", 0, (0.4, 0.9)), reference("frozen", 0, (0.9, 0.4))]
        made = judge(compare([*records, trial(1.0, 0, (0.9, 0.9))]))
        np.testing.assert_allclose(made.fronts[0].normalised_S, [1.0])

    def test_each_seed_has_its_own_references(self) -> None:
        records = [
            *(trial(1.0, seed, (0.8, 0.8)) for seed in (0, 1)),
            *(reference("finetune", s, pair) for s, pair in enumerate(((0.6, 1.0), (0.0, 1.0)))),
            *(reference("frozen", s, pair) for s, pair in enumerate(((1.0, 0.6), (1.0, 0.0)))),
        ]
        made = judge(compare(records))
        np.testing.assert_allclose(made.fronts[0].normalised_S, [0.25, 0.64])

    def test_without_a_reference_the_reason_is_given(self) -> None:
        made = judge(study(with_frozen=False))
        assert made.remark == "no finished 'frozen' reference"
        assert made.fronts[0].normalised is None
        assert made.fronts[0].hypervolume is not None

    def test_references_that_span_nothing(self) -> None:
        records = [reference("finetune", 0, (0.9, 0.9)), reference("frozen", 0, (0.5, 0.4))]
        made = judge(compare([*records, trial(1.0, 0, (0.8, 0.8))]))
        assert "do not span a rectangle" in made.remark


class TestOneHead:
    """With one head the frozen trunk forgets, and the source model is the source end."""

    @staticmethod
    def tuned(seed: int, rows: list[tuple[int, int, float]]) -> Record:
        counted = [
            [after, on, split, round(1000 * value), 1000]
            for split in ("test", "validation")
            for after, on, value in rows
        ]
        return make_record("finetune", "finetune", seed, {}, {}, counted, is_reference=True)

    def test_two_tasks(self) -> None:
        seen = [(0, 0, 0.9), (0, 1, 0.4), (1, 0, 0.4), (1, 1, 0.9)]
        frozen = [reference("frozen", seed, (0.1, 0.8)) for seed in (0, 1)]
        tuned = [self.tuned(seed, seen) for seed in (0, 1)]
        curve = [trial(1.0, seed, (0.6, 0.8)) for seed in (0, 1)]
        curve += [trial(10.0, seed, (0.8, 0.6)) for seed in (0, 1)]
        for others in ([], frozen):
            comparison = compare([*tuned, *curve, *others], one_head=True)
            made = judge(comparison)
            assert made.is_normalised
            # Beyond (0.4, 0.4): 0.2 · 0.4 + 0.2 · 0.2, of 0.5 · 0.5.
            np.testing.assert_allclose(made.fronts[0].normalised_S, [0.48, 0.48])
            assert comparison.source_end is not None
            assert comparison.source_end.label == "source model"
            np.testing.assert_allclose(comparison.source_end.test_S2, [[0.9, 0.4]] * 2)
        # With a head per task the frozen trunk is the end, and here it spans nothing.
        assert not judge(compare([*tuned, *curve, *frozen])).is_normalised

    def test_chance_is_a_corner_for_a_target_that_was_not_evaluated(self) -> None:
        tuned = self.tuned(0, [(0, 0, 0.9), (1, 0, 0.4), (1, 1, 0.9)])
        records = [tuned, trial(1.0, 0, (0.6, 0.8))]
        made = compare(records, reference_point=(0.1, 0.25), one_head=True)
        assert made.source_end is not None
        np.testing.assert_array_equal(made.source_end.test_S2, [[0.9, np.nan]])
        np.testing.assert_allclose(made.source_end.corner_S2, [[0.9, 0.25]])
        assert made.source_end.unmeasured == "target: chance, not measured"
        made = compare(records, one_head=True)
        assert made.source_end is not None
        assert made.source_end.unmeasured == "target: 0, not measured"

    def test_what_was_not_measured_is_printed_nowhere_as_a_number(self, tmp_path: Path) -> None:
        said = "target: chance, not measured"
        for is_measured in (True, False):
            records = make_study(("EWC",), n_values=4)
            for record in records:
                before = [[0, 1, split, 2000, 10_000] for split in ("test", "validation")]
                record["accuracy"] = [*record["accuracy"], *before * is_measured]
            data = build(write_study(tmp_path / str(is_measured), records))
            assert data.judgement.is_normalised
            console = Console(file=io.StringIO(), width=200, record=True)
            console.print(*on_terminal(data, tables(data)), sep="\n")
            text = " ".join(console.export_text().split())
            number = r"\d+\.\d ± 0\.\d"
            average, target = (number, r"20\.0 ± 0\.0") if is_measured else ("–", "–")
            assert re.search(f"source model – {average} {number} {target} –", text)
            screen = " ".join(" ".join(line.text for line in screen_lines(data, 80)).split())
            short = r"\d+\.\d \(\d+\.\d, 20\.0\)" if is_measured else r"– \(\d+\.\d, –\)"
            assert re.search(rf"; source model {short}\.", screen)
            page = page_values(data)
            (point,) = next(s for s in page["series"] if s["label"] == "source model")["points"]
            notes = str(page["notes"])
            legend = plots.figure(data, views.views(data)[0]).legends[0].get_texts()
            drawn = " ".join(" ".join(entry.get_text().split()) for entry in legend)
            for where in (text, point["unmeasured"], notes, drawn):
                assert (said in where) is not is_measured
            assert text.count(said) == (0 if is_measured else 2)

    def test_more_tasks_count_each_right_after_it_was_learnt(self) -> None:
        rows = [(0, 0, 0.9), (1, 0, 0.3), (1, 1, 0.7), (1, 2, 0.2)]
        rows += [(2, 0, 0.1), (2, 1, 0.3), (2, 2, 0.6)]
        made = compare([self.tuned(0, rows)], one_head=True)
        assert made.source_end is not None
        assert made.source_end.label == "sources as learnt"
        np.testing.assert_allclose(made.source_end.test_S2, [[0.8, 0.2]])

    def test_without_fine_tuning_the_reason_is_given(self) -> None:
        made = judge(compare([trial(1.0, 0, (0.6, 0.8))], one_head=True))
        assert made.remark == "no finished 'finetune' reference"

    def test_the_report_says_so_everywhere(self, tmp_path: Path) -> None:
        folder = write_study(tmp_path / "results", make_study(("EWC",), n_values=4))
        data = build(folder)
        assert data.judgement.is_normalised
        console = Console(file=io.StringIO(), width=110, record=True)
        console.print(*on_terminal(data, tables(data)), sep="\n")
        text = " ".join(console.export_text().split())
        assert (
            "normalised hypervolume: share of the area between fine-tuning and the source model"
            in text
        )
        assert re.search(r"source model – – 97\.\d ± 0\.\d – –", text)
        names = [series["label"] for series in page_values(data)["series"]]
        assert "source model" in names
        figure = plots.figure(data, views.views(data)[0])
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        assert any(text.startswith("source model") for text in legend)


def test_the_measures_are_of_the_choices_of_validation() -> None:
    made = judge(study()).fronts[0]
    # By validation, lam = 1 is the one that reaches 0.89, and the first of two best averages.
    assert made.source_at[0] is not None
    assert made.source_at[0].mean == pytest.approx(0.6)
    assert made.best_average is not None
    assert made.best_average.mean == pytest.approx(0.7)


class TestGoodRegion:
    @staticmethod
    def region(averages: Sequence[float], first: float = 1.0):
        records = [trial(first * 10.0**i, 0, (value, value)) for i, value in enumerate(averages)]
        return judge(compare(records)).fronts[0].region

    def test_two_decades_inside(self) -> None:
        found = self.region((0.5, 0.895, 0.9, 0.89, 0.5))
        assert (found.low, found.high, found.at_edge) == (10.0, 1000.0, False)
        assert found.decades == pytest.approx(2)

    def test_a_good_value_beyond_a_bad_one_does_not_count(self) -> None:
        found = self.region((0.9, 0.5, 0.895, 0.5))
        assert (found.low, found.high, found.at_edge) == (1.0, 1.0, True)

    def test_at_the_edge(self) -> None:
        assert self.region((0.5, 0.6, 0.9)).at_edge

    def test_other_numbers_are_at_their_best(self) -> None:
        def pair(lam: float, value: float, gamma: float) -> Record:
            hyper = {"lam": lam, "gamma": gamma}
            rows = split_rows((value, value))
            return make_record("EWC", "ewc", 0, hyper, {"lam": lam}, rows)

        values = ((1.0, 0.5, 0.6), (10.0, 0.9, 0.1), (100.0, 0.2, 0.895), (1000.0, 0.5, 0.5))
        records = [pair(lam, v, g) for lam, *both in values for g, v in enumerate(both)]
        found = judge(compare(records)).fronts[0].region
        assert found is not None
        assert (found.low, found.high) == (10.0, 100.0)

    def test_test_data_do_not_move_it(self) -> None:
        records = [
            trial(10.0**i, 0, (v, v), (t, t))
            for i, (v, t) in enumerate(((0.5, 0.9), (0.9, 0.1), (0.5, 0.9)))
        ]
        found = judge(compare(records)).fronts[0].region
        assert found is not None
        assert (found.low, found.high) == (10.0, 10.0)

    def test_a_knob_of_one_value_has_none(self) -> None:
        assert self.region((0.9,)) is None


class TestInformation:
    def test_those_that_need_least_come_first(self) -> None:
        curves = compare(make_study(("replay", "SI", "LwF"), n_values=2, n_seeds=1)).all_curves
        uses = {"replay": ("a", "b"), "SI": ("a",), "joint": ("a",)}
        groups = [(n, [c.label for c in own]) for n, own in grouped_by_needs(curves, uses)]
        assert groups == [
            (NOTHING_MORE, ["LwF", "fine-tuning", "frozen trunk"]),
            ("a", ["SI", "joint"]),
            ("a and b", ["replay"]),
        ]

    def test_who_knows_the_task(self) -> None:
        assert "every method is told the task of a test example" in task_identity_text("task")
        assert "no method is told the task of a test example" in task_identity_text("class")
        assert "test example" not in task_identity_text("")


class TestPairs:
    def test_every_pair_by_both_measures(self, tmp_path: Path) -> None:
        made = judge(compare(make_study(("EWC", "SI", "replay"), n_values=5, n_seeds=6)))
        assert [len(p) for p in (made.average_pairs, made.hypervolume_pairs)] == [3, 3]
        (tmp_path / "pairs.parquet").write_bytes(pairs_table(made))
        rows = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
        assert {row["measure"] for row in rows} == {"average_accuracy", "normalised_hypervolume"}
        # The simulated fronts differ by far more than their noise.
        assert all(row["is_claim"] and row["low"] > 0 and row["n_seeds"] == 6 for row in rows)
        assert [(row["above"], row["below"]) for row in rows[:3]] == [
            ("replay", "SI"),
            ("EWC", "SI"),
            ("replay", "EWC"),
        ]

    def test_sources_at_required_targets_are_one_family_with_averages(
        self, tmp_path: Path
    ) -> None:
        comparison = compare(
            make_study(("EWC", "SI", "replay"), n_values=5, n_seeds=6), drops=[0.05]
        )
        made = judge(comparison, {"average": scores(comparison, protocol_of("average"))})
        (tmp_path / "pairs.parquet").write_bytes(pairs_table(made))
        rows = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
        by_measure = {
            name: [row for row in rows if row["measure"] == name]
            for name in ("average_accuracy", "source_accuracy_at_-5", "normalised_hypervolume")
        }
        assert [len(found) for found in by_measure.values()] == [3, 3, 3]
        assert sum(map(len, by_measure.values())) == len(rows)
        assert {row["n_at_once"] for row in by_measure["average_accuracy"]} == {6}
        assert {row["n_at_once"] for row in by_measure["normalised_hypervolume"]} == {3}
        kinds = {name: {row["selection"] for row in found} for name, found in by_measure.items()}
        assert list(kinds.values()) == [{"cross-fitted"}, {"cross-fitted"}, {"shared"}]
        fitted = {s.pick.label: s.crossfit for s in scores(comparison, protocol_of("average"))}
        for row in by_measure["average_accuracy"]:
            above, below = (fitted[row[name]] for name in ("above", "below"))
            assert above is not None
            assert below is not None
            difference = float(np.mean(above.average_S - below.average_S))
            assert row["crossfit_difference"] == pytest.approx(difference)
        alone = judge(compare(make_study(("EWC", "SI", "replay"), n_values=5, n_seeds=6)))
        for one, two in zip(alone.average_pairs, made.average_pairs, strict=True):
            assert one.interval.mean == two.interval.mean
            assert one.interval.high < two.interval.high

    def test_a_label_that_does_not_reach_a_target_has_no_pair_there(self) -> None:
        records = make_study(("EWC", "SI", "replay"), n_values=5, n_seeds=6)
        short = [
            record
            for record in records
            if record["config"]["label"] != "SI" or record["config"]["hyper"]["c"] > 100
        ]
        made = judge(compare(short, drops=[0.05]))
        assert [len(pairs) for pairs in (made.average_pairs, *made.source_pairs)] == [3, 1]
        assert made.fronts[1].source_at == (None,)
        rows = pq.read_table(pa.BufferReader(pairs_table(made))).to_pylist()
        of_family = [row for row in rows if "hypervolume" not in row["measure"]]
        assert [row["n_at_once"] for row in of_family] == [4] * 4

    def test_captions_say_what_holds_the_choice_and_who_has_no_pair(self, tmp_path: Path) -> None:
        records = make_study(("EWC", "SI", "replay"), n_values=5, n_seeds=3)
        short = [
            record
            for record in records
            if record["config"]["label"] != "SI" or record["config"]["hyper"]["c"] > 100
        ]
        data = build(write_study(tmp_path / "results", short))
        console = Console(file=io.StringIO(), width=110, record=True)
        console.print(*on_terminal(data, tables(data)), sep="\n")
        text = " ".join(console.export_text().split())
        # Hypervolume is of what each seed picks, and encloses nothing else.
        assert "for its 3 pairs (Student's t" in text
        assert "; intervals of averages enclose those of the chosen" in text
        assert "all 3 pairs of averages and 2 of sources at a required target hold" in text
        assert "–: one of the two does not reach it" in text

    def test_a_claim_is_one_by_all_seeds_and_by_halves(self) -> None:
        """A is ahead of B with every seed by its luckiest configuration, of twelve equal ones."""
        rng = np.random.default_rng(0)
        found = []
        for _ in range(60):
            records = []
            for seed in range(6):
                for lam in range(12):
                    value = float(np.clip(0.8 + rng.normal(0, 0.03), 0, 1))
                    rows = split_rows((value, value))
                    hyper = {"lam": float(lam + 1)}
                    records.append(make_record("A", "ewc", seed, hyper, accuracy=rows))
                value = float(np.clip(0.8 + rng.normal(0, 0.03), 0, 1))
                rows = split_rows((value, value))
                records.append(make_record("B", "mas", seed, {"lam": 1.0}, accuracy=rows))
            comparison = compare(records)
            values = np.array([c.points[c.best or 0].test_S2[:, 0] for c in comparison.curves])
            (plain,) = differences("AB", values, ACCURACY)
            (made,) = judge(comparison).average_pairs
            assert made.is_claim <= plain.is_claim
            assert made.interval.low <= plain.interval.low
            found.append((plain.is_claim, made.is_claim))
        by_plain, by_both = np.sum(found, axis=0)
        assert by_both < by_plain

    @pytest.mark.parametrize(
        ("of_halves", "is_claim"),
        [
            ([0.02, 0.03, 0.02, 0.03, 0.02, 0.03], True),
            # Equal with every seed, and so without an interval: ahead, equal, behind.
            ([0.01] * 6, True),
            ([0.0] * 6, False),
            ([-0.01] * 6, False),
            # Not told apart; and the other way round.
            ([0.02, -0.03, 0.02, 0.03, -0.02, 0.03], False),
            ([-0.02, -0.03, -0.02, -0.03, -0.02, -0.03], False),
        ],
    )
    def test_a_claim_is_an_interval_that_leaves_out_zero(
        self, of_halves: list[float], is_claim: bool
    ) -> None:
        base = np.full(6, 0.5)
        ahead = base + np.array([0.04, 0.05, 0.04, 0.06, 0.05, 0.04])
        (plain,) = differences("AB", np.array([ahead, base]), ACCURACY)
        (halved,) = differences("AB", np.array([base + np.array(of_halves), base]), ACCURACY)
        (made,) = _enclosing_pairs([plain], [halved])
        assert (made.above, made.is_claim, made.interval.low > 0) == ("A", is_claim, is_claim)
        assert made.interval.low <= min(np.mean(of_halves), plain.interval.low) + 1e-12
        assert made.interval.high == plain.interval.high

    @pytest.mark.parametrize(
        ("ahead", "printed"),
        [
            ([0.6, 0.7], "+16.0 (too few seeds)"),
            ([0.0, 1.0, 0.5], "+1.0 (too few seeds)"),
            ([0.59] * 6, "+10.0 (seeds all equal)"),
            ([0.6, 0.61, 0.62], "+12.0 [9.5, 14.5]  "),
            ([0.6, 0.61, 0.62] * 2, "+12.0 [11.1, 12.9] *"),
        ],
    )
    def test_a_difference_is_printed_with_its_interval_or_why_it_has_none(
        self, ahead: list[float], printed: str
    ) -> None:
        (found,) = differences("AB", np.array([ahead, [0.49] * len(ahead)]), ACCURACY)
        assert _difference(found, 100, 1) == printed

    def test_footnotes_say_what_stands_in_place_of_intervals(self, tmp_path: Path) -> None:
        wide = differences("AB", np.array([[0.0, 1.0, 0.5], [0.49] * 3]), ACCURACY)
        equal = differences("AB", np.array([[0.59] * 6, [0.49] * 6]), ACCURACY)
        sound = differences("AB", np.array([[0.6, 0.61, 0.62], [0.49] * 3]), ACCURACY)
        assert "as wide as all that is possible" in _no_interval_text(wide)
        assert "seeds all equal: they do not say" in _no_interval_text([*equal, *sound])
        assert "as wide" not in _no_interval_text([*equal, *sound])
        assert _no_interval_text(sound) == ""
        data = build(write_study(tmp_path / "two", make_study(("EWC", "MAS"), 4, n_seeds=2)))
        for table in (pair_table(data), source_pair_table(data)):
            assert "; too few seeds: fewer than three, or" in str(table.caption)

    def test_no_points_no_pairs(self) -> None:
        made = judge(compare([make_record(status="failed")]))
        assert made.average_pairs == ()
        assert made.fronts[0].best_average is None
