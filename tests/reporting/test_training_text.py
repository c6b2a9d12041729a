"""The sentence about training, on curves made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clsweep.data.benchmark_specs import BENCHMARKS
from clsweep.reporting.curves import Curve
from clsweep.reporting.training_text import seeds_vary_text, training_text
from clsweep.training.config import TrainingConfig


def curve(label: str, method: str = "ewc", grid: dict | None = None, **training: object) -> Curve:
    settings = TrainingConfig().model_dump(mode="json")
    found = {name: frozenset({str(value)}) for name, value in settings.items()}
    for name, value in training.items():
        values = value if isinstance(value, list) else [value]
        found[name] = frozenset(map(str, values))
    return Curve(
        label=label,
        method=method,
        is_reference=False,
        points=(),
        on_front=np.array([], dtype=bool),
        best=None,
        hypervolumes=np.array([]),
        n_configs=0,
        n_by_status={},
        n_steps=0,
        wall_seconds=0.0,
        devices=(),
        grid=grid or {},
        training=found,
    )


def test_what_is_fixed_is_named_with_its_value() -> None:
    curves = [curve("A", lr=0.05, epochs=3), curve("B", "mas", lr=0.05, epochs=3)]
    assert training_text(curves, []) == (
        "Training, the same for all methods: optimizer adam, lr 0.05, batch_size 32, epochs 3."
    ).replace("adam", TrainingConfig().optimizer)


def test_a_changed_default_is_named() -> None:
    text = training_text([curve("A", momentum=0.9, optimizer="sgd")], [])
    assert "optimizer sgd" in text
    assert "momentum 0.9" in text
    assert "clip_value" not in text


def test_what_a_key_would_not_tell_is_said_in_words() -> None:
    settings = {
        "optimizer": "adamw",
        "beta2": 0.95,
        "schedule": "cosine",
        "warmup_steps": 100,
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "first_epochs": 20,
        "precision": "bf16",
        "options": '{"a": 1}',
    }
    text = training_text([curve("A", **settings), curve("B", "mas", **settings)], [])
    for words in (
        "optimizer adamw",
        "beta2 0.95",
        "cosine schedule of the learning rate",
        "100 steps of warm-up",
        "gradients clipped to norm 1.0",
        "labels smoothed by 0.1",
        "20 epochs on the first task",
        "bf16 autocast in training",
        'its options {"a": 1}',
    ):
        assert words in text


def test_steps_take_the_place_of_epochs() -> None:
    text = training_text([curve("A", steps=500)], [])
    assert "steps 500" in text
    assert "epochs" not in text


def test_what_all_have_tried_is_no_inequality_where_a_grid_is_shared() -> None:
    curves = [curve("A", lr=[0.1, 0.01]), curve("B", lr=[0.1, 0.01])]
    text = training_text(curves, [])
    assert "tried by every method alike: lr 0.01…0.1" in text
    assert "not the same" not in text


def test_what_differs_is_said_to_differ() -> None:
    text = training_text([curve("A", lr=0.1), curve("B", lr=0.2)], [])
    assert "not the same for all: lr" in text
    assert "lr 0." not in text


def test_a_reference_that_was_trained_otherwise_is_named() -> None:
    references = [
        curve("fine-tuning", "finetune", lr=0.03),
        curve("frozen trunk", "frozen", lr=0.1),
        curve("joint", "joint", lr=0.1, epochs=5),
    ]
    text = training_text([curve("A", lr=0.1), curve("B", lr=0.1)], references)
    same, apart = text.split("; ")[:2]
    assert "lr" not in same
    assert "epochs" not in same
    assert "optimizer" in same
    assert apart.startswith("the same but for references: lr 0.1 (fine-tuning: 0.03), epochs ")
    assert apart.removesuffix(".").endswith("(joint: 5)")
    tried = [curve("A", lr=[0.1, 0.01]), curve("B", lr=[0.1, 0.01])]
    text = training_text(tried, references)
    expected = "alike: lr 0.01…0.1 (fine-tuning: 0.03; frozen trunk: 0.1; joint: 0.1)"
    assert expected in text
    assert "but for references" not in training_text([curve("A", lr=0.1)], references[1:2])


def test_what_a_search_chose_from_one_range_is_alike() -> None:
    curves = [curve("A", lr=[0.1, 0.01]), curve("B", lr=[0.3, 0.02, 0.2])]
    assert "not the same for all: lr" in training_text(curves, [])
    text = training_text(curves, [], ["lr"])
    assert "tried by every method alike: lr 0.01…0.3" in text
    assert "not the same" not in text


def test_own_nuisance_values() -> None:
    tuned = curve("LwF", "lwf", grid={"temperature": (1.0, 2.0, 4.0)})
    assert "own nuisance values tried: LwF temperature 1…4." in training_text([tuned], [])
    fixed = replace(tuned, grid={"lam": (1.0, 2.0)})
    assert training_text([fixed], []).endswith("own nuisance values at one value each.")


@pytest.mark.parametrize("curves", [[], [replace(curve("A"), training={})]])
def test_without_rows_there_is_nothing_to_say(curves: list[Curve]) -> None:
    assert training_text(curves, []) == ""


def test_references_speak_where_there_is_no_curve() -> None:
    assert "lr 0.3" in training_text([], [curve("fine-tuning", "finetune", lr=0.3)])


@pytest.mark.parametrize(
    ("benchmark", "same", "differs"),
    [
        ({"name": "split", "n_tasks": 5}, "class order and train/validation split are", ""),
        ({"name": "split", "draws": "per_seed"}, "class order and train/validation split are", ""),
        ({"name": "split", "class_order": "shuffled"}, "class order and train/validation", ""),
        (
            {"name": "split", "class_order": "shuffled", "draws": "per_seed"},
            "the train/validation split is one for all",
            "and in class order",
        ),
        ({"name": "permuted"}, "permutations and train/validation split are", ""),
        ({"name": "permuted", "draws": "per_seed"}, "split is one for all", "in permutations"),
        ({"name": "rotated", "draws": "per_seed"}, "split is one for all", "in angles"),
        ({"name": "rotated", "draws": "per_seed", "angles": (0.0, 9.0)}, "angles and train", ""),
        ({"name": "pair", "target": ("mnist",)}, "order of the data sets and train", ""),
        (
            {"name": "sequence", "datasets": ("mnist", "kmnist")},
            "order of the data sets and train",
            "",
        ),
        (
            {
                "name": "sequence",
                "datasets": ("mnist", "kmnist"),
                "order": "shuffled",
                "draws": "per_seed",
            },
            "split is one for all",
            "and in order of the data sets",
        ),
        (
            {"name": "pair", "target": ("mnist",), "order": "shuffled", "draws": "per_seed"},
            "split is one for all",
            "and in order of the data sets",
        ),
    ],
)
def test_what_a_seed_varies_is_said(benchmark: dict[str, object], same: str, differs: str) -> None:
    written = BENCHMARKS[str(benchmark["name"])](**benchmark).model_dump()
    text = seeds_vary_text(written, 3)
    assert same in text
    assert differs in text
    assert ("alone" in text) == (not differs)
    assert seeds_vary_text(written, 1) == ""
