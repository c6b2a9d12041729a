"""A learner named by a study: the same records as the method of ours, and a row for each fault."""

from __future__ import annotations

from pathlib import Path

import clsweep
from clsweep.study.study import parse_study
from tests.support.own_code import package

_MINE = '''\
"""Training code of the user's own."""

import time

from torch.nn import functional as F

from clsweep.methods.hypers import NoHyper as Hyper


class Learner:
    starts_from_source = True

    def __init__(self, net, hyper, device, rng):
        self.net = net

    def learn(self, task, batches):
        optimiser = batches.optimiser(self.net.parameters())
        for batch in batches:
            optimiser.zero_grad()
            F.cross_entropy(self.net(batch.x, task), batch.y).backward()
            optimiser.step()

    def predict(self, x, task):
        return self.net(x, task)

    def bytes(self):
        return 0


class Talks(Learner):
    def learn(self, task, batches):
        print("task", task)
        super().learn(task, batches)


class Breaks(Learner):
    def learn(self, task, batches):
        {}["absent"]


class Hangs(Learner):
    patience_seconds = 0.2

    def learn(self, task, batches):
        time.sleep(60)


class Explodes(Learner):
    def predict(self, x, task):
        return self.net(x, task) * float("nan")
'''
_STUDY = """\
name = "mine"
seeds = [0]

[benchmark]
name = "split"
n_tasks = 5
examples_per_task = 60

[net]
name = "mlp"
hidden = [8]

[training]
lr = 0.1

[[methods]]
name = "finetune"
"""
_OWN = '\n[[methods]]\nname = "custom"\nlearner = "my_pkg.mine:{kind}"\nlabel = "{kind}"\n'


def test_a_learner_is_a_method_and_its_faults_are_rows(tmp_path: Path) -> None:
    kinds = ("Learner", "Talks", "Breaks", "Hangs", "Explodes")
    with package(tmp_path, mine=_MINE) as home:
        study = parse_study(_STUDY + "".join(_OWN.format(kind=kind) for kind in kinds), "mine")
        summary = clsweep.run(study, out=tmp_path / "out", inline=True)
        file = home / "mine.py"
    assert (summary.n_done, summary.n_failed, summary.n_diverged) == (6, 2, 1)
    results = clsweep.load(tmp_path / "out")
    trials = {row["label"]: row for row in results.trials.to_pylist()}
    accuracies: dict[str, list[tuple[object, ...]]] = {}
    for row in results.accuracy.to_pylist():
        rest = tuple(row[key] for key in ("after_task", "on_task", "split", "n_correct"))
        accuracies.setdefault(row["config_id"], []).append(rest)
    plain, mine = trials["fine-tuning"], trials["Learner"]
    assert accuracies[plain["config_id"]] == accuracies[mine["config_id"]]
    for key in ("n_steps", "n_params", "memory_bytes", "status", "message", "stages"):
        assert plain[key] == mine[key]

    def line(text: str) -> str:
        numbers = [n for n, one in enumerate(_MINE.splitlines(), 1) if text in one]
        return f"{file}, line {numbers[0]}"

    said = trials["Talks"]
    assert (said["status"], said["message"]) == ("ok", f"{line('print(')}, printed: task")
    assert trials["Breaks"]["status"] == trials["Hangs"]["status"] == "failed"
    assert "Breaks.learn raised KeyError: 'absent'" in trials["Breaks"]["message"]
    assert line('["absent"]') in trials["Breaks"]["message"]
    assert "Hangs.learn drew no batch for 0.2 s" in trials["Hangs"]["message"]
    assert line("time.sleep") in trials["Hangs"]["message"]
    assert trials["Explodes"]["status"] == "diverged"
    assert trials["Explodes"]["message"].startswith("what is predicted after task 2 is NaN")
