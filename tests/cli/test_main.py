"""Commands that compute nothing: what they print, and that they start at once."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from clsweep.cli.main import main
from clsweep.data.benchmark_specs import BENCHMARKS, own_draws
from clsweep.data.dataset_specs import DATASETS
from clsweep.methods import METHODS
from clsweep.nets.config import NetConfig
from clsweep.reporting.training_text import seeds_vary_text
from clsweep.study.configurations import configurations
from clsweep.study.grid import Range
from clsweep.study.method_tables import REQUESTS
from clsweep.study.sections import ReportConfig, Resources
from clsweep.study.study import Study, load_study, parse_study
from clsweep.study.toml_files import tomllib
from clsweep.training.config import TrainingConfig
from clsweep.training.optimiser_names import PAIRS
from tests.support.command_line import CommandLine, tiny_study

HEAVY = ("torch", "torchvision", "ray", "matplotlib", "pyarrow", "sklearn", "optuna", "pandas")


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLSWEEP_DATA", raising=False)
    return CommandLine(capsys)


LIGHT_COMMANDS = (
    ["--version"],
    ["--help"],
    ["plan", "study.toml"],
    ["plan", "models/study.toml"],
    ["methods"],
    ["methods", "ewc"],
    ["benchmarks"],
    ["benchmarks", "pair"],
    ["init"],
    ["schema"],
    ["plan", "nowhere.toml"],
    ["run", "nowhere.toml"],
)


def test_light_commands_import_nothing_heavy(tmp_path: Path) -> None:
    """One after the other in one process: what none has imported by its end, no one imports."""
    tiny_study(tmp_path)
    (tmp_path / "models").mkdir()
    tiny_study(tmp_path / "models", net='name = "torchvision"\nmodel = "resnet18"')
    code = (
        "import json, sys; from clsweep.cli.main import main; codes = []\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    codes.append(main(arguments))\n"
        f"    loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "    assert not loaded, f'{arguments} has imported {loaded}'\n"
        "print(json.dumps(codes))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, json.dumps(LIGHT_COMMANDS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    codes = json.loads(ran.stdout.splitlines()[-1])
    assert codes == [2 if "nowhere.toml" in words else 0 for words in LIGHT_COMMANDS]


def test_a_run_with_nothing_to_do_imports_neither_torch_nor_ray(tmp_path: Path) -> None:
    study = str(tiny_study(tmp_path))
    assert main(["run", study, "--inline", "--out", str(tmp_path / "out")]) == 0
    arguments = ["run", study, "--out", str(tmp_path / "out")]
    ran = _run_without(("torch", "torchvision", "ray"), arguments, tmp_path)
    assert ran.returncode == 0
    assert "2 of 2 trials done, 0 by this run" in ran.stdout


def _run_without(
    modules: tuple[str, ...], arguments: list[str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which fails if it has imported one of the modules."""
    code = (
        "import sys; from clsweep.cli.main import main; code = main(sys.argv[1:])\n"
        f"loaded = [name for name in {modules} if name in sys.modules]\n"
        "sys.exit(f'imported {loaded}' if loaded else code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert "imported" not in ran.stderr, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


def test_version(cli: CommandLine) -> None:
    ran = cli("--version")
    assert ran.code == 0
    assert ran.out.startswith("clsweep ")
    assert ran.out.split()[1][0].isdigit()


def test_no_command_prints_the_commands(cli: CommandLine) -> None:
    ran = cli()
    assert ran.code == 2
    shown = ran.out + ran.err
    for command in ("run", "plan", "report", "methods", "benchmarks", "init", "schema"):
        assert command in shown


@pytest.mark.parametrize("arguments", [["plna"], ["plan"], ["run", "x", "--workers", "0"]])
def test_wrong_usage(cli: CommandLine, arguments: list[str]) -> None:
    ran = cli(*arguments)
    assert ran.code == 2
    assert "Error: " in ran.err
    assert "Try 'clsweep" in ran.err


def test_methods_lists_all_of_them(cli: CommandLine) -> None:
    ran = cli("methods")
    assert ran.code == 0
    lines = ran.out.splitlines()[1:]
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_in_full(cli: CommandLine, name: str) -> None:
    ran = cli("methods", name)
    assert ran.code == 0
    assert ran.out.startswith(f"{METHODS[name].title} ({name})\n")
    assert METHODS[name].citation in ran.out
    for key, field in METHODS[name].hyper.model_fields.items():
        assert f"\n{key} = " in ran.out
        assert (field.description or "?").split()[0] in ran.out


def test_methods_say_what_cannot_start_from_the_source_model(cli: CommandLine) -> None:
    told = {name: entry.own_start for name, entry in METHODS.items() if entry.own_start}
    assert {"dgr": "generator", "hnet": "hypernetwork"}.items() <= told.items()
    # Joint training has no source model; it says that it needs all data at once.
    apart = {name for name, entry in METHODS.items() if not entry.starts_from_source}
    untrained = {name for name, entry in METHODS.items() if not entry.trains}
    assert apart - told.keys() == {"joint", *untrained}
    assert "\nStart: it classifies the inputs as they are" in cli("methods", "slda").out
    lines = {line.split()[0]: line for line in cli("methods").out.splitlines()}
    for name in METHODS:
        assert ("start of" in lines[name]) == (name in told)
        said = f"\nStart: its {told.get(name)} does not start from the shared source model; "
        assert (said in cli("methods", name).out) == (name in told)


def test_benchmarks_lists_benchmarks_and_data_sets(cli: CommandLine) -> None:
    ran = cli("benchmarks")
    first_words = [line.split()[0] for line in ran.out.splitlines() if line.strip()]
    assert ran.code == 0
    assert {*BENCHMARKS, *DATASETS, "folder:PATH"} <= set(first_words)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_in_full(cli: CommandLine, name: str) -> None:
    ran = cli("benchmarks", name)
    assert ran.code == 0
    for key in BENCHMARKS[name].model_fields:
        assert f"\n{key} " in ran.out


def test_unknown_names_are_answered_with_the_closest(cli: CommandLine) -> None:
    cli("methods", "LWF").is_mistake("unknown method 'LWF'", "did you mean 'lwf'?")
    cli("methods", "ewcc").is_mistake("unknown method 'ewcc'", "did you mean 'ewc'?")
    cli("benchmarks", "spilt").is_mistake("unknown benchmark 'spilt'", "did you mean 'split'?")
    cli("init", "--methods", "ewc,mass").is_mistake("unknown method 'mass'", "did you mean 'mas'?")
    cli("init", "--benchmark", "rotate").is_mistake("did you mean 'rotated'?")
    cli("init", "--methods", "si,si").is_mistake("method 'si' is listed twice")


def test_a_closed_pipe_is_no_crash(tmp_path: Path) -> None:
    command = f"{sys.executable} -m clsweep.cli.main schema | head -c 1"
    ran = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("{", "")


# ----- init


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_init_writes_a_file_with_every_key_that_loads_and_plans(
    cli: CommandLine, benchmark: str
) -> None:
    ran = cli("init", "--benchmark", benchmark, "--full", "--out", "new.toml")
    assert ran.code == 0
    assert "clsweep plan new.toml" in ran.out
    text = Path("new.toml").read_text(encoding="utf-8")
    study = load_study(Path("new.toml"))
    assert study.name == "new"
    assert type(study.benchmark) is BENCHMARKS[benchmark]
    scenario, of_numbers = study.benchmark.scenario, benchmark == "polynomials"
    defined = [
        n for n, e in METHODS.items() if scenario in (e.regression if of_numbers else e.scenarios)
    ]
    assert [request.name for request in study.methods] == defined
    assert len(defined) > (10 if of_numbers else len(METHODS) / 2)
    keys = [*BENCHMARKS[benchmark].model_fields, *NetConfig.model_fields]
    keys += [*TrainingConfig.model_fields, *Resources.model_fields, *ReportConfig.model_fields]
    keys += [key for name in defined for key in REQUESTS[name].model_fields]
    for key in keys:
        assert f"\n{key} = " in text or f"\n# {key} = " in text, key
    assert "Claims take six; ten are recommended" in text
    assert "\nchoose_on = []\n" in text
    assert "\n# choose_on = [0, 1, 2, 3]\n" in text
    assert max(map(len, text.splitlines())) <= 99
    planned = cli("plan", "new.toml")
    assert planned.code == 0, planned.err
    assert f"{len(configurations(study))} configurations × 3 seeds" in planned.out


def test_init_chooses_a_scenario_that_the_methods_have(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for methods, scenario in (("ewc,si", "task"), ("ewc,hnet_tir", "domain")):
        written = parse_study(cli("init", "--methods", methods).out)
        assert written.benchmark.scenario == scenario
    only_task = dataclasses.replace(METHODS["si"], scenarios=("task",))
    monkeypatch.setitem(METHODS, "si", only_task)
    words = ("no scenario is one of all of si, hnet_tir", "share a scenario")
    cli("init", "--methods", "si,hnet_tir").is_mistake(*words)


def test_what_init_leaves_to_defaults_are_the_defaults(cli: CommandLine) -> None:
    short, full = (cli("init", "--methods", " si , joint ", *how).out for how in ([], ["--full"]))
    written = parse_study(short)
    assert written == parse_study(full)
    assert len(short.splitlines()) < 30 < len(full.splitlines())
    minimal = parse_study(
        'name = "study"\n[benchmark]\nname = "split"\nsplit = "stratified"\n'
        '[[methods]]\nname = "si"\n'
        'c = { low = 1e-3, high = 1e5, n = 7 }\nform = "proximal"\n'
        '[[methods]]\nname = "joint"\n[training]\nepochs = 10\n'
    )
    assert written == minimal


def test_commented_keys_of_init_are_examples_that_work(cli: CommandLine) -> None:
    written = cli("init", "--methods", "ewc", "--full").out
    text = written.replace("# training = { lr = [", "training = { lr = [")
    assert [t.lr for t in parse_study(text).methods[0].training.trainings(TrainingConfig())] == [
        0.03,
        0.1,
    ]
    searching = written.replace('kind = "grid"', 'kind = "optuna"')
    for key in ("trials =", "sampler =", "nuisance =", "training = { lr = { low"):
        assert f"\n# {key}" in searching
        searching = searching.replace(f"\n# {key}", f"\n{key}")
    (request,) = parse_study(searching).methods
    assert request.training.axes() == {"lr": Range(0.01, 0.3, True)}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_init_recommends_an_order_per_seed_where_claims_are_wanted(
    cli: CommandLine, benchmark: str
) -> None:
    written = cli("init", "--benchmark", benchmark, "--methods", "joint", "--full").out
    advice = written[: written.index("[benchmark]")]
    keys = re.findall(r'(\w+) = ("\w+")', advice[advice.index("For a claim") :])
    assert ("draws", '"per_seed"') in keys
    for key, value in keys:
        written, n = re.subn(rf"^{key} = .*$", f"{key} = {value}", written, flags=re.MULTILINE)
        assert n == 1
    study = parse_study(written)
    assert own_draws(study.benchmark.model_dump())
    text = seeds_vary_text(study.benchmark.model_dump(), 6)
    assert "alone" not in text


def test_init_names_the_default_beside_what_it_recommends_instead(cli: CommandLine) -> None:
    """A recommended line that is deleted makes another study, and so says of itself."""
    text = cli("init", "--methods", "ewc", "--full").out
    for line, default in (
        ('split = "stratified"', '"random"'),
        ('form = "proximal"', '"gradient"'),
        ("epochs = 10", "1"),
    ):
        assert f"{line}  # recommended; the default is {default}\n" in text
    assert text.count("# recommended; the default is") == 3


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_short_file_is_the_same_study_as_the_full_one(cli: CommandLine, benchmark: str) -> None:
    short, full = (cli("init", "--benchmark", benchmark, *how).out for how in ([], ["--full"]))
    assert parse_study(short) == parse_study(full)
    assert len(short.splitlines()) < len(full.splitlines()) / 3
    assert max(map(len, short.splitlines())) <= 99


def test_init_overwrites_nothing(cli: CommandLine) -> None:
    Path("there.toml").write_text("precious")
    cli("init", "--out", "there.toml").is_mistake("there.toml exists already", "another name")
    assert Path("there.toml").read_text() == "precious"
    cli("init", "--out", "no/folder.toml").is_mistake("cannot be written: No such file")


def test_init_finds_a_name_for_any_file(cli: CommandLine) -> None:
    assert cli("init", "--out", "my study.toml").code == 0
    assert load_study(Path("my study.toml")).name == "study"


# ----- schema


@pytest.fixture(scope="module")
def schema() -> dict:
    """What `clsweep schema` prints."""
    command = [sys.executable, "-m", "clsweep.cli.main", "schema"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_the_schema_is_valid_and_covers_every_key(schema: dict) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    sections = {
        "": Study,
        "NetConfig": NetConfig,
        "TrainingConfig": TrainingConfig,
        "Resources": Resources,
        "ReportConfig": ReportConfig,
        **{config.__name__: config for config in BENCHMARKS.values()},
        **{f"{name}_request": request for name, request in REQUESTS.items()},
        "TrainingAxes": REQUESTS["ewc"].model_fields["training"].annotation,
    }
    for name, model in sections.items():
        part = schema["$defs"][name] if name else schema
        pairs = PAIRS.keys() if name.startswith("Training") else set()
        pairs = {"benchmarks"} if not name else pairs  # these become several studies
        assert part["properties"].keys() == model.model_fields.keys() | pairs, name
        assert part["additionalProperties"] is False


def test_the_schema_accepts_what_loads(cli: CommandLine, schema: dict) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    for benchmark in BENCHMARKS:
        for how in ([], ["--full"]):
            validator.validate(tomllib.loads(cli("init", "--benchmark", benchmark, *how).out))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("lam = [1.0]", "lamda = [1.0]"),
        ("lam = [1.0]", "lam = -1"),
        ("lam = [1.0]", "lam = []"),
        ("lam = [1.0]", 'lam = "1"'),
        ("lam = [1.0]", "lam = { low = 1, hig = 2, n = 3 }"),
        ("lam = [1.0]", "lam = { low = 1, high = 2, n = 1 }"),
        ('name = "ewc"', 'name = "ewcc"'),
        ('name = "split"', 'name = "splitt"'),
        ("steps = 2", "steps = 2.5"),
        ("seeds = 1", "seeds = 0"),
    ],
)
def test_the_schema_refuses_what_does_not_load(
    schema: dict, tmp_path: Path, before: str, after: str
) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    text = tiny_study(tmp_path).read_text()
    validator.validate(tomllib.loads(text))
    assert text.count(before) == 1
    assert not validator.is_valid(tomllib.loads(text.replace(before, after)))


# ----- plan


def test_plan_of_a_fresh_study(cli: CommandLine, tmp_path: Path) -> None:
    ran = cli("plan", tiny_study(tmp_path, lam="[1.0, 10.0]"))
    assert ran.code == 0
    assert "3 configurations × 1 seed = 3 trials; 0 done in results/tiny, 3 to do" in ran.out
    assert "1 source model, 1 set of statistics; 0 in the cache" in ran.out
    # Two steps for the source and for each of three trials, which start from it.
    assert "training steps: 8 to do, of 8 in all" in ran.out
    assert "no trial has finished yet, so no estimate" in ran.out
    for note in ("one seed only", "no joint reference", "EWC: lam covers 1.0 decades"):
        assert f"note: {note}" in ran.out
    assert "no fine-tuning reference" not in ran.out
    assert list(tmp_path.iterdir()) == [tmp_path / "study.toml"]


def test_plan_notes_unequal_training_and_budgets(cli: CommandLine, tmp_path: Path) -> None:
    more = '[[methods]]\nname = "si"\nc = [0.1, 1]\ntraining = { lr = 0.5 }\n'
    ran = cli("plan", tiny_study(tmp_path, more=more))
    assert "note: training differs between methods in 'lr': fine-tuning, EWC " in ran.out
    assert " | SI 0.5\n" in ran.out
    assert "note: no frozen reference: nothing shows the source end of the fronts" in ran.out
    assert "note: unequal numbers of configurations" in ran.out
    assert ": EWC 1, SI 2\n" in ran.out
    assert "EWC: one value of 'lam' is a point and not a front" in ran.out
    replay = '[[methods]]\nname = "replay"\nmemory_size = 9\n'
    ran = cli("plan", tiny_study(tmp_path, more=replay))
    assert "one value of 'weight' and 'memory_size' is a point and not a front" in ran.out


def test_plan_notes_what_cannot_start_from_the_source_model(
    cli: CommandLine, tmp_path: Path
) -> None:
    more = '[[methods]]\nname = "hnet"\n[[methods]]\nname = "dgr"\nlabel = "replayed dreams"\n'
    out = cli("plan", tiny_study(tmp_path, more=more)).out
    assert out.count("does not start from the shared source model") == 2
    assert "note: hypernetwork: its hypernetwork does not start from" in out
    assert "note: replayed dreams: its generator does not start from" in out


def test_a_in_the_study_is_one_message(cli: CommandLine, tmp_path: Path) -> None:
    path = tiny_study(tmp_path, more="lamda = 3\n")
    for command in (["plan"], ["run"], ["run", "--inline"]):
        cli(*command, path).is_mistake("'lamda'", "'lam'?", f"{path}: methods[1].lamda", "ewc")
    assert not Path("results").exists()
