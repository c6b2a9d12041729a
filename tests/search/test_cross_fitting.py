"""Choices by some seeds, read on the others: against brute force, by hand, and what they cover."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from clsweep.reporting.comparison_building import compare
from clsweep.reporting.inference import ACCURACY, interval
from clsweep.reporting.judging import judge
from clsweep.reporting.scoring import scores
from clsweep.search import selection_protocols
from clsweep.search.cross_fitting import (
    folds_by_label,
    halved_average,
    halved_required,
    halvings,
    read_by_halves,
)
from clsweep.search.selection_protocols import pick, protocol_of
from clsweep.search.validation_table import Candidate, ValidationTable
from tests.support.records import Record, make_record, make_study, split_rows

Array = NDArray[np.float64]


def candidate(
    name: str, source_S: Array, target_S: Array, method: str = "ewc", n_target: int = 0
) -> Candidate:
    acc = np.full((len(source_S), 3, 2), np.nan)
    acc[:, 2, 0], acc[:, 2, 1] = source_S, target_S
    label = "fine-tuning" if method == "finetune" else "EWC"
    knobs = {} if method == "finetune" else {"lam": float(name)}
    return Candidate(name, label, method, method == "finetune", knobs, {}, {}, acc, n_target)


def drawn_table(n_seeds: int, seed: int = 0, n_target: int = 0) -> ValidationTable:
    """Six configurations that luck orders, and two of fine-tuning."""
    rng = np.random.default_rng(seed)

    def values(mean: float) -> Array:
        return np.clip(mean + rng.normal(0, 0.03, n_seeds), 0, 1)

    made = [
        candidate(str(k), values(0.6 + k / 50), values(0.9 - k / 50), n_target=n_target)
        for k in range(6)
    ]
    made += [candidate(f"tuned {k}", values(0.3), values(0.93), "finetune") for k in range(2)]
    return ValidationTable(tuple(range(n_seeds)), 2, tuple(made))


class TestHalvings:
    @pytest.mark.parametrize(("n", "n_rows"), [(2, 2), (3, 3), (4, 6), (6, 20), (9, 126)])
    def test_all_of_up_to_nine_seeds(self, n: int, n_rows: int) -> None:
        found = halvings(n)
        assert found.shape == (n_rows, n)
        assert (found.sum(axis=1) == (n + 1) // 2).all()
        assert len({tuple(row) for row in found}) == n_rows

    @pytest.mark.parametrize("n", [10, 11, 40, 201])
    def test_of_more_seeds_some_in_which_all_are_read(self, n: int) -> None:
        found = halvings(n)
        assert found.shape == (120, n)
        assert (found.sum(axis=1) == (n + 1) // 2).all()
        assert (found.sum(axis=0) < 120).all()
        if n % 2 == 0:
            assert (found.sum(axis=0) == 60).all()

    def test_read_by_halves_by_hand(self) -> None:
        # Of three seeds two choose: halving (0, 1) reads seed 2, (0, 2) seed 1, (1, 2) seed 0.
        test_PS = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
        np.testing.assert_allclose(read_by_halves(test_PS, np.array([0, 1, 0])), [0.1, 0.5, 0.3])


class TestAgainstBruteForce:
    @staticmethod
    def halves(n: int) -> Iterator[list[int]]:
        for row in halvings(n):
            yield np.flatnonzero(row).tolist()

    @pytest.mark.parametrize("n_seeds", [2, 3, 5, 6, 12])
    def test_the_best_average(self, n_seeds: int) -> None:
        table = drawn_table(n_seeds)
        own = table.of("EWC")
        found = [own[i].config_id for i in halved_average(own)]
        parts = (table.of_seeds(half).of("EWC") for half in self.halves(n_seeds))
        assert found == [c.config_id for p in parts if (c := selection_protocols.best_average(p))]

    @pytest.mark.parametrize(("n_seeds", "seed"), [(3, 17), (5, 1), (6, 0), (12, 16)])
    def test_equal_counts_tie_however_their_sums_round(self, n_seeds: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        counts = rng.integers(20, 125, n_seeds) / 125
        drawn = [[rng.permutation(counts) for _ in range(2)] for _ in range(4)]
        own = [candidate(str(k), *values_2S) for k, values_2S in enumerate(drawn)]
        table = ValidationTable(tuple(range(n_seeds)), 2, tuple(own))
        found = [own[i].config_id for i in halved_average(own)]
        parts = (table.of_seeds(half).of("EWC") for half in self.halves(n_seeds))
        assert found == [c.config_id for p in parts if (c := selection_protocols.best_average(p))]

    @pytest.mark.parametrize("n_seeds", [2, 3, 5, 6])
    @pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
    @pytest.mark.parametrize("n_target", [0, 130])
    def test_the_most_source(self, n_seeds: int, margin: float, n_target: int) -> None:
        table = drawn_table(n_seeds, n_target=n_target)
        own, tuned = table.of("EWC"), table.references("finetune")
        found = [own[i].config_id for i in halved_required(own, tuned, 0.02, margin)]
        expected = []
        for half in self.halves(n_seeds):
            part = table.of_seeds(half)
            best = selection_protocols.best_finetuned(part)
            assert best is not None
            chosen = selection_protocols.nearest_source(part.of("EWC"), best, 0.02, margin)
            expected.append(chosen and chosen.config_id)
        assert found == expected

    @pytest.mark.parametrize("name", ["average", "target", "required-2", "decay", "first-2"])
    def test_folds_are_the_protocol_without_a_seed(self, name: str) -> None:
        table, rule = drawn_table(5), protocol_of(name, 1.0)
        found = folds_by_label(rule, table)["EWC"]
        for s, config_id in enumerate(found.config_ids):
            others = table.of_seeds([i for i in range(5) if i != s])
            assert others.seeds == tuple(i for i in range(5) if i != s)
            assert pick(rule, others)[0].config_id == config_id

    def test_one_seed_has_no_folds(self) -> None:
        assert folds_by_label(protocol_of("average"), drawn_table(1)) == {}

    def test_of_seeds_is_what_its_accuracies_say(self) -> None:
        (one, *_) = drawn_table(4).candidates
        part = one.of_seeds([3, 1])
        fresh = Candidate(*(getattr(part, name) for name in part.__dataclass_fields__))
        for name in ("average_S", "source_S", "target_S"):
            np.testing.assert_array_equal(getattr(part, name), getattr(fresh, name))


def trial(lam: float, seed: int, validation: float, test: float) -> Record:
    rows = split_rows((validation, validation), (test, test))
    return make_record("EWC", "ewc", seed, {"lam": lam}, accuracy=rows)


class TestByHand:
    """Seed 0 alone makes λ = 1 the better one: 0.76 on average, against 0.75."""

    VALIDATION = {1.0: (0.98, 0.6, 0.7), 2.0: (0.75, 0.75, 0.75)}
    TEST = {1.0: (0.97, 0.59, 0.69), 2.0: (0.2, 0.74, 0.77)}

    def records(self) -> list[Record]:
        return [
            trial(lam, s, self.VALIDATION[lam][s], self.TEST[lam][s])
            for lam in (1.0, 2.0)
            for s in range(3)
        ]

    def test_every_seed_is_read_under_the_choice_of_the_others(self) -> None:
        (score,) = scores(compare(self.records()), protocol_of("average"))
        assert score.index == 0
        assert score.crossfit is not None
        # Without seed 0, λ = 2; without 1 and 2, λ = 1.
        np.testing.assert_allclose(score.crossfit.average_S, [0.2, 0.59, 0.69])
        assert score.crossfit.n_other == 1

    def test_plain_and_cross_fitted_interval_are_enclosed(self) -> None:
        made = judge(compare(self.records())).fronts[0].best_average
        plain = interval(np.array(self.TEST[1.0]), ACCURACY)
        # Two of three seeds choose, so that here the halvings are all seeds but one.
        halved = interval(np.array([0.2, 0.59, 0.69]), ACCURACY)
        assert made is not None
        assert made.mean == pytest.approx(0.75)
        assert (made.low, made.high) == pytest.approx(
            (min(plain.low, halved.low), max(plain.high, halved.high))
        )
        assert made.low < plain.low

    def test_seeds_that_are_all_equal_have_no_interval(self) -> None:
        records = [trial(lam, s, lam / 10, 0.5) for lam in (1.0, 2.0) for s in range(3)]
        made = judge(compare(records)).fronts[0].best_average
        assert made is not None
        assert made.absence == "seeds all equal"

    def test_seeds_that_choose_are_not_shown(self) -> None:
        made = compare(self.records(), choose_on=(1, 2))
        assert (made.seeds, made.choose_on, made.validation.seeds) == ((0,), (1, 2), (1, 2))
        (curve,) = made.curves
        assert curve.best == 1
        np.testing.assert_allclose(curve.points[1].test_S2, [[0.2, 0.2]])
        np.testing.assert_allclose(curve.points[0].validation_S2, [[0.6, 0.6], [0.7, 0.7]])
        (score,) = scores(made, protocol_of("average"))
        assert score.crossfit is None
        assert judge(made).selection == "other seeds"

    def test_their_validation_front_picks_the_points_of_every_seed(self) -> None:
        made = compare(self.records(), choose_on=(0,))
        # λ = 1 is all of the front of seed 0; its own test points give the areas.
        np.testing.assert_allclose(made.curves[0].hypervolumes, [0.59**2, 0.69**2])

    @pytest.mark.parametrize("choose_on", [(7,), (0, 1, 2), ()])
    def test_all_choose_where_none_can_be_spared(self, choose_on: tuple[int, ...]) -> None:
        made = compare(self.records(), choose_on=choose_on)
        assert (made.seeds, made.choose_on) == ((0, 1, 2), ())


class TestFirewall:
    def test_seeds_that_are_shown_choose_nothing(self) -> None:
        records = make_study(("EWC", "SI"), n_values=7, n_seeds=4)

        def turned(record: Record) -> Record:
            rows = [[*row[:3], row[4] - row[3], row[4]] for row in record["accuracy"]]
            return {
                **record,
                "accuracy": rows if record["trial"]["seed"] > 1 else record["accuracy"],
            }

        clean = compare(records, drops=[0.01], choose_on=(0, 1), margin=1.0)
        other = compare(list(map(turned, records)), drops=[0.01], choose_on=(0, 1), margin=1.0)
        for one, two in zip(clean.all_curves, other.all_curves, strict=True):
            assert one.best == two.best
            assert one.on_front.tolist() == two.on_front.tolist()
        assert clean.requirements[0].chosen == other.requirements[0].chosen

    def test_test_counts_change_no_fold(self) -> None:
        records = make_study(("EWC", "SI"), n_values=7, n_seeds=4)
        poisoned = [
            {
                **record,
                "accuracy": [
                    [*row[:3], row[4] - row[3], row[4]] if row[2] == "test" else row
                    for row in record["accuracy"]
                ],
            }
            for record in records
        ]
        one, two = (compare(r).validation for r in (records, poisoned))
        for name in ("average", "target", "required-1", "decay"):
            rule = protocol_of(name, 1.0)
            assert folds_by_label(rule, one) == folds_by_label(rule, two)
        for label in one.labels:
            own, theirs = one.of(label), two.of(label)
            np.testing.assert_array_equal(halved_average(own), halved_average(theirs))
            found, expected = (
                halved_required(part, table.references("finetune"), 0.01, 1.0)
                for part, table in ((own, one), (theirs, two))
            )
            np.testing.assert_array_equal(found, expected)


def coverage(means: Array, n_seeds: int, n_studies: int) -> dict[str, float]:
    """How often 95 % intervals hold for a method whose configuration was chosen.

    Validation and test accuracies of a seed have the same luck, but for a tenth of it.
    """
    rng = np.random.default_rng(5)
    held: dict[str, list[bool]] = {
        "plain": [],
        "all but one": [],
        "enclosing": [],
        "choose_on": [],
    }
    half = n_seeds // 2
    for _ in range(n_studies):
        luck_PS = rng.normal(0, 0.025, (len(means), n_seeds))
        test_PS = means[:, None] + luck_PS
        seen_PS = test_PS + rng.normal(0, 0.0025, test_PS.shape)
        own = [candidate(str(k), row, row) for k, row in enumerate(seen_PS)]
        best = int(seen_PS.mean(axis=1).argmax())
        plain = interval(test_PS[best], ACCURACY)
        halved = interval(read_by_halves(test_PS, halved_average(own)), ACCURACY)
        without = [(seen_PS.sum(axis=1) - seen_PS[:, s]).argmax() for s in range(n_seeds)]
        others = interval(test_PS[without, np.arange(n_seeds)], ACCURACY)
        split = int(seen_PS[:, :half].mean(axis=1).argmax())
        shown = interval(test_PS[split, half:], ACCURACY)
        truth = float(means[best])
        held["plain"].append(plain.low <= truth <= plain.high)
        held["all but one"].append(others.low <= truth <= others.high)
        low, high = min(plain.low, halved.low), max(plain.high, halved.high)
        held["enclosing"].append(low <= truth <= high)
        held["choose_on"].append(shown.low <= means[split] <= shown.high)
    return {name: float(np.mean(values)) for name, values in held.items()}


class TestCoverage:
    """Twelve configurations; `benchmarks/coverage.py` has more, and pairs."""

    def test_of_equal_configurations(self) -> None:
        found = coverage(np.full(12, 0.8), n_seeds=6, n_studies=300)
        assert found["plain"] < 0.88
        assert found["all but one"] < 0.9
        assert 0.93 <= found["enclosing"] <= 0.99
        assert 0.92 <= found["choose_on"] <= 0.98

    def test_of_a_curve(self) -> None:
        means = 0.8 - 0.01 * np.abs(np.arange(12) - 4) ** 1.5
        found = coverage(means, n_seeds=6, n_studies=300)
        assert found["all but one"] < 0.93
        assert 0.93 <= found["enclosing"] <= 0.985
        assert 0.92 <= found["choose_on"] <= 0.98

    def test_of_a_choice_that_is_clear(self) -> None:
        found = coverage(np.array([0.8, *[0.5] * 11]), n_seeds=6, n_studies=300)
        assert len({found[name] for name in ("plain", "all but one", "enclosing")}) == 1
        assert 0.92 <= found["enclosing"] <= 0.98
