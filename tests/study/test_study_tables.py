"""What a study says beside its methods, as a value of its own."""

from __future__ import annotations

from pathlib import Path

from clsweep.study.study import load_study
from clsweep.study.study_tables import Conditions, StudyTables

TEXT = """
name = "conditions"
seeds = [4, 7]
benchmark = { name = "split", dataset = "digits", n_tasks = 2, scenario = "domain" }
net = { hidden = [12] }
training = { lr = 0.02, epochs = 3 }
save = { losses = true }
[[methods]]
name = "ewc"
lam = [1.5, 2.5]
"""


def test_conditions_are_all_of_a_study_but_its_methods(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TEXT)
    study = load_study(tmp_path / "study.toml")
    found = study.conditions
    assert StudyTables.model_fields.keys() - Conditions.model_fields.keys() == {"methods"}
    assert {key: getattr(study, key) for key in Conditions.model_fields} == dict(found)
    assert not hasattr(found, "methods")
    assert found.results_folder == study.results_folder
    assert found.located_benchmark == study.located_benchmark


def test_conditions_know_what_lies_beside_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"")
    (tmp_path / "study.toml").write_text(TEXT)
    study = load_study(tmp_path / "study.toml")
    net = study.net.model_copy(update={"weights": "mine.pth"})
    found = study.model_copy(update={"net": net}).conditions
    assert found.net.weights == "mine.pth"
    assert found.located_net.weights == str(tmp_path / "mine.pth")
