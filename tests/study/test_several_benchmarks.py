"""One study file with several benchmarks: each is the study that it would be in a file alone."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from clsweep.errors import StudyError
from clsweep.study.configurations import configurations, study_identity
from clsweep.study.file_schema import file_schema
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import load_studies, load_study, parse_study, shared_study
from clsweep.study.toml_files import tomllib
from tests.support.array_files import split_of, vectors, write

METHODS = """
[[methods]]
name = "finetune"
[[methods]]
name = "ewc"
lam = [1, 10]
"""
ALONE = 'name = "many"\nseeds = 2\n[benchmark]\nname = "split"\ndataset = "digits"\n' + METHODS
LISTED = ALONE.replace('"digits"', '["digits", "arrays:data.npz"]')
TABLES = """\
name = "many"
seeds = 2
[benchmark]
name = "split"
[net]
hidden = [8]
[training]
epochs = 3
[[benchmarks]]
label = "two"
[[benchmarks]]
n_tasks = 5
scenario = "class"
net = { hidden = [4] }
training = { lr = 0.3 }
[[benchmarks]]
name = "permuted"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "many.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_listed_data_set_has_the_identities_that_it_has_alone(tmp_path: Path) -> None:
    x, y = vectors(n=60, n_classes=4)
    write(tmp_path, x, y, split_of(y))
    alone = load_study(written(tmp_path, ALONE))
    several = load_studies(written(tmp_path, LISTED))
    assert [*several] == ["digits", "data"]
    digits, other = several.values()
    assert [c.id for c in configurations(digits)] == [c.id for c in configurations(alone)]
    assert study_identity(digits) == study_identity(alone)
    assert not {c.id for c in configurations(other)} & {c.id for c in configurations(alone)}
    assert str(digits.results_folder) == "results/many/digits"
    assert (digits.name, alone.results_folder) == ("many-digits", Path("results/many"))
    again = parse_study(resolved_toml(digits))
    assert again == digits


def test_a_file_with_one_benchmark_gives_the_study_that_it_always_gave(tmp_path: Path) -> None:
    path = written(tmp_path, ALONE)
    assert load_studies(path) == {"": load_study(path)}
    assert [*load_studies(path).values()][0].results_folder == Path("results/many")


def test_tables_take_what_they_do_not_say_and_change_nothing_of_one_another(
    tmp_path: Path,
) -> None:
    several = load_studies(written(tmp_path, TABLES + METHODS))
    assert [*several] == ["two", "split-digits", "permuted-digits"]
    two, five, permuted = several.values()
    assert (two.benchmark.n_tasks, five.benchmark.n_tasks) == (2, 5)
    assert (five.benchmark.scenario, two.benchmark.scenario) == ("class", "task")
    assert (two.net.hidden, five.net.hidden) == ((8,), (4,))
    assert (five.training.lr, five.training.epochs) == (0.3, 3)
    assert two.training.lr == permuted.training.lr != 0.3
    last = TABLES.rindex("[[benchmarks]]")
    fewer = load_studies(written(tmp_path, TABLES[:last] + METHODS))
    assert {label: several[label] for label in fewer} == fewer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ALONE.replace('"digits"', "[]"), "from 1 to 100"),
        (ALONE.replace('"digits"', "[3]"), "names of data sets"),
        (LISTED + '[[benchmarks]]\nname = "split"\n', "one of them"),
        (ALONE.replace('"digits"', '["digits", "folder:x/digits"]'), "labelled 'digits'"),
        (ALONE + '[[benchmarks]]\nlabel = "a/b"\n', "it names a folder"),
        (ALONE + '[benchmarks]\nlabel = "a"\n', "no list of benchmarks"),
        (TABLES.replace("n_tasks = 5", "n_taks = 5") + METHODS, "split-digits': benchmark.n_taks"),
        (TABLES.replace("lr = 0.3", "lr = -1") + METHODS, "split-digits': training.lr"),
        (TABLES.replace("{ lr = 0.3 }", "3") + METHODS, "split-digits': training"),
    ],
)
def test_mistakes_are_named_with_their_benchmark(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_studies(written(tmp_path, text))
    assert words in str(caught.value), caught.value


def test_where_one_study_is_wanted_several_are_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, LISTED)
    for read in (load_study, shared_study, lambda one: parse_study(one.read_text())):
        with pytest.raises(StudyError, match="2 benchmarks: digits, data"):
            read(path)


def test_an_editors_schema_takes_one_benchmark_or_several(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(file_schema())
    for text in (ALONE, LISTED, TABLES + METHODS):
        validator.validate(tomllib.loads(text))
    for text in (ALONE.replace('"split"', '"splt"'), "name = 'x'" + METHODS):
        assert not validator.is_valid(tomllib.loads(text))
