"""Common seeds, required accuracies, labels, and what is said about them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clsweep.reporting.caveats import caveats
from clsweep.reporting.comparison_building import compare
from clsweep.reporting.judging import judge
from clsweep.reporting.result_tables import points_table
from clsweep.search.selection_protocols import pick, protocol_of, standard_protocols
from clsweep.search.validation_table import validation_table
from clsweep.text import axes_text, number_text
from tests.support.records import config_id_of, make_record, split_rows


def trial(lam, seed=0, validation=(0.9, 0.9), test=None, label="EWC", **more):
    rows = split_rows(validation, test) if more.get("status", "ok") == "ok" else []
    return make_record(label, hyper={"lam": lam}, seed=seed, accuracy=rows, **more)


def finetune(validation=(0.5, 0.95), test=None, seed=0, label="fine-tuning", **hyper):
    rows = split_rows(validation, test)
    return make_record(label, "finetune", seed, hyper, {}, rows, is_reference=True)


def joint():
    rows = split_rows((0.97, 0.97))
    return make_record("joint", "joint", 0, {}, {}, rows, is_reference=True)


class TestRequirement:
    def test_the_most_source_among_those_that_reach_it_on_validation(self):
        # Required on validation: 0.94. Test would admit the first, too, and not the second.
        records = [
            finetune((0.5, 0.95), (0.5, 0.93)),
            trial(1.0, 0, (0.9, 0.93), (0.9, 0.99)),
            trial(2.0, 0, (0.8, 0.945), (0.8, 0.9)),
            trial(3.0, 0, (0.7, 0.95), (0.99, 0.99)),
        ]
        made = compare(records, drops=[0.01])
        (requirement,) = made.requirements
        assert made.curves[0].points[requirement.chosen["EWC"]].axes == {"lam": 2.0}
        assert requirement.target == pytest.approx(0.92)

    def test_not_reached_at_one_point_and_reached_at_five(self):
        records = [finetune((0.5, 0.95)), trial(1.0, 0, (0.9, 0.93))]
        strict, lax = compare(records, drops=[0.05, 0.01]).requirements
        assert (strict.drop, strict.chosen) == (0.01, {"EWC": None})
        assert (lax.drop, lax.chosen) == (0.05, {"EWC": 0})

    def test_exactly_reached_is_reached(self):
        records = [finetune((0.5, 0.95)), trial(1.0, 0, (0.9, 0.94))]
        assert compare(records, drops=[0.01]).requirements[0].chosen == {"EWC": 0}

    def test_there_is_none_without_fine_tuning(self):
        made = compare([trial(1.0), joint()], drops=[0.01])
        assert made.requirements == ()
        notes = [note for note in caveats(made) if "No fine-tuning reference" in note]
        assert [note.endswith('name = "finetune"` to the study.') for note in notes] == [True]

    def test_a_fine_tuning_that_failed_is_not_asked_for_again(self):
        rows = split_rows((0.5, 0.5))
        record = make_record("fine-tuning", "finetune", 0, {}, {}, rows, is_reference=True)
        record["trial"]["status"] = "diverged"
        notes = caveats(compare([trial(1.0), record]))
        found = [note for note in notes if "no required target accuracy" in note]
        assert found == ["Fine-tuning diverged, so there is no required target accuracy."]
        record["trial"]["status"] = "failed"
        notes = caveats(compare([trial(1.0), record]))
        found = [note for note in notes if "no required target accuracy" in note]
        assert found == ["No finished fine-tuning reference, so no required target accuracy."]

    def test_the_best_tuned_of_several_learning_rates_requires(self):
        records = [finetune((0.5, 0.95), lr=0.1), finetune((0.6, 0.9), lr=0.01), trial(1.0)]
        assert compare(records, drops=[0.05]).requirements[0].target == pytest.approx(0.9)


class TestSeeds:
    def test_a_seed_that_has_just_begun_is_left_out(self):
        records = [trial(lam, seed) for lam in (1.0, 2.0, 3.0) for seed in (0, 1)]
        made = compare([*records, trial(1.0, 2)])
        assert (made.seeds, made.left_out) == ((0, 1), (2,))
        assert len(made.curves[0].points) == 3
        (note,) = (note for note in caveats(made) if note.startswith("Left out seed 2"))
        assert note.endswith("Of the trials left out without a result: 2 not run.")

    def test_what_failed_is_told_from_what_has_not_run(self):
        records = [trial(lam, seed) for lam in (1.0, 2.0, 3.0, 4.0, 5.0) for seed in (0, 1)]
        late = [trial(2.0, 2, status="failed"), trial(3.0, 2, status="oom"), trial(1.0, 2)]
        made = compare([*records, *late])
        assert (made.seeds, made.left_out) == ((0, 1), (2,))
        assert made.unanswered == {"failed": 1, "oom": 1, "": 2}
        (note,) = (note for note in caveats(made) if note.startswith("Left out seed 2"))
        assert "1 failed, 1 ran out of memory, 2 not run." in note
        assert "`clsweep run --retry-failed`" in note

    def test_one_failure_does_not_cost_all_others_a_seed(self):
        records = [trial(lam, seed) for lam in (1.0, 2.0, 3.0, 4.0) for seed in (0, 1, 2)]
        records[-1] = trial(4.0, 2, status="failed")
        made = compare(records)
        assert made.seeds == (0, 1, 2)
        assert [p.axes["lam"] for p in made.curves[0].points] == [1.0, 2.0, 3.0]
        notes = [note for note in caveats(made) if "1 of 4 configurations did not finish" in note]
        assert len(notes) == 1
        assert "1 failed" in notes[0]

    def test_one_seed_is_said(self):
        assert any(note.startswith("One seed only") for note in caveats(compare([trial(1.0)])))
        two = compare([trial(1.0, 0), trial(1.0, 1)])
        assert not any(note.startswith("One seed only") for note in caveats(two))

    @pytest.mark.parametrize(("chance", "said"), [(0.1, "(guessing 10 %, fine"), (0.0, "(fine")])
    def test_what_guessing_gives_is_said_where_it_is_known(self, chance, said):
        stable = trial(1.0, validation=(0.9, 0.12))
        made = compare([finetune((0.3, 0.9)), stable], reference_point=(chance, chance))
        (note,) = (n for n in caveats(made) if "hardly learns" in n)
        assert f"{said}-tuning 90.0 %)" in note

    def test_one_seed_that_others_have_chosen_for_has_not_chosen(self):
        records = [trial(lam, seed) for lam in (1.0, 2.0) for seed in range(3)]
        (note,) = (n for n in caveats(compare(records, choose_on=[0, 1])) if "One seed" in n)
        assert "no error can be given" in note
        assert "has also chosen" not in note


def study_of(*labels, n_values, n_seeds, diverges=lambda label, lam, seed: False):
    """Records whose accuracies depend on label, value and seed; some trials diverge."""
    method_of = {"EWC": "ewc", "MAS": "mas", "LwF": "lwf"}
    records = []
    for label in labels:
        for lam in (float(i + 1) for i in range(n_values)):
            for seed in range(n_seeds):
                source = 0.9 - 0.01 * abs(lam - 2) - 0.02 * labels.index(label)
                place = labels.index(label) + 1
                level = source + 0.003 * ((7 * seed + int(lam)) % 4) + 0.001 * (place * seed % 3)
                level = round(level, 3)
                found = trial(lam, seed, (level, 0.9), label=label)
                if diverges(label, lam, seed):
                    found = trial(lam, seed, label=label, status="diverged")
                key = config_id_of(label, lam)
                found["trial"] |= {"config_id": key, "trial_id": f"{key}-{seed}"}
                found["trial"]["method"] = found["config"]["method"] = method_of[label]
                found["config"]["config_id"] = key
                records.append(found)
    return [*records, *(finetune((0.5, 0.95), seed=seed) for seed in range(n_seeds))]


DIVERGENCES = {
    "one seed of every configuration": (5, 7, lambda lam, seed: seed == 3),
    "28 of 30 values": (30, 7, lambda lam, seed: lam > 2 and seed == int(lam) % 7),
    "4 of 38 in one of ten seeds": (38, 10, lambda lam, seed: lam > 34 and seed == 9),
    "every trial": (5, 7, lambda lam, seed: True),
}


class TestDivergence:
    @pytest.mark.parametrize("case", DIVERGENCES)
    def test_it_changes_nothing_for_the_other_methods(self, case):
        n_values, n_seeds, where = DIVERGENCES[case]

        def diverges(label, lam, seed):
            return label == "LwF" and where(lam, seed)

        given = {"n_values": n_values, "n_seeds": n_seeds}
        made = compare(study_of("EWC", "MAS", "LwF", **given, diverges=diverges), drops=[0.05])
        assert made.seeds == tuple(range(n_seeds))
        assert (made.left_out, made.unanswered) == ((), {})
        whole = compare(study_of("EWC", "MAS", "LwF", **given), drops=[0.05])
        for label in ("EWC", "MAS"):
            one, other = (next(c for c in m.curves if c.label == label) for m in (made, whole))
            assert one.best == other.best
            assert [p.config_id for p in one.points] == [p.config_id for p in other.points]
            assert np.array_equal(one.hypervolumes, other.hypervolumes)
        assert made.requirements[0].target == whole.requirements[0].target

        def pair(judged):
            return [d for d in judged.average_pairs if {d.above, d.below} == {"EWC", "MAS"}]

        (found,) = pair(judge(made))
        assert found.is_claim
        if not next(c for c in made.curves if c.label == "LwF").points:
            alone = compare(study_of("EWC", "MAS", **given), drops=[0.05])
            assert [found] == pair(judge(alone))

    @pytest.mark.parametrize("case", DIVERGENCES)
    def test_what_diverged_is_chosen_by_no_rule_and_named(self, case):
        n_values, n_seeds, where = DIVERGENCES[case]

        def diverges(label, lam, seed):
            return label == "LwF" and where(lam, seed)

        records = study_of("EWC", "LwF", n_values=n_values, n_seeds=n_seeds, diverges=diverges)
        made = compare(records, drops=[0.05])
        (lwf,) = (curve for curve in made.curves if curve.label == "LwF")
        lost = {
            lam
            for lam in map(float, range(1, n_values + 1))
            for s in range(n_seeds)
            if where(lam, s)
        }
        assert {one.knobs["lam"] for one in lwf.diverged} == lost
        assert not {point.axes["lam"] for point in lwf.points} & lost
        assert len(lwf.points) + len(lwf.diverged) == n_values
        table = validation_table(records)
        assert {d.config_id for d in table.diverged} == {d.config_id for d in lwf.diverged}
        rules = standard_protocols([5.0], 2, with_transfer=True)
        for found in (made.validation, table):
            for rule in rules:
                (chosen,) = (p for p in pick(rule, found, table) if p.label == "LwF")
                assert chosen.config_id not in {d.config_id for d in lwf.diverged}
                assert (chosen.config_id is None) == (not lwf.points)
        (note,) = (n for n in caveats(made) if n.startswith(f"LwF: {len(lost)} of {n_values}"))
        assert "diverged, in" in note
        assert "no rule can choose them" in note
        rows = points_table(made).to_pylist()
        assert {r["config_id"] for r in rows if r["n_diverged"]} == {
            d.config_id for d in lwf.diverged
        }
        assert all(r["source_accuracy"] is None for r in rows if r["n_diverged"])
        assert f"LwF {len(lost)} of {n_values}" in made.not_drawn
        assert lwf.absence == ("" if lwf.points else "diverged")

    def test_a_seed_that_is_left_out_counts_as_well(self):
        records = [trial(lam, seed) for lam in (1.0, 2.0, 3.0, 4.0) for seed in (0, 1)]
        made = compare([*records, trial(2.0, 2, status="diverged")])
        assert (made.seeds, made.left_out) == ((0, 1), (2,))
        assert [p.axes["lam"] for p in made.curves[0].points] == [1.0, 3.0, 4.0]

    def test_the_best_of_the_seeds_that_went_well_is_not_chosen(self):
        records = [trial(1.0, seed, (0.7, 0.7)) for seed in range(3)]
        records += [trial(2.0, seed, (0.9, 0.9)) for seed in range(2)]
        made = compare([*records, trial(2.0, 2, status="diverged")])
        (curve,) = made.curves
        assert curve.points[curve.best].axes["lam"] == 1.0

    def test_numbers_that_another_benchmark_chose_and_that_diverge_here(self):
        elsewhere = validation_table([trial(1.0, validation=(0.7, 0.7)), trial(2.0)])
        here = validation_table([trial(1.0), trial(2.0, status="diverged")])
        (found,) = pick(protocol_of("transfer"), here, elsewhere)
        assert (found.config_id, found.remark) == (None, "the numbers chosen there diverged here")
        (found,) = pick(
            protocol_of("transfer"),
            elsewhere,
            validation_table([trial(2.0, status="diverged"), finetune()]),
        )
        assert found.remark == "the method diverged on the other benchmark"

    def test_fine_tuning_that_diverged_is_said_by_the_rules_that_need_it(self):
        rows = split_rows((0.5, 0.5))
        record = make_record("fine-tuning", "finetune", 0, {}, {}, rows, is_reference=True)
        record["trial"]["status"] = "diverged"
        table = validation_table([trial(1.0), record])
        for name in ("required-1", "decay-0.2"):
            (found,) = pick(protocol_of(name), table)
            assert found.remark == "fine-tuning diverged"

    def test_the_good_region_does_not_reach_over_a_value_that_diverged(self):
        records = [trial(10.0**i, 0, (0.9, 0.9)) for i in range(5)]
        records[3] = trial(1000.0, status="diverged")
        (front,) = judge(compare(records)).fronts
        assert (front.region.low, front.region.high) == (1.0, 100.0)
        assert front.region.at_edge


class TestLabels:
    def test_order_of_the_study_then_by_name_with_references_apart(self):
        records = [trial(1.0, label="b"), trial(2.0, label="a"), trial(3.0, label="c"), finetune()]
        made = compare(records, labels=["c", "not run", "fine-tuning"])
        assert [curve.label for curve in made.all_curves] == ["c", "a", "b", "fine-tuning"]
        assert [curve.label for curve in made.references] == ["fine-tuning"]

    def test_a_configuration_has_the_label_it_finished_last_under(self):
        old = trial(1.0, 0, label="old", finished_at="2025-01-01T00:00:00+00:00")
        new = trial(1.0, 1, label="new", finished_at="2025-01-02T00:00:00+00:00")
        made = compare([new, old])
        assert [curve.label for curve in made.curves] == ["new"]
        assert made.curves[0].points[0].test_S2.shape == (2, 2)


class TestEdges:
    @staticmethod
    def notes(averages, drops=()):
        """Notes about edges when lam = 1, 10, ... reaches these validation averages."""
        records = [trial(10.0**i, 0, (value, value)) for i, value in enumerate(averages)]
        made = compare([*records, finetune((0.5, 0.92)), joint()], drops=drops)
        return [note for note in caveats(made) if "do better" in note]

    @pytest.mark.parametrize(
        ("averages", "end"),
        [((0.9, 0.8, 0.7), "λ = 1, the lowest"), ((0.7, 0.8, 0.9), "λ = 100, the highest")],
    )
    def test_a_choice_at_an_end_is_said(self, averages, end):
        (note,) = self.notes(averages)
        assert (
            note == f"EWC: the best average is at {end} of its grid; a wider grid may do better."
        )

    def test_a_choice_inside_is_not(self):
        assert self.notes((0.7, 0.9, 0.8)) == []

    def test_a_required_accuracy_has_choices_of_its_own(self):
        (note,) = self.notes((0.9, 0.8, 0.7), drops=[0.05])
        assert "the best average and the best source at -5 points of target" in note

    def test_names_have_no_end(self):
        records = [make_record(hyper={"form": form}) for form in ("gradient", "proximal")]
        assert not any("grid" in note for note in caveats(compare(records)))


def test_unequal_grids_steps_and_training_are_said():
    mas = make_record("MAS", "mas", 0, {"lam": 7.0}, accuracy=split_rows((0.9, 0.9)), n_steps=500)
    mas["config"]["training"] = {**mas["config"]["training"], "lr": 0.01}
    notes = caveats(compare([trial(1.0), trial(2.0), mas]))
    assert any("EWC 2, MAS 1" in note for note in notes)
    assert any("EWC 1,000, MAS 500" in note for note in notes)
    assert any("in 'lr': EWC 0.1 | MAS 0.01" in note for note in notes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10000.0, "10000"),
        (1000.0, "1000"),
        (177827.9, "177800"),
        (999_999.0, "1e6"),
        (1e6, "1e6"),
        (2.5e-7, "2.5e-7"),
        (1e-4, "0.0001"),
        (0.00464159, "0.004642"),
        (0.1 + 0.2, "0.3"),
        (-2.154434, "-2.154"),
        (0.0, "0"),
        (math.inf, "inf"),
        (1000, "1000"),
        (123_456_789, "1.235e8"),
        (True, "True"),
        ("a", "a"),
    ],
)
def test_numbers_of_a_setting(value, text):
    assert number_text(value) == text


def test_axes_are_named():
    assert axes_text({"lam": 10.0, "lr": 0.1}) == "λ=10, lr=0.1"
    assert axes_text({}) == "–"
