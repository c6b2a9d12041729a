"""Studies: what their files expand to, and what their identities depend on."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel
from ray import cloudpickle

from clsweep.data import benchmarks
from clsweep.data.benchmark_specs import BENCHMARKS
from clsweep.errors import StudyError
from clsweep.methods import METHODS
from clsweep.nets.config import NetConfig
from clsweep.study.configurations import Configuration, configurations, study_identity
from clsweep.study.grid import product, range_values
from clsweep.study.identity import canonical_json
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, load_study, parse_study, stored_study
from clsweep.toml_text import toml_table, toml_value
from clsweep.training.config import TrainingConfig

HEAD = 'name = "s"\n[benchmark]\nname = "split"\n'
EWC = '[[methods]]\nname = "ewc"\n'


def _grid(text: str) -> list[Configuration]:
    return configurations(parse_study(text))


def _ids(text: str) -> list[str]:
    return [c.id for c in _grid(text)]


# ---------------------------------------------------------------------------------- identities


GOLDEN = {
    "ewc": (HEAD + EWC + "lam = 10.0\n", "1f6c93f0d81fcf95"),
    "replay": (
        'name = "other"\n[benchmark]\nname = "permuted"\nn_tasks = 3\n[net]\nname = "conv"\n'
        '[[methods]]\nname = "replay"\nmemory_size = 200\n',
        "afce472841c763e7",
    ),
    "finetune": (
        'name = "s"\n[benchmark]\nname = "pair"\ntarget = "mnist"\n[training]\nsteps = 7\n'
        'optimizer = "adam"\nlr = 0.001\n[[methods]]\nname = "finetune"\n',
        "de3a8f61e68977c0",
    ),
}


@pytest.mark.parametrize(("text", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_ids_are_the_same_for_ever(text: str, expected: str) -> None:
    # Results that exist are found by these ids: a change here orphans every one of them.
    assert _ids(text) == [expected]


def test_released_defaults_never_change() -> None:
    # A key at its default is not part of an id: with another default the same id would name other
    # work. A new key is added to the file, with a default that changes nothing.
    found = {
        owner: {
            key: field.get_default(call_default_factory=True)
            for key, field in model.model_fields.items()
            if not field.is_required()
        }
        for owner, model in _owners_of_keys()
    }
    expected = json.loads(
        (Path(__file__).parents[1] / "released_defaults.json").read_text("utf-8")
    )
    assert json.loads(json.dumps(found)) == expected


def _owners_of_keys() -> Iterator[tuple[str, type[BaseModel]]]:
    """(name in the file of defaults, model) of everything that an id depends on."""
    yield from (("[net]", NetConfig), ("[training]", TrainingConfig))
    yield from ((f"benchmark {name}", model) for name, model in BENCHMARKS.items())
    yield from ((f"method {name}", entry.hyper) for name, entry in METHODS.items())


@pytest.mark.parametrize(
    "other",
    [
        'seeds = 7\nname = "renamed"\n[[methods]]\nlam = 10\nname = "ewc"\n'
        '[benchmark]\nn_tasks = 2\ndataset = "digits"\nname = "split"\n',
        HEAD + EWC + "lam = 10\n",
        HEAD + EWC + "lam = [1e1]\n",
        HEAD + EWC + 'label = "another"\nlam = 10.0\n',
        HEAD + EWC + 'lam = 10.0\nfisher = "exact"\ntraining = { lr = 0.1 }\n',
        HEAD + "[resources]\ncpus = 2\n[report]\ndrops = [2]\n" + EWC + "lam = 10.0\n",
        HEAD + "[training]\nmomentum = -0.0\n" + EWC + "lam = 10.0\n",
    ],
    ids=["order, name, seeds", "whole", "list", "label", "defaults", "resources", "-0"],
)
def test_ids_do_not_depend_on_how_it_is_written(other: str) -> None:
    assert _ids(other) == [GOLDEN["ewc"][1]]


@pytest.mark.parametrize(
    "other",
    [
        HEAD + EWC + "lam = 10.000001\n",
        HEAD + EWC + 'lam = 10.0\nanchor = "online"\n',
        HEAD + EWC + "lam = 10.0\ntraining = { lr = 0.2 }\n",
        HEAD + "data_seed = 1\n" + EWC + "lam = 10.0\n",
        HEAD + "[net]\nhidden = [100]\n" + EWC + "lam = 10.0\n",
        HEAD + "[training]\nsteps = 19\n" + EWC + "lam = 10.0\n",
        HEAD + '[[methods]]\nname = "mas"\nlam = 10.0\n',
    ],
    ids=["λ", "word", "method's training", "benchmark", "net", "training", "method"],
)
def test_ids_depend_on_everything_that_is_computed(other: str) -> None:
    assert _ids(other) != [GOLDEN["ewc"][1]]


@pytest.mark.parametrize(
    ("given", "key", "default", "other"),
    [
        ("optimizer = 'adam'", "eps", "1e-8", "1e-7"),
        ("optimizer = 'adagrad'", "eps", "1e-10", "1e-8"),
        ("optimizer = 'adadelta'", "eps", "1e-6", "1e-8"),
        ("optimizer = 'rmsprop'", "alpha", "0.99", "0.75"),
        ("optimizer = 'asgd'", "alpha", "0.75", "0.99"),
        ("epochs = 3", "first_epochs", "3", "4"),
        ("steps = 3", "first_steps", "3", "4"),
        ("steps = 3", "first_epochs", "0", "1"),  # as many as the default of 'epochs'
    ],
)
def test_a_default_that_is_written_out_is_the_same_work(
    given: str, key: str, default: str, other: str
) -> None:
    left_out, written, changed = (
        _ids(f"{HEAD}[training]\n{given}\n{more}\n{EWC}")
        for more in ("", f"{key} = {default}", f"{key} = {other}")
    )
    assert left_out == written != changed


def test_a_zero_of_a_method_has_no_sign() -> None:
    assert _ids(HEAD + EWC + "lam = 0\n") == _ids(HEAD + EWC + "lam = -0.0\n")


def test_a_folder_is_bound_to_benchmark_net_and_training_alone() -> None:
    base = study_identity(parse_study(HEAD + EWC))
    more = "seeds = [4]\n" + HEAD + '[resources]\ncpus = 3\n[[methods]]\nname = "si"\n'
    assert study_identity(parse_study(more)) == base
    for section in ("[training]\nlr = 0.2\n", "[net]\nhidden = []\n"):
        assert study_identity(parse_study(HEAD + section + EWC)) != base
    assert study_identity(parse_study(HEAD + "pad = 1\n" + EWC)) != base


def test_canonical_json_sorts_and_refuses_what_json_does_not_have() -> None:
    assert canonical_json({"b": (1.0, "λ"), "a": 1}) == '{"a":1,"b":[1.0,"\\u03bb"]}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": math.nan})


# ---------------------------------------------------------------------------------------- grids


def test_grids_expand_in_file_order_with_the_last_axis_fastest() -> None:
    text = (
        HEAD
        + '[[methods]]\nname = "replay"\nmemory_size = [50, 100]\nweight = [2.0, 1.0]\n'
        + "training = { batch_size = [16, 8], lr = [0.1, 0.2] }\n"
        + '[[methods]]\nname = "finetune"\n'
    )
    grid = _grid(text)
    found = [
        (c.training.lr, c.training.batch_size, c.hyper.weight, c.hyper.memory_size)  # type: ignore[attr-defined]
        for c in grid[:-1]
    ]
    # The order of the declarations, not of the file: lr before batch_size, weight before size.
    assert found == list(itertools.product([0.1, 0.2], [16, 8], [2.0, 1.0], [50, 100]))
    assert grid[-1].method == "finetune"
    assert len({c.id for c in grid}) == len(grid) == 17


def test_a_configuration_carries_its_knobs_primary_first() -> None:
    (one,) = _grid(HEAD + '[[methods]]\nname = "replay"\nweight = 2\nmemory_size = 70\n')
    assert list(one.knobs.items()) == [("weight", 2.0), ("memory_size", 70.0)]
    assert one.label == METHODS["replay"].title
    assert not one.reference
    (reference,) = _grid(HEAD + '[[methods]]\nname = "joint"\n')
    assert reference.reference
    assert reference.knobs == {}


def test_a_methods_steps_replace_the_studys_epochs_and_the_reverse() -> None:
    text = HEAD + "[training]\nepochs = 3\n" + EWC + "training = { steps = [5, 6] }\n"
    assert [c.training.steps for c in _grid(text)] == [5, 6]
    text = HEAD + "[training]\nsteps = 3\n" + EWC + "training = { epochs = 4 }\n"
    (one,) = _grid(text)
    assert (one.training.epochs, one.training.steps) == (4, 0)


def test_whole_numbers_may_be_written_as_decimals_and_ranges_are_rounded() -> None:
    text = HEAD + '[[methods]]\nname = "replay"\nmemory_size = '
    assert [c.knobs["memory_size"] for c in _grid(text + "[1e2, 2e2]\n")] == [100, 200]
    found = _grid(text + "{ low = 10, high = 1000, n = 4 }\n")
    assert [c.knobs["memory_size"] for c in found] == [10, 46, 215, 1000]
    assert all(isinstance(c.hyper.memory_size, int) for c in found)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("low", "high", "n"), [(1.0, 1e6, 7), (1e-3, 1e3, 7), (0.1, 10.0, 3), (3e-7, 7e9, 2)]
)
def test_logarithmic_ranges_are_exact_at_their_ends_and_even_between(
    low: float, high: float, n: int
) -> None:
    values = range_values(low, high, n, log=True, whole=False)
    assert (values[0], values[-1], len(values)) == (low, high, n)
    steps = [math.log(b / a) for a, b in itertools.pairwise(values)]
    assert steps == pytest.approx([math.log(high / low) / (n - 1)] * (n - 1), rel=1e-5)


def test_decades_are_round_numbers() -> None:
    assert range_values(1e-3, 1e3, 7, log=True, whole=False) == (1e-3, 1e-2, 0.1, 1, 10, 100, 1e3)
    assert range_values(1, 1e6, 7, log=True, whole=True) == tuple(10**k for k in range(7))


def test_linear_ranges() -> None:
    assert range_values(0.0, 0.3, 4, log=False, whole=False) == (0.0, 0.1, 0.2, 0.3)
    assert range_values(0, 9, 4, log=False, whole=True) == (0, 3, 6, 9)


def test_the_declared_scale_is_the_default_and_can_be_overruled() -> None:
    span = "{ low = 1, high = 3, n = 3 }"
    lwf = HEAD + '[[methods]]\nname = "lwf"\n'
    assert [c.hyper.temperature for c in _grid(lwf + f"temperature = {span}\n")] == [1, 2, 3]  # type: ignore[attr-defined]
    assert [c.hyper.lam for c in _grid(lwf + f"lam = {span}\n")] == [1, 1.73205, 3]  # type: ignore[attr-defined]
    linear = span.replace("}", ", log = false }")
    assert [c.hyper.lam for c in _grid(lwf + f"lam = {linear}\n")] == [1, 2, 3]  # type: ignore[attr-defined]


def test_product_of_nothing_is_one_empty_point() -> None:
    assert product({}) == [{}]
    assert product({"a": (1, 2), "b": ()}) == []


# --------------------------------------------------------------------------- the resolved study


def _studies() -> dict[str, str]:
    studies = {}
    for name in METHODS:
        scenario = f'scenario = "{METHODS[name].scenarios[0]}"\n'
        studies[f"method {name}"] = HEAD + scenario + f'[[methods]]\nname = "{name}"\n'
    required = {
        "pair": 'target = ["mnist", "kmnist"]\n',
        "sequence": 'datasets = ["mnist", "kmnist"]\n',
    }
    for name in BENCHMARKS:
        studies[f"benchmark {name}"] = (
            f'name = "s"\n[benchmark]\nname = "{name}"\n{required.get(name, "")}{EWC}'
        )
    studies["rotated by angles"] = (
        'name = "s"\n[benchmark]\nname = "rotated"\nangles = [0, 30.5, 1e-7]\n' + EWC
    )
    studies["seeds, steps, overrides"] = (
        'seeds = [5, 1]\nname = "a.b-c_1"\n[benchmark]\nname = "split"\nn_tasks = 5\n'
        'scenario = "class"\nclass_order = "shuffled"\ndraws = "per_seed"\n'
        '[training]\nsteps = 9\noptimizer = "adagrad"\nweight_decay = 1e-5\nreset = false\n'
        "[resources]\ngpu_fraction = 2\nmemory_mb = 10\n[report]\ndrops = []\n"
        + EWC
        + 'label = "λ \\"grid\\" \\\\ #1"\nlam = { low = 1e-3, high = 1e7, n = 5 }\n'
        + 'form = ["proximal", "gradient"]\n'
        + "training = { lr = { low = 0.01, high = 0.1, n = 3 }, epochs = [1, 2] }\n"
    )
    studies["conv"] = HEAD + '[net]\nname = "conv"\nchannels = [4]\nactivation = "tanh"\n' + EWC
    studies["custom"] = HEAD + '[net]\nname = "custom"\nfactory = "torch.nn:Identity"\n' + EWC
    studies["linear"] = HEAD + "[net]\nhidden = []\n" + EWC
    return studies


@pytest.mark.parametrize("text", _studies().values(), ids=_studies())
def test_the_resolved_file_is_the_same_study_with_nothing_left_out(text: str) -> None:
    study = parse_study(text)
    resolved = resolved_toml(study)
    again = parse_study(resolved)
    assert again == study
    assert configurations(again) == configurations(study)
    assert study_identity(again) == study_identity(study)
    assert resolved_toml(again) == resolved
    for request in study.methods:
        for key in METHODS[request.name].hyper.model_fields:
            assert f"\n{key} = " in resolved
    for key in type(study.benchmark).model_fields:
        assert f"\n{key} = " in resolved


@pytest.mark.parametrize(
    "value",
    [True, 0, -3, 0.1, 1e300, 1e-300, 2.0, "", 'a "b" \\ \n\t\x7f λ', [1, [2.5, "x"]], []],
)
def test_values_survive_being_written_as_toml(value: Any) -> None:
    text = toml_table("[benchmark]", {"key": value, "table": {"inner": value}, "none": {}})
    from clsweep.study.toml_files import tomllib

    found = tomllib.loads(text)["benchmark"]
    assert found == {"key": value, "table": {"inner": value}, "none": {}}
    assert type(found["key"]) is type(value)


def test_what_toml_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="NoneType has no TOML form"):
        toml_value(None)


# ------------------------------------------------------------------------------- small print


def test_defaults_of_a_minimal_study() -> None:
    study = parse_study(HEAD + EWC)
    assert study.seeds == (0, 1, 2)
    assert study.methods[0].label == "EWC"
    assert study.net.hidden == (100, 100)
    assert (study.training.epochs, study.training.steps) == (1, 0)


def test_seeds_are_a_number_or_a_list() -> None:
    assert parse_study("seeds = 2\n" + HEAD + EWC).seeds == (0, 1)
    assert parse_study("seeds = [9, 3]\n" + HEAD + EWC).seeds == (9, 3)


def test_steps_are_counted_per_task_with_the_last_batch_included() -> None:
    assert TrainingConfig(epochs=3, batch_size=10).n_steps(101) == 33
    assert TrainingConfig(epochs=3, batch_size=10).n_steps(100) == 30
    assert TrainingConfig(steps=7).n_steps(10_000) == 7


def test_a_study_is_frozen() -> None:
    study = parse_study(HEAD + EWC)
    with pytest.raises(ValueError, match="frozen"):
        study.name = "other"  # type: ignore[misc]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + EWC).replace("\n", "\r\n").encode())
    assert load_study(path) == parse_study(HEAD + EWC)


def test_memory_as_large_as_the_data_is_allowed() -> None:
    parse_study(HEAD + '[[methods]]\nname = "replay"\nmemory_size = 1167\n')
    with pytest.raises(StudyError, match="at most 1167"):
        parse_study(HEAD + '[[methods]]\nname = "replay"\nmemory_size = 1168\n')


def test_rings_need_a_place_for_every_task() -> None:
    text = HEAD + '[[methods]]\nname = "replay"\nfill = {fill}\nmemory_size = {size}\n'
    parse_study(text.format(fill='"reservoir"', size=1))
    parse_study(text.format(fill='"ring"', size=2))
    for fill in ('"ring"', '["reservoir", "ring"]'):
        with pytest.raises(StudyError, match=r"(?s)a ring without.*memory_size = 2 or more"):
            parse_study(text.format(fill=fill, size="[1, 100]"))


def test_memory_per_task_is_bounded_by_the_largest_task() -> None:
    text = HEAD + '[[methods]]\nname = "gem"\nper_task = {each}\nmemory_size = {size}\n'
    parse_study(text.format(each="false", size=1167))
    with pytest.raises(StudyError, match=r"at most \d+, the training examples of the largest"):
        parse_study(text.format(each="true", size=1167))
    parse_study(text.format(each="true", size=500))


def test_the_schema_is_json_and_knows_every_method_and_benchmark() -> None:
    schema = json.loads(json.dumps(Study.model_json_schema()))
    assert set(schema["properties"]) == set(Study.model_fields)
    text = json.dumps(schema["$defs"])
    for name in (*METHODS, *BENCHMARKS):
        assert f'"const": "{name}"' in text


def test_a_stored_study_needs_no_data(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(HEAD + 'dataset = "folder:gone"\n' + EWC, encoding="utf-8")
    with pytest.raises(StudyError, match="there is no folder 'gone/train'"):
        load_study(path)
    assert stored_study(path).benchmark.dataset == "folder:gone"


# ------------------------------------------------------------------- paths beside the study file


def _images(path: Path, grey: int) -> None:
    """A folder of two classes; where it lies shows in its brightness."""
    for part in ("train", "test"):
        for c, label in enumerate(("a", "b")):
            for i in range(8):
                file = path / part / label / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), grey + 10 * c + i).save(file)


def _pets(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = 'name = "pets"\n[benchmark]\nname = "permuted"\ndataset = "folder:pets"\n'
    path.write_text(text + '[[methods]]\nname = "finetune"\n', encoding="utf-8")
    return path


def _brightest(study: Study, root: Path | None) -> int:
    sequence = benchmarks.build(study.located_benchmark, root, 0)
    return int(sequence.tasks[0].train.images.max())


def test_folders_are_looked_up_beside_the_study_file_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {name: tmp_path / name / "pets" for name in ("studies", "data", "here")}
    for grey, path in zip((200, 100, 0), places.values(), strict=True):
        _images(path, grey)
    monkeypatch.chdir(tmp_path / "here")
    file = _pets(tmp_path / "studies" / "pets.toml")
    root = tmp_path / "data"
    assert _brightest(load_study(file, root), root) == 217
    assert _brightest(load_study("../studies/pets.toml", None), None) == 217
    elsewhere = _pets(tmp_path / "elsewhere" / "pets.toml")
    assert _brightest(load_study(elsewhere, root), root) == 117
    assert _brightest(load_study(elsewhere, None), None) == 17
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match="beside the study file, then below the data root"):
        load_study(elsewhere, None)


def test_where_a_file_lies_is_no_part_of_what_it_says(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _images(tmp_path / name / "pets", 0)
    one, two = (load_study(_pets(tmp_path / name / "pets.toml")) for name in ("one", "two"))
    assert one == two
    assert study_identity(one) == study_identity(two)
    assert resolved_toml(one) == resolved_toml(two)
    assert one.located_benchmark != two.located_benchmark
    sent = cloudpickle.loads(cloudpickle.dumps(one))  # as Ray sends it to workers
    assert sent.located_benchmark == one.located_benchmark


def test_weights_are_looked_up_beside_the_study_file_first(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    text = 'name = "x"\n[benchmark]\nname = "split"\n[net]\nname = "torchvision"\n'
    text += 'model = "resnet18"\nweights = "mine.pth"\n[[methods]]\nname = "finetune"\n'
    file.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match="beside the study file"):
        load_study(file, tmp_path / "data")
    (tmp_path / "mine.pth").touch()
    study = load_study(file, tmp_path / "data")
    assert study.located_net.weights == str(tmp_path / "mine.pth")
    assert study.net.weights == "mine.pth"
