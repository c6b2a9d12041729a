"""The paragraph says what was run, with the report's own numbers, and cites what it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clsweep.methods import METHODS
from clsweep.methods.hyper_fields import knob_keys
from clsweep.reporting.bibliography import PAPERS
from clsweep.reporting.methods_paragraph import cited, methods_paragraph
from clsweep.reporting.render.paper import paragraph_text
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.setting_words import listed, network_words, values_words
from clsweep.reporting.summary import family_size
from clsweep.text import key_text, number_text
from tests.support.records import make_record, make_study, two_task_rows, write_study


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    directory = tmp_path_factory.mktemp("paragraph")
    return build(write_study(directory / "a", make_study(("EWC", "replay"), 3, 6)))


def text_of(data: ReportData) -> str:
    return " ".join(paragraph_text(methods_paragraph(data)).split())


def test_its_numbers_are_those_of_the_report(data: ReportData) -> None:
    text, comparison = text_of(data), data.comparison
    n_trials = sum(sum(curve.n_by_status.values()) for curve in comparison.all_curves)
    assert f"Of {n_trials} trials in all 0 failed and 0 diverged" in text
    for curve in comparison.curves:
        assert f"({curve.n_configs} configurations: " in text
        chosen = curve.points[curve.best or 0].axes
        assert f"{curve.label} " in text
        assert all(f"={value:g}" in text for value in chosen.values() if isinstance(value, float))
    assert "λ of 1, 10000 and 1e8" in text
    assert f"means over {len(comparison.seeds)} seeds, ± one standard error" in text
    assert f"all {family_size(data)} comparisons" in text
    drops = " or ".join(f"{100 * one.drop:g}" for one in comparison.requirements)
    assert f"less 1 standard error, is at most {drops} points below fine-tuning's" in text
    assert "(10,000, the same in every task)" in text
    assert "clsweep 0.1.0, PyTorch 2.9 (Paszke et al., 2019)" in text
    assert data.seeds_vary.split(":")[0] in text


def test_it_says_network_training_and_scenario(data: ReportData) -> None:
    text = text_of(data)
    assert "permuted mnist, 2 tasks, domain-incremental (van de Ven et al., 2022)" in text
    assert "a multilayer perceptron with 100 and 100 hidden units and ReLU (89,610 para" in text
    assert "learnt each task with SGD (learning rate 0.1" in text
    assert "beside fine-tuning, frozen trunk and joint" in text


def test_it_cites_what_it_names_and_no_more(data: ReportData) -> None:
    keys = cited(methods_paragraph(data))
    assert len(keys) == len(set(keys))
    assert set(keys) <= set(PAPERS)
    assert {"kirkpatrick2017ewc", "chaudhry2019tiny", "dunn1961comparisons"} <= set(keys)
    assert "zenke2017si" not in keys
    few = replace(data, comparison=replace(data.comparison, seeds=(0, 1)))
    assert "dunn1961comparisons" not in cited(methods_paragraph(few))


def test_what_is_not_known_is_left_out(data: ReportData) -> None:
    bare = replace(data, studies=({},), scenario="", seeds_vary="")
    text = text_of(bare)
    assert "network" not in text
    assert "van de Ven" not in text
    assert "validation split" in text


def test_knobs_are_named_at_their_default_too(tmp_path: Path) -> None:
    defaults = METHODS["fdr"].hyper.model_fields
    hyper = {key: defaults[key].default for key in knob_keys(defaults)}
    rows = two_task_rows(0.9, 0.8, 0.7)
    records = [make_record("FDR", "fdr", seed, hyper, {}, rows) for seed in (0, 1)]
    curve = build(write_study(tmp_path / "a", records)).comparison.curves[0]
    words = values_words(curve)
    assert len(hyper) == 2
    for key, value in hyper.items():
        named = f"{key_text(key).replace('_', ' ')} {number_text(value)}"
        assert named in words


def test_references_alone_are_not_said_to_be_chosen(tmp_path: Path) -> None:
    text = text_of(build(write_study(tmp_path / "a", make_study((), 1, 2))))
    assert "We run fine-tuning" in text
    assert "± one standard error" in text
    for false in ("chosen", "source accuracy kept", "one configuration"):
        assert false not in text


def test_one_configuration_is_no_choice(tmp_path: Path) -> None:
    records = make_study(("EWC",), 1, 1)
    text = text_of(build(write_study(tmp_path / "a", records)))
    assert "Every method had one configuration, so that nothing was chosen." in text
    assert "was chosen among" not in text
    assert "is that of a configuration whose target accuracy on validation data" in text
    alone = text_of(build(write_study(tmp_path / "b", records[:1])))
    assert "Of 1 trial in all 0 failed and 0 diverged." in alone


def test_without_a_number_no_mean_is_explained(tmp_path: Path) -> None:
    records = make_study(("EWC",), 3, 2)
    for record in records:
        record["trial"]["status"] = "diverged"
    text = text_of(build(write_study(tmp_path / "a", records)))
    assert "diverged; a configuration that diverged with any seed was not eligible" in text
    for false in ("means over", "standard error", "were chosen", "source accuracy kept"):
        assert false not in text


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ({}, "a multilayer perceptron with 100 and 100 hidden units and ReLU"),
        (
            {"name": "mlp", "hidden": [], "activation": "tanh"},
            "a multilayer perceptron with no hidden layer and tanh",
        ),
        ({"name": "resnet32", "depth": 20}, "a pre-activation residual network with 20 layers"),
        ({"name": "torchvision", "model": "vgg11", "weights": "w"}, "the network vgg11 with pre"),
        ({"name": "custom", "factory": "a.b:c"}, "the network a.b:c"),
        ({"name": "mlp", "hidden": "broken"}, "a multilayer perceptron with ReLU"),
    ],
)
def test_a_network_is_named_in_words(net: dict[str, object], words: str) -> None:
    assert network_words(net).startswith(words)


def test_a_list_has_a_word_before_its_last() -> None:
    assert [listed(["a", "b", "c"][:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
