"""Common seeds, required accuracies, labels, and what is said about them."""

from __future__ import annotations

import pytest

from clsweep.caveats import axes_text, caveats, number_text
from clsweep.comparison import compare
from tests.records import make_record, split_rows


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
        notes = [note for note in caveats(made) if "No finished fine-tuning reference" in note]
        assert [note.endswith('name = "finetune"` to the study.') for note in notes] == [True]

    def test_a_fine_tuning_that_failed_is_not_asked_for_again(self):
        rows = split_rows((0.5, 0.5))
        record = make_record("fine-tuning", "finetune", 0, {}, {}, rows, is_reference=True)
        record["trial"]["status"] = "diverged"
        notes = caveats(compare([trial(1.0), record]))
        found = [note for note in notes if "No finished fine-tuning reference" in note]
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
        assert any(note.startswith("Left out seed 2") for note in caveats(made))

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
        [((0.9, 0.8, 0.7), "lam = 1, the lowest"), ((0.7, 0.8, 0.9), "lam = 100, the highest")],
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
    assert any("in 'lr': EWC 0.1, MAS 0.01" in note for note in notes)


@pytest.mark.parametrize(
    ("value", "text"),
    [(10000.0, "1e+04"), (0.00464159, "0.004642"), (1000, "1000"), (True, "True"), ("a", "a")],
)
def test_numbers_of_a_setting(value, text):
    assert number_text(value) == text


def test_axes_are_named():
    assert axes_text({"lam": 10.0, "lr": 0.1}) == "lam=10, lr=0.1"
    assert axes_text({}) == "–"
