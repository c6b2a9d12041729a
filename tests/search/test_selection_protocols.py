"""What each protocol picks in a table made by hand, and that test counts reach none of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import clsweep
from clsweep.errors import StudyError
from clsweep.reporting.comparison_building import compare
from clsweep.reporting.ledger import LEDGER
from clsweep.reporting.render import plots
from clsweep.reporting.result_tables import picks_table
from clsweep.reporting.scoring import scores
from clsweep.search import selection_protocols
from clsweep.search.selection_protocols import pick, protocol_of, standard_protocols, target_error
from clsweep.search.stored_validation import read_validation
from clsweep.search.validation_table import Candidate, ValidationTable, validation_table
from tests.support.command_line import CommandLine
from tests.support.records import STUDY_TOML, make_record, make_study, split_rows, write_study

# R after task 1, 2, 3 of a sequence of three, in percent: rows of what was learnt, columns tested.
# lam          after 2 tasks   after 3 tasks        average  source  target
TABLES = {
    1.0: ([95, 96], [60, 70, 98]),  #                   76.0    65.0    98
    10.0: ([90, 97], [70, 80, 97]),  #                  82.3    75.0    97
    100.0: ([98, 94], [90, 88, 80]),  #                 86.0    89.0    80
    1000.0: ([98, 60], [96, 94, 50]),  #                80.0    95.0    50
}


def candidate(
    lam: float,
    after_2: list[float],
    after_3: list[float],
    lr: float = 0.1,
    label: str = "EWC",
    method: str = "ewc",
    knob: str = "lam",
) -> Candidate:
    acc = np.full((1, 4, 3), np.nan)
    acc[0, 1, 0] = 0.99
    acc[0, 2, :2] = np.array(after_2) / 100
    acc[0, 3] = np.array(after_3) / 100
    is_reference = method == "finetune"
    knobs = {} if is_reference else {knob: lam}
    config_id = f"{label} {lam:g} {lr:g}"
    return Candidate(config_id, label, method, is_reference, knobs, knobs, {"lr": lr}, acc)


def tuned(lr: float, target: float) -> Candidate:
    return candidate(0, [50, 99], [40, 50, target], lr, "fine-tuning", "finetune")


GRID = tuple(candidate(lam, *rows) for lam, rows in TABLES.items())
TABLE = ValidationTable((0,), 3, (*GRID, tuned(0.1, 99)))


def chosen(name: str, table: ValidationTable = TABLE, other: ValidationTable | None = None) -> str:
    (found,) = pick(protocol_of(name), table, other)
    return found.config_id or found.remark


class TestPicks:
    @pytest.mark.parametrize(
        ("name", "lam"),
        [
            ("average", 100),
            ("target", 1),
            ("required-1", 1),
            ("required-2", 10),
            # 100 lacks 19 points, and 1000 49.
            ("required-19", 100),
            ("required-49", 1000),
            # 0.8 · 99 = 79.2, and 0.81 · 99 = 80.2; 0.5 · 99 = 49.5.
            ("decay-0.2", 100),
            ("decay", 100),
            ("decay-0.19", 10),
            ("decay-0.5", 1000),
            ("decay-0.02", 1),
            ("first-2", 100),
        ],
    )
    def test_the_configuration_known_by_hand(self, name: str, lam: float) -> None:
        assert chosen(name) == f"EWC {lam:g} 0.1"

    def test_the_order_of_the_table_does_not_matter(self) -> None:
        turned = ValidationTable((0,), 3, TABLE.candidates[::-1])
        for protocol in standard_protocols((1.0, 5.0), 3, with_transfer=False):
            assert chosen(protocol.name, turned) == chosen(protocol.name)

    def test_the_mean_over_seeds_decides(self) -> None:
        lucky = candidate(5, [99, 99], [99, 99, 99])
        acc = np.concatenate([lucky.acc_STT, lucky.acc_STT * 0.5])
        two = [
            Candidate("lucky", "EWC", "ewc", False, {"lam": 5.0}, {}, {}, acc),
            Candidate(
                "steady", "EWC", "ewc", False, {"lam": 6.0}, {}, {}, np.full((2, 4, 3), 0.8)
            ),
        ]
        assert chosen("average", ValidationTable((0, 1), 3, tuple(two))) == "steady"

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("required-0", "no configuration reaches the required target"),
            ("decay-0", "no configuration reaches the required target"),
            ("first-3", "the sequence has only 3 tasks"),
            ("transfer", "no other benchmark was given"),
        ],
    )
    def test_no_choice_has_a_reason(self, name: str, reason: str) -> None:
        assert chosen(name) == reason

    @pytest.mark.parametrize("name", ["required-5", "decay"])
    def test_nothing_is_required_without_fine_tuning(self, name: str) -> None:
        without = ValidationTable((0,), 3, GRID)
        assert chosen(name, without) == "the study has no finished fine-tuning"


class TestMargin:
    """Three seeds, 100 validation examples: d = −2, −2, −5 points for one, 0 for the other."""

    @staticmethod
    def of(name: str, targets: list[float], source: float, method: str = "ewc") -> Candidate:
        acc = np.full((3, 4, 3), np.nan)
        acc[:, 3, :2], acc[:, 3, 2] = source / 100, np.array(targets) / 100
        is_reference = method == "finetune"
        label, knobs = ("fine-tuning" if is_reference else "EWC"), {"lam": 1.0}
        return Candidate(name, label, method, is_reference, knobs, knobs, {}, acc, 100)

    def table(self) -> ValidationTable:
        made = (
            self.of("bold", [97, 96, 93], 80),
            self.of("safe", [99, 98, 98], 60),
            self.of("tuned", [99, 98, 98], 40, "finetune"),
        )
        return ValidationTable((0, 1, 2), 3, made)

    def test_the_error_has_a_part_of_the_seeds_and_one_of_the_examples(self) -> None:
        bold, safe, finetuned = self.table().candidates
        # d = −2, −2, −5: variance 3 points², mean size 3 points.
        expected = np.sqrt(3e-4 / 3 + 0.03 * 0.97 / 100)
        assert target_error(bold, finetuned) == pytest.approx(expected)
        # Networks that agree need no margin.
        assert target_error(safe, finetuned) == 0

    def test_without_the_number_of_examples_there_is_no_part_of_them(self) -> None:
        bold, _, finetuned = self.table().candidates
        assert target_error(replace(bold, n_target=0), finetuned) == pytest.approx(0.01)

    def test_one_seed_has_no_part_of_the_seeds(self) -> None:
        bold, _, finetuned = (c.of_seeds([2]) for c in self.table().candidates)
        assert target_error(bold, finetuned) == pytest.approx(np.sqrt(0.05 * 0.95 / 100))

    @pytest.mark.parametrize(
        ("drop", "margin", "config_id"),
        [
            (3, 0, "bold"),
            (2.9, 0, "safe"),
            # The error is 1.98 points.
            (3, 1, "safe"),
            (4.9, 1, "safe"),
            (5, 1, "bold"),
            (6.9, 2, "safe"),
            (7, 2, "bold"),
            (0, 5, "safe"),
        ],
    )
    def test_a_choice_must_exceed_the_target_by_it(
        self, drop: float, margin: float, config_id: str
    ) -> None:
        (found,) = pick(protocol_of(f"required-{drop:g}", margin), self.table())
        assert found.config_id == config_id

    def test_it_is_said(self) -> None:
        said = protocol_of("required-2", 1.5).meaning
        assert said.endswith("by a margin of 1.5 standard errors")
        assert "standard error" not in protocol_of("required-2").meaning
        assert protocol_of("average", 1.0) == protocol_of("average")
        only = ValidationTable((0, 1, 2), 3, self.table().candidates[::2])
        (found,) = pick(protocol_of("required-3", 1.0), only)
        assert found.remark.endswith("the required target with the margin of 1 standard error")


class TestDecay:
    def test_the_learning_rate_is_that_of_the_best_fine_tuning(self) -> None:
        # At lr = 0.5 the requirement is met by λ = 1000, but fine-tuning prefers 0.1.
        others = [candidate(lam, *TABLES[1.0], lr=0.5) for lam in TABLES]
        table = ValidationTable((0,), 3, (*others, *GRID, tuned(0.5, 98), tuned(0.1, 99)))
        assert chosen("decay", table) == "EWC 100 0.1"
        better = ValidationTable((0,), 3, (*others, *GRID, tuned(0.5, 99), tuned(0.1, 98)))
        assert chosen("decay", better) == "EWC 1000 0.5"

    def test_a_grid_without_that_learning_rate_says_so(self) -> None:
        table = ValidationTable((0,), 3, (*GRID, tuned(0.5, 99)))
        (found,) = pick(protocol_of("decay"), table)
        assert found.config_id == "EWC 100 0.1"
        assert found.remark == "its grid lacks fine-tuning's learning rate"

    def test_a_knob_that_is_stable_at_its_low_end_is_walked_upwards(self) -> None:
        # β weighs the fine-tuned network: 0.2 and 0.6 meet the requirement, 0.1 does not.
        rows = {0.1: TABLES[1000.0], 0.2: TABLES[100.0], 0.6: TABLES[1.0]}
        grid = [candidate(b, *r, method="interpolate", knob="beta") for b, r in rows.items()]
        table = ValidationTable((0,), 3, (*grid, tuned(0.1, 99)))
        assert chosen("decay", table) == "EWC 0.2 0.1"


class TestTies:
    """Means of equal counts are equal, whatever their sums round to: the first in order."""

    @staticmethod
    def table(*seeds_of: tuple[float, ...]) -> ValidationTable:
        made = []
        for lam, values in enumerate(seeds_of, 1):
            one = candidate(float(lam), *TABLES[1.0])
            acc = np.repeat(one.acc_STT, len(values), axis=0)
            acc[:, 3] = np.array(values)[:, None]
            made.append(replace(one, acc_STT=acc))
        return ValidationTable((0, 1, 2), 3, (*made, tuned(0.1, 1)))

    @pytest.mark.parametrize("name", ["average", "target", "required-100"])
    def test_the_stated_order_decides(self, name: str) -> None:
        first, second = (0.1, 0.2, 0.3), (0.3, 0.2, 0.1)
        assert sum(first) != sum(second), "the sums of equal counts round apart"
        for values in ((first, second), (second, first)):
            assert chosen(name, self.table(*values)) == "EWC 1 0.1"
        one_more = (0.1, 0.2, 0.3 + 1e-6)
        assert chosen(name, self.table(first, one_more)) == "EWC 2 0.1"


class TestTransfer:
    def test_the_choice_of_the_other_benchmark_is_applied(self) -> None:
        other = ValidationTable(
            (0,), 3, (candidate(10, *TABLES[100.0]), candidate(100, *TABLES[1.0]))
        )
        assert chosen("transfer", TABLE, other) == "EWC 10 0.1"

    def test_numbers_that_are_not_in_the_grid_are_not_replaced(self) -> None:
        other = ValidationTable((0,), 3, (candidate(7, *TABLES[100.0]),))
        assert chosen("transfer", TABLE, other) == "the numbers chosen there are not in this grid"
        found = tuple(candidate(10, *TABLES[lam], lr=lr) for lam, lr in ((100.0, 0.2), (1.0, 0.1)))
        rate = ValidationTable((0,), 3, found)
        assert chosen("transfer", TABLE, rate) == "the lr chosen there is not in this grid"

    def test_what_both_hold_fixed_may_differ_and_is_said(self) -> None:
        """Another benchmark takes other epochs; only what was searched is chosen there."""
        there = [replace(c, training={"lr": 0.1, "epochs": 9}) for c in GRID]
        (found,) = pick(protocol_of("transfer"), TABLE, ValidationTable((0,), 3, tuple(there)))
        assert (found.config_id, found.remark) == (
            "EWC 100 0.1",
            "trained otherwise there: epochs",
        )
        rates = [replace(c, training={"lr": lr}) for lr in (0.2, 0.1) for c in GRID]
        (found,) = pick(protocol_of("transfer"), TABLE, ValidationTable((0,), 3, tuple(rates)))
        assert found.remark == "the lr chosen there is not in this grid"

    def test_another_method_does_not_choose(self) -> None:
        other = ValidationTable((0,), 3, (candidate(10, *TABLES[100.0], method="mas"),))
        reason = "the other benchmark has no finished trial of the method"
        assert chosen("transfer", TABLE, other) == reason


class TestNames:
    def test_the_standard_ones(self) -> None:
        names = [p.name for p in standard_protocols((1.0, 2.5), 2, with_transfer=False)]
        assert names == ["average", "target", "required-1", "required-2.5", "decay-0.2"]
        names = [p.name for p in standard_protocols((), 3, with_transfer=True)]
        assert names == ["average", "target", "decay-0.2", "first-2", "transfer"]
        assert standard_protocols((), 9, with_transfer=False)[-1].name == "first-3"

    def test_all_have_a_meaning(self) -> None:
        for protocol in standard_protocols((2.5,), 5, with_transfer=True):
            assert "{" not in protocol.meaning
        assert "2.5 points" in protocol_of("required-2.5").meaning
        assert "20 %" in protocol_of("decay").meaning

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "avarage",
            "average-1",
            "required-x",
            "required--1",
            "decay-1",
            "first-1",
            "first-2.5",
        ],
    )
    def test_a_wrong_name_is_a_mistake(self, name: str) -> None:
        with pytest.raises(StudyError):
            protocol_of(name)


def poisoned(records: list[dict], how: Callable[[int, int], int]) -> list[dict]:
    """The records with other test counts."""
    return [
        {
            **record,
            "accuracy": [
                [*row[:3], how(row[3], row[4]), row[4]] if row[2] == "test" else row
                for row in record["accuracy"]
            ],
        }
        for record in records
    ]


POISONS: dict[str, Callable[[int, int], int]] = {
    "nothing correct": lambda n, total: 0,
    "all correct": lambda n, total: total,
    "turned round": lambda n, total: total - n,
    "scrambled": lambda n, total: (n * 7919) % (total + 1),
}


class TestFirewall:
    @pytest.mark.parametrize("how", POISONS.values(), ids=POISONS)
    def test_poisoned_test_counts_change_no_choice(self, how: Callable[[int, int], int]) -> None:
        records = make_study(("EWC", "SI", "replay"), n_values=7)
        clean = compare(records, drops=[0.01, 0.05])
        other = compare(poisoned(records, how), drops=[0.01, 0.05])
        for protocol in standard_protocols((1.0, 5.0), 2, with_transfer=True):
            own, theirs = (pick(protocol, c.validation, c.validation) for c in (clean, other))
            assert own == theirs
            assert all(p.config_id for p in own)
        for one, two in zip(clean.all_curves, other.all_curves, strict=True):
            assert one.best == two.best
            assert one.on_front.tolist() == two.on_front.tolist()
        for one, two in zip(clean.requirements, other.requirements, strict=True):
            assert one.chosen == two.chosen

    def test_the_poison_is_seen_where_test_is_shown(self) -> None:
        records = make_study(("EWC",), n_values=4)
        rule = protocol_of("average")
        (clean,) = scores(compare(records), rule)
        (other,) = scores(compare(poisoned(records, POISONS["turned round"])), rule)
        assert clean.optimum != other.optimum

    def test_a_folder_can_be_read_without_its_test_counts(self, tmp_path: Path) -> None:
        records = make_study(("EWC",), n_values=3, n_seeds=2)
        folder = write_study(tmp_path / "r", records[:-1])
        # One record that is not compacted yet.
        name = records[-1]["trial"]["trial_id"]
        (folder / "records" / f"{name}.json").write_text(json.dumps(records[-1]))
        one, two = read_validation(folder), validation_table(records)
        assert (one.seeds, one.n_tasks) == (two.seeds, two.n_tasks) == ((0, 1), 2)
        assert len(one.candidates) == 6
        for left, right in zip(one.candidates, two.candidates, strict=True):
            assert left.config_id == right.config_id
            np.testing.assert_array_equal(left.acc_STT, right.acc_STT)

    def test_nothing_that_chooses_names_the_test_split(self) -> None:
        for module in ("search/selection_protocols.py", "search/validation_table.py"):
            path = Path(selection_protocols.__file__).parents[1] / module
            code = path.read_text(encoding="utf-8").split('"""', 2)[2]
            assert '"test"' not in code
            assert "test_S2" not in code


class TestReport:
    @pytest.fixture
    def cli(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> CommandLine:
        monkeypatch.setattr(plots, "draw", lambda data, stem, endings: [])
        return CommandLine(capsys)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return write_study(tmp_path / "r", make_study(("EWC",), n_values=4, n_seeds=1))

    def test_the_choices_of_one_protocol(self, cli: CommandLine, folder: Path) -> None:
        ran = cli("report", folder, "--protocol", "required-2.5")
        assert ran.code == 0, ran.err
        assert "Chosen by 'required-2.5' on validation data" in ran.out
        said = " ".join(ran.out.split())
        assert "choice and best share their seeds and so their luck, most of all under" in said
        rows = pq.read_table(folder / "protocols.parquet").to_pylist()
        names = ["average", "target", "required-1", "required-5", "decay-0.2", "required-2.5"]
        assert [row["protocol"] for row in rows] == names

    def test_a_choice_made_elsewhere(self, cli: CommandLine, folder: Path, tmp_path: Path) -> None:
        other = write_study(tmp_path / "o", make_study(("EWC",), n_values=4, n_seeds=2))
        ran = cli("report", folder, "--protocol", "transfer", "--tuned-on", other)
        assert ran.code == 0, ran.err
        assert re.search(r"EWC +λ=\S+ +\d", ran.out.split("Chosen by 'transfer'")[1])
        # Only its validation data were read, so that it was no look at its test numbers.
        assert not (other / LEDGER).exists()

    def test_seeds_that_choose(self, cli: CommandLine, tmp_path: Path) -> None:
        toml = STUDY_TOML.replace("drops", "choose_on = [0, 2]\ndrops")
        folder = write_study(tmp_path / "r", make_study(("EWC", "SI"), n_values=4), toml)
        ran = cli("report", folder, "--full", "--protocol", "required-2.5")
        assert ran.code == 0, ran.err
        said = " ".join(ran.out.split())
        assert "Chosen on validation data of seeds 0, 2, printed on test data" in said
        assert "(here of seeds that did not choose)" in said
        assert "cross-fitted" not in said
        rows = pq.read_table(folder / "protocols.parquet").to_pylist()
        assert {row["crossfit_average_accuracy"] for row in rows} == {None}
        rows = pq.read_table(folder / "pairs.parquet").to_pylist()
        assert {(row["selection"], row["n_seeds"]) for row in rows} == {("other seeds", 1)}
        rows = pq.read_table(folder / "fronts.parquet").to_pylist()
        seeds = {(row["split"], row["seed"]) for row in rows if row["seed"] is not None}
        assert seeds == {("validation", 0), ("validation", 2), ("test", 1)}
        loaded = clsweep.load(folder)
        assert (loaded.comparison.choose_on, loaded.comparison.seeds) == ((0, 2), (1,))
        with plots.settings():
            texts = [t.get_text() for t in loaded.figure().axes[0].texts]
        assert "chosen on validation data of 2 other seeds, drawn on test data; one seed" in texts

    def test_seeds_that_choose_and_have_not_finished_are_named(
        self, cli: CommandLine, tmp_path: Path
    ) -> None:
        toml = STUDY_TOML.replace("drops", "choose_on = [0, 2]\ndrops")
        records = make_study(("EWC",), n_values=4, n_seeds=2)
        some = cli("report", "--full", write_study(tmp_path / "some", records, toml))
        assert "seed 2 of choose_on cannot be used" in " ".join(some.out.split())
        none = [record for record in records if record["trial"]["seed"] == 1]
        without = cli("report", "--full", write_study(tmp_path / "none", none, toml))
        assert "all finished seeds choose and are shown" in " ".join(without.out.split())

    def test_mistakes(self, cli: CommandLine, folder: Path) -> None:
        cli("report", folder, "--protocol", "averag").is_mistake("average")
        cli("report", folder, "--protocol", "transfer").is_mistake("--tuned-on DIR")
        cli("report", folder, "--tuned-on", folder / "missing").is_mistake("missing")


class TestScores:
    RECORDS = (
        make_record(hyper={"lam": 1.0}, accuracy=split_rows((0.9, 0.9), (0.7, 0.8))),
        make_record(hyper={"lam": 2.0}, accuracy=split_rows((0.8, 0.8), (0.9, 0.8))),
    )

    def test_regret_is_what_the_best_on_test_has_more(self) -> None:
        (score,) = scores(compare(self.RECORDS), protocol_of("average"))
        assert (score.index, score.optimum) == (0, 1)
        np.testing.assert_allclose(score.regret_S, [0.1])

    def test_no_regret_of_the_optimum(self) -> None:
        same = [
            make_record(hyper={"lam": lam}, accuracy=split_rows((value, value)))
            for lam, value in ((1.0, 0.8), (2.0, 0.9))
        ]
        (score,) = scores(compare(same), protocol_of("target"))
        np.testing.assert_array_equal(score.regret_S, [0.0])

    def test_table(self, tmp_path: Path) -> None:
        comparison = compare(self.RECORDS)
        scored = [
            score
            for name in ("average", "required-1")
            for score in scores(comparison, protocol_of(name))
        ]
        (tmp_path / "t.parquet").write_bytes(picks_table(comparison, scored))
        first, second = pq.read_table(tmp_path / "t.parquet").to_pylist()
        assert first["config_id"] == self.RECORDS[0]["trial"]["config_id"]
        assert first["test_optimum_config_id"] == self.RECORDS[1]["trial"]["config_id"]
        assert json.loads(first["hyper"]) == {"lam": 1.0}
        assert first["validation_average_accuracy"] == pytest.approx(0.9)
        assert first["test_average_accuracy"] == pytest.approx(0.75)
        assert first["test_source_accuracy"] == pytest.approx(0.7)
        assert first["test_regret"] == pytest.approx(0.1)
        assert second["config_id"] is None
        assert second["remark"] == "the study has no finished fine-tuning"
