"""Points, fronts, and choices of one label, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clsweep.reporting.curve_building import curve_of
from tests.support.records import make_record, split_rows


def trial(lam, seed=0, validation=(0.9, 0.9), test=None, **more):
    rows = split_rows(validation, test) if more.get("status", "ok") == "ok" else []
    return make_record(hyper={"lam": lam}, seed=seed, accuracy=rows, **more)


def curve(records, seeds=(0,), reference_point=(0.0, 0.0)):
    return curve_of("EWC", records, seeds, 2, reference_point)


class TestChoice:
    def test_validation_chooses_where_test_would_choose_otherwise(self):
        made = curve(
            [trial(1.0, 0, (0.9, 0.9), (0.8, 0.8)), trial(2.0, 0, (0.8, 0.8), (0.9, 0.9))]
        )
        assert made.points[made.best].axes == {"lam": 1.0}
        assert made.on_front.tolist() == [True, False]
        np.testing.assert_allclose(made.points[made.best].mean("test"), [0.8, 0.8])
        np.testing.assert_allclose(made.points[made.best].mean("validation"), [0.9, 0.9])

    def test_the_mean_over_seeds_chooses_and_not_the_luckiest_seed(self):
        records = [
            trial(1.0, 0, (0.99, 0.99)),
            trial(1.0, 1, (0.5, 0.5)),
            trial(2.0, 0, (0.8, 0.8)),
            trial(2.0, 1, (0.8, 0.8)),
        ]
        made = curve(records, seeds=(0, 1))
        assert made.points[made.best].axes == {"lam": 2.0}
        np.testing.assert_allclose(made.points[made.best].measures["average_accuracy"], [0.8, 0.8])

    def test_fine_tuning_is_chosen_by_its_target_alone(self):
        records = [
            trial(1.0, 0, (0.9, 0.9), method="finetune"),
            trial(2.0, 0, (0.1, 0.95), method="finetune"),
        ]
        for record in records:
            record["config"]["method"] = "finetune"
        assert curve(records).best == 1

    @pytest.mark.parametrize("status", ["diverged", "failed", "oom"])
    def test_a_trial_without_a_result_is_counted_and_never_chosen(self, status):
        made = curve([trial(1.0, 0, (0.2, 0.2)), trial(2.0, status=status)])
        assert [p.axes["lam"] for p in made.points] == [1.0]
        assert made.best == 0
        assert made.n_configs == 2
        nothing = {"ok": 1, "stopped": 0, "diverged": 0, "failed": 0, "oom": 0}
        assert made.n_by_status == nothing | {status: 1}

    def test_all_failed(self):
        made = curve([trial(1.0, status="failed")])
        assert made.points == ()
        assert made.best is None
        assert len(made.hypervolumes) == 0

    def test_a_configuration_without_every_seed_is_no_point(self):
        records = [trial(1.0, s, (0.5, 0.5)) for s in (0, 1, 2)]
        records += [trial(2.0, s, (0.9, 0.9)) for s in (0, 1)]
        records += [trial(3.0, 0), trial(3.0, 1), trial(3.0, 2, status="diverged")]
        made = curve(records, seeds=(0, 1, 2))
        assert [p.axes["lam"] for p in made.points] == [1.0]
        assert made.points[0].test_S2.shape == (3, 2)


class TestAxes:
    def test_points_are_in_the_order_of_numbers(self):
        made = curve([trial(lam) for lam in (100.0, 2.0, 10.0)])
        assert [p.axes["lam"] for p in made.points] == [2.0, 10.0, 100.0]
        assert made.grid == {"lam": (2.0, 10.0, 100.0)}

    def test_only_settings_that_differ_are_axes(self):
        records = [
            make_record(hyper={"lam": lam, "gamma": 1.0, "form": form})
            for lam in (1.0, 2.0)
            for form in ("gradient", "proximal")
        ]
        assert curve(records).grid == {"lam": (1.0, 2.0), "form": ("gradient", "proximal")}

    def test_a_setting_that_is_stored_only_where_it_says_something_is_one(self):
        usual, clipped = trial(1.0), trial(2.0)
        clipped["config"]["training"] |= {"clip_norm": 0.5}
        made = curve([usual, clipped])
        assert made.grid == {"lam": (1.0, 2.0), "clip_norm": (0.0, 0.5)}
        assert made.training["clip_norm"] == {"0.0", "0.5"}

    def test_one_configuration_has_none(self):
        assert curve([trial(1.0)]).grid == {}


class TestHypervolume:
    def test_by_hand(self):
        # Beyond (0.1, 0.1): 0.8 × 0.1 below a target of 0.2, and 0.5 × 0.4 above it.
        made = curve(
            [trial(1.0, 0, (0.9, 0.2)), trial(2.0, 0, (0.6, 0.6))], reference_point=(0.1, 0.1)
        )
        np.testing.assert_allclose(made.hypervolumes, [0.28])

    def test_each_seed_counts_what_its_own_validation_picks(self):
        # With seed 0 validation prefers the first, with seed 1 the second.
        records = [
            trial(1.0, 0, (0.9, 0.9), (0.5, 0.5)),
            trial(2.0, 0, (0.8, 0.8), (0.9, 0.9)),
            trial(1.0, 1, (0.8, 0.8), (0.5, 0.5)),
            trial(2.0, 1, (0.9, 0.9), (0.9, 0.9)),
        ]
        np.testing.assert_allclose(curve(records, seeds=(0, 1)).hypervolumes, [0.25, 0.81])
