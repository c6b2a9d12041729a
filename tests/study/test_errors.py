"""Every mistake in a study file ends in one message: found, expected, where, what next."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from clsweep.config_section import as_toml, mistake, mistake_below
from clsweep.errors import StudyError
from clsweep.methods import METHODS
from clsweep.study.errors import key_path, location
from clsweep.study.study import load_study, parse_study

TOP = 'name = "s"\n[benchmark]\nname = "split"\n'
FINETUNE = '[[methods]]\nname = "finetune"\n'
EWC = '[[methods]]\nname = "ewc"\n'
REPLAY = '[[methods]]\nname = "replay"\n'
FIRST_EWC = '([[methods]] table number 1 of the file, name = "ewc")'


def _with_benchmark(lines: str) -> str:
    return f'name = "s"\n[benchmark]\n{lines}{FINETUNE}'


def _with_net(lines: str) -> str:
    return f"{TOP}[net]\n{lines}{FINETUNE}"


def _with_training(lines: str) -> str:
    return f"{TOP}[training]\n{lines}{FINETUNE}"


def _with_seeds(value: str) -> str:
    return f"seeds = {value}\n{TOP}{FINETUNE}"


# TOML text -> what the message must say.
UNKNOWN_KEYS = {
    "top": ("seed = 3\n" + TOP + FINETUNE, "unknown key 'seed'", "'seeds'?", "st.toml: seed\n"),
    "table": (
        TOP + FINETUNE + "[trainig]\nlr = 0.1\n",
        "unknown key 'trainig'",
        "'training'?",
        "st.toml: trainig",
    ),
    "benchmark": (
        TOP + "n_task = 2\n" + FINETUNE,
        "unknown key 'n_task'",
        "'n_tasks'?",
        "benchmark.n_task\n",
        "next: `clsweep benchmarks split`",
    ),
    "net": (_with_net("hiden = [3]\n"), "'hiden'", "'hidden'?", "st.toml: net.hiden"),
    "training": (
        _with_training("learning_rate = 0.1\n"),
        "'learning_rate'",
        "one of 'alpha', 'amsgrad', 'augment', 'batch_size'",
        "training.learning_rate",
    ),
    "resources": (
        TOP + "[resources]\ngpu_fractions = 0.1\n" + FINETUNE,
        "'gpu_fraction'?",
        "resources.gpu_fractions",
    ),
    "report": (TOP + "[report]\ndrop = [1.0]\n" + FINETUNE, "'drops'?", "report.drop"),
    "method": (
        TOP + EWC + "lamda = 1.0\n",
        "unknown key 'lamda'",
        "'lam'?",
        f"methods[0].lamda {FIRST_EWC}",
        "next: `clsweep methods ewc`",
    ),
    "key of another method": (
        TOP + FINETUNE + EWC + "c = 1.0\n",
        "unknown key 'c'",
        "'gamma', 'label', 'lam'",
        "methods[1].c ([[methods]] table number 2",
    ),
    "method's training": (
        TOP + EWC + "training = { lrr = 1.0 }\n",
        "'lrr'",
        "'lr'?",
        "methods[0].training.lrr",
    ),
    "range": (
        TOP + EWC + "lam = { low = 1, hi = 3, n = 2 }\n",
        "unknown key 'hi' in a range",
        "'high'?",
        "methods[0].lam.hi",
    ),
    "range in a method's training": (
        TOP + EWC + "training = { lr = { low = 1, high = 3, m = 2 } }\n",
        "unknown key 'm'",
        "methods[0].training.lr.m",
    ),
}
MISSING = {
    "everything": ("", "'name' is missing", "look at these as well: benchmark, methods"),
    "name": ('[benchmark]\nname = "split"\n' + FINETUNE, "'name' is missing", "letters, digits"),
    "benchmark": ('name = "s"\n' + FINETUNE, "'benchmark' is missing", "sequence of tasks"),
    "benchmark's name": (
        _with_benchmark("n_tasks = 2\n"),
        "benchmark has no 'name'",
        "one of split, permuted, rotated, pair",
    ),
    "methods": (TOP, "'methods' is missing", "[[methods]]"),
    "any method": ("methods = []\n" + TOP, "methods = []", "at least 1"),
    "method's name": (
        TOP + "[[methods]]\nlam = 3\n",
        "methods[0] has no 'name'",
        "one of finetune, frozen, scratch, joint",
    ),
    "pair's target": (_with_benchmark('name = "pair"\n'), "'target' is missing", "data set of"),
    "end of a range": (
        TOP + EWC + "lam = { low = 1, high = 3 }\n",
        "the range has no 'n'",
        "{low = ..., high = ..., n = ...}",
        "methods[0].lam ",
    ),
}
WRONG_TYPES = {
    "name": ('name = 3\n[benchmark]\nname = "split"\n' + FINETUNE, "name = 3", "a string"),
    "seeds, string": (_with_seeds('"3"'), 'seeds = "3"', "whole number of seeds, or a list"),
    "seeds, bool": (_with_seeds("true"), "seeds = true", "whole number of seeds"),
    "seeds, date": (_with_seeds("2020-01-01"), "seeds = 2020-01-01", "whole number of seeds"),
    "seeds, decimal": (_with_seeds("[1.0]"), "seeds[0] = 1.0", "a whole number"),
    "seeds, mixed": (_with_seeds('[1, "a"]'), 'seeds[1] = "a"', "a whole number"),
    "n_tasks": (TOP + 'n_tasks = "2"\n' + FINETUNE, 'n_tasks = "2"', "whole number", "n_tasks"),
    "n_tasks, decimal": (TOP + "n_tasks = 2.0\n" + FINETUNE, "n_tasks = 2.0", "a whole number"),
    "bool": (_with_training("reset = 1\n"), "reset = 1", "true or false", "training.reset"),
    "number": (_with_training('lr = "0.1"\n'), 'lr = "0.1"', "a number", "training.lr"),
    "list": (_with_net("hidden = 100\n"), "hidden = 100", "a list", "net.hidden"),
    "in a list": (_with_net("hidden = [9, 1.5]\n"), "hidden[1] = 1.5", "net.hidden[1]"),
    "section": ("training = 3\n" + TOP + FINETUNE, "training = 3", "a table"),
    "benchmark": ('name = "s"\nbenchmark = "split"\n' + FINETUNE, "benchmark =", "a table"),
    "benchmark's name": (_with_benchmark("name = [1]\n"), "name = [1]", "a string"),
    "target": (_with_benchmark('name = "pair"\ntarget = 3\n'), "target = 3", "a list"),
    "methods, string": ('methods = "ewc"\n' + TOP, "not a list of tables", "double brackets"),
    "methods, one table": (TOP + '[methods]\nname = "ewc"\n', "not a list", "double brackets"),
    "methods, strings": ('methods = ["ewc"]\n' + TOP, 'methods[0] = "ewc"', "a table"),
    "method's name": (TOP + "[[methods]]\nname = 3\n", "name = 3", "a string", "methods[0].name"),
    "method's number": (TOP + EWC + 'lam = "1"\n', 'lam = "1"', "a number", "methods[0].lam "),
    "method's bool": (TOP + EWC + "lam = true\n", "lam = true", "a number"),
    "in a method's list": (TOP + EWC + 'lam = [1, "2"]\n', 'lam[1] = "2"', "methods[0].lam[1]"),
    "method's whole number": (TOP + REPLAY + "memory_size = 10.5\n", "= 10.5", "whole number"),
    "method's training": (TOP + EWC + "training = 3\n", "training = 3", "a table"),
    "end of a range": (
        TOP + EWC + 'lam = { low = "1", high = 3, n = 2 }\n',
        'low = "1"',
        "a finite number",
        "methods[0].lam.low",
    ),
    "values of a range": (
        TOP + EWC + "lam = { low = 1, high = 3, n = 2.5 }\n",
        "n = 2.5",
        "a whole number of values",
    ),
    "scale of a range": (
        TOP + EWC + 'lam = { low = 1, high = 3, n = 2, log = "yes" }\n',
        'log = "yes"',
        "true or false",
        "methods[0].lam.log",
    ),
    "range of words": (
        TOP + EWC + "fisher = { low = 1, high = 2, n = 2 }\n",
        "a range needs a number",
        "one value or a list",
    ),
}
WRONG_VALUES = {
    "name": (
        'name = "../up"\n[benchmark]\nname = "split"\n' + FINETUNE,
        'name = "../up"',
        "letters, digits, '.', '_' and '-'",
    ),
    "parent as name": (
        'name = ".."\n[benchmark]\nname = "split"\n' + FINETUNE,
        'name = ".."',
        "results folder",
    ),
    "no seeds": (_with_seeds("0"), "seeds = 0", "from 1 to 10000"),
    "empty seeds": (_with_seeds("[]"), "seeds = []", "at least 1"),
    "negative seed": (_with_seeds("[-1]"), "seeds[0] = -1", "at least 0"),
    "large seed": (_with_seeds("[9999999999999999999]"), "seeds[0] = ", "less than 9.22"),
    "seed twice": (_with_seeds("[4, 1, 4]"), "the seed 4 is listed twice", "each seed once"),
    "one task": (TOP + "n_tasks = 1\n" + FINETUNE, "n_tasks = 1", "at least 2"),
    "three tasks": (TOP + "n_tasks = 3\n" + FINETUNE, "3 tasks cannot share the 10", "[2, 5]"),
    "ten tasks": (TOP + "n_tasks = 10\n" + FINETUNE, "10 tasks cannot share", "[2, 5]"),
    "scenario": (TOP + 'scenario = "tasks"\n' + FINETUNE, 'scenario = "tasks"', "'task'?"),
    "validation": (TOP + "validation_fraction = 0.6\n" + FINETUNE, "= 0.6", "at most 0.5"),
    "no validation": (TOP + "validation_fraction = 0\n" + FINETUNE, "= 0", "more than 0"),
    "examples": (
        TOP + "examples_per_task = 5000\n" + FINETUNE,
        "585 training examples",
        "at least 5000",
        "next: lower examples_per_task",
    ),
    "pair of one": (
        _with_benchmark('name = "pair"\ntarget = "digits"\n'),
        "must differ",
        "st.toml: benchmark\n",
    ),
    "pair's tasks": (
        _with_benchmark('name = "pair"\ntarget = "mnist"\nn_tasks = 4\n'),
        "n_tasks is 4, but target makes it 2",
    ),
    "angles": (
        _with_benchmark('name = "rotated"\nangles = [1.0, 2.0]\nn_tasks = 3\n'),
        "n_tasks is 3, but angles makes it 2",
    ),
    "benchmark": (
        _with_benchmark('name = "splitt"\n'),
        "unknown benchmark 'splitt'",
        "'split'?",
        "benchmark.name\n",
        "next: `clsweep benchmarks` lists them",
    ),
    "data set": (
        TOP + 'dataset = "minst"\n' + FINETUNE,
        "unknown data set 'minst'",
        "'mnist'?",
        "[benchmark]",
        "next: `clsweep benchmarks` lists them",
    ),
    "target data set": (
        _with_benchmark('name = "pair"\ntarget = "minst"\n'),
        "unknown data set 'minst'",
        "'mnist'?",
    ),
    "folder of images": (
        TOP + 'dataset = "folder:nowhere"\n' + FINETUNE,
        "there is no folder 'nowhere/train'",
        "train/CLASS/*.png",
    ),
    "net": (_with_net('name = "mpl"\n'), 'name = "mpl"', "'mlp'?", "net.name"),
    "far net": (_with_net('name = "perceiver"\n'), "one of 'conv', 'custom', 'lenet', 'mlp'"),
    "width": (_with_net("hidden = [0]\n"), "hidden[0] = 0", "at least 1"),
    "key of another net": (
        _with_net('name = "conv"\nhidden = [3]\n'),
        "'hidden' means nothing for the net 'conv'",
        "'channels'",
        "net.hidden",
    ),
    "no factory": (
        _with_net('name = "custom"\n'),
        "does not name a callable",
        "'package.module:callable'",
        "net.factory",
    ),
    "factory": (_with_net('name = "custom"\nfactory = "a.b.c"\n'), "'a.b.c'", "net.factory"),
    "optimizer": (_with_training('optimizer = "adm"\n'), "'adam'?", "training.optimizer"),
    "learning rate": (_with_training("lr = 0\n"), "lr = 0", "more than 0"),
    "momentum": (
        _with_training('optimizer = "adam"\nmomentum = 0.9\n'),
        "means nothing for 'adam'",
        "'sgd' or 'rmsprop' only",
        "training.momentum",
    ),
    "no step without a closure": (
        _with_training('optimizer = "LBFGS"\n'),
        "'LBFGS' cannot be used: it evaluates the loss several times",
        "training.optimizer",
    ),
    "torch's own by its path": (
        _with_training('optimizer = "torch.optim:AdamW"\n'),
        "its name here, 'adamw'",
    ),
    "number of another optimiser": (
        _with_training('optimizer = "adagrad"\nrho = 0.5\n'),
        "rho = 0.5 means nothing for 'adagrad'",
        "rho with optimizer = 'adadelta' only",
    ),
    "number of an own optimiser": (
        _with_training('optimizer = "my_optim:Lion"\nbeta1 = 0.5\n'),
        "written options = { beta1 = ... }",
    ),
    "options of torch's": (
        _with_training('optimizer = "adam"\noptions = { eps = 1e-6 }\n'),
        "options with an optimiser of your own",
        "training.options",
    ),
    "decay of rprop": (
        _with_training('optimizer = "rprop"\nweight_decay = 0.1\n'),
        "no weight_decay with 'rprop'",
    ),
    "a proximal step without a rate": (
        TOP + "[[methods]]\nname = 'l2'\nlam = 1\nform = ['gradient', 'proximal']\n"
        "training = { optimizer = ['sgd', 'rprop'] }\n",
        "form = 'proximal' of 'L2 anchor' with optimizer = 'rprop'",
        "expected: form = 'gradient', or another optimizer",
        "methods[0].form",
    ),
    "several pairs": (
        TOP + FINETUNE + "training = { optimizer = 'adam', betas = [[0.9, 0.99], [0.9, 0.9]] }\n",
        "beta1 = [...] and beta2 = [...]",
        "methods[0].training.betas",
    ),
    "a pair and a half": (
        _with_training("optimizer = 'adam'\nbetas = [0.9, 0.99]\nbeta1 = 0.9\n"),
        "both 'betas' and 'beta1'",
    ),
    "nesterov with dampening": (
        _with_training("momentum = 0.9\nnesterov = true\ndampening = 0.1\n"),
        "Nesterov's momentum without dampening",
    ),
    "milestones": (
        _with_training("schedule = 'step'\nmilestones = [10, 20]\n"),
        "shares of a task's steps",
        "training.milestones",
    ),
    "milestones that fall": (
        _with_training("schedule = 'step'\nmilestones = [0.5, 0.2]\n"),
        "shares that grow",
    ),
    "schedule": (_with_training("schedule = 'cosin'\n"), "'cosine'?", "training.schedule"),
    "options that are no table": (
        _with_training('optimizer = "my_optim:Lion"\noptions = [1, 2]\n'),
        "options are no table",
        "training.options",
    ),
    "epochs and steps": (
        _with_training("epochs = 1\nsteps = 1\n"),
        "both 'epochs' and 'steps'",
        "one of the two",
        "training.steps",
    ),
    "epochs and steps of a method": (
        TOP + FINETUNE + "training = { epochs = 1, steps = 3 }\n",
        "both 'epochs' and 'steps'",
        "methods[0].training.steps",
    ),
    "inherited momentum": (
        TOP + "[training]\nmomentum = 0.9\n" + FINETUNE + 'training = { optimizer = "adam" }\n',
        "momentum = 0.9 means nothing for 'adam'",
        "next: write momentum = 0.0",
    ),
    "share of a GPU": (
        TOP + "[resources]\ngpu_fraction = 1.5\n" + FINETUNE,
        "neither a share nor whole GPUs",
        "resources.gpu_fraction",
    ),
    "no share of a GPU": (
        TOP + '[resources]\ndevice = "cuda"\ngpu_fraction = 0\n' + FINETUNE,
        "gpu_fraction = 0.0",
        "above 0",
    ),
    "drop": (TOP + "[report]\ndrops = [101.0]\n" + FINETUNE, "drops[0] = 101.0", "at most 100"),
    "unknown seed": (
        TOP + "[report]\nchoose_on = [0, 7]\n" + FINETUNE,
        "the seed 7 in choose_on is none",
        "seeds = [0, 1, 2]",
    ),
    "all seeds choose": (
        TOP + "[report]\nchoose_on = [0, 1, 2]\n" + FINETUNE,
        "choose_on names all seeds",
        "cross-fitting",
    ),
    "choosing seed twice": (
        TOP + "[report]\nchoose_on = [1, 1]\n" + FINETUNE,
        "a seed is listed twice",
        "each once",
    ),
    "margin": (TOP + "[report]\nmargin = -1.0\n" + FINETUNE, "margin = -1.0", "at least 0"),
    "drop twice": (TOP + "[report]\ndrops = [1.0, 1.0]\n" + FINETUNE, "listed twice"),
    "method": (
        TOP + '[[methods]]\nname = "ewcc"\n',
        "unknown method 'ewcc'",
        "'ewc'?",
        "methods[0].name",
        "next: `clsweep methods` lists them",
    ),
    "far method": (TOP + '[[methods]]\nname = "zzz"\n', "one of 'agem', "),
    "word of a method": (TOP + EWC + 'fisher = "exakt"\n', 'fisher = "exakt"', "'exact'?"),
    "word in a list": (
        TOP + EWC + 'form = ["gradient", "proximl"]\n',
        'form[1] = "proximl"',
        "'proximal'?",
        "methods[0].form[1]",
    ),
    "label": (TOP + EWC + 'label = " "\n', 'label = " "', "without spaces at its ends"),
    "long label": (TOP + EWC + f'label = "{"x" * 61}"\n', "up to 60 characters"),
    "label twice": (
        TOP + FINETUNE + FINETUNE,
        "methods[0] is labelled 'fine-tuning' as well",
        "a different label",
        "methods[1].label",
        'next: write label = "..."',
    ),
    "label of another": (
        TOP + FINETUNE + EWC + 'label = "fine-tuning"\n',
        "methods[0] is labelled 'fine-tuning' as well",
    ),
    "negative λ": (TOP + EWC + "lam = -1\n", "lam = -1", "at least 0", "methods[0].lam "),
    "negative λ in a list": (TOP + EWC + "lam = [1, -1.5]\n", "lam[1] = -1.5", "at least 0"),
    "negative λ in a range": (
        TOP + EWC + "lam = { low = -1, high = 1, n = 3, log = false }\n",
        "lam = -1.0",
        "at least 0",
    ),
    "logarithm of 0": (
        TOP + EWC + "lam = { low = 0, high = 1, n = 3 }\n",
        "a logarithmic range cannot start at 0",
        "low above 0, or log = false",
        "next: a list may hold 0",
    ),
    "empty list": (TOP + EWC + "lam = []\n", "the list is empty", "one value, a list, or {low"),
    "empty range": (
        TOP + EWC + "lam = { low = 1, high = 1, n = 3 }\n",
        "the range is empty: low = 1, high = 1",
        "low < high",
    ),
    "reversed range": (
        TOP + EWC + "lam = { low = 10, high = 1, n = 3 }\n",
        "the range is reversed: low = 10, high = 1",
        "low < high",
    ),
    "range of one": (TOP + EWC + "lam = { low = 1, high = 9, n = 1 }\n", "n = 1", "2 to 10000"),
    "range of many": (
        TOP + EWC + "lam = { low = 1, high = 9, n = 1000000 }\n",
        "n = 1000000",
        "2 to 10000",
    ),
    "crowded range": (
        TOP + REPLAY + "memory_size = { low = 1, high = 3, n = 9 }\n",
        "9 different values do not fit between 1 and 3",
        "a smaller n or a wider range",
    ),
    "nan": (TOP + EWC + "lam = nan\n", "lam = nan", "a finite number", FIRST_EWC),
    "inf in a list": (TOP + EWC + "lam = [1, inf]\n", "methods[0].lam[1] = inf", "a finite"),
    "inf in a range": (TOP + EWC + "lam = { low = 1, high = inf, n = 2 }\n", "lam.high = inf"),
    "too large": (TOP + EWC + "lam = 1e999\n", "lam = inf", "a finite number"),
    "nan in training": (_with_training("lr = nan\n"), "training.lr = nan", "a finite number"),
    "no memory": (TOP + REPLAY + "memory_size = 0\n", "memory_size = 0", "at least 1"),
    "much memory": (
        TOP + FINETUNE + REPLAY + "memory_size = [50, 5000]\n",
        "memory_size = 5000 is more than the benchmark's training examples",
        "at most 1167",
        "methods[1].memory_size",
    ),
    "configuration twice": (
        TOP + EWC + "lam = [1, 1.0]\n",
        "the same configuration of ewc (lam = 1.0",
        "twice in one table",
        "every configuration once",
        "next: remove",
    ),
    "configuration in two tables": (
        TOP + EWC + "lam = [1, 3]\n" + EWC + 'label = "b"\nlam = 3\n',
        "lam = 3.0",
        "by methods[0] already",
        "methods[1] ",
    ),
    "training twice": (
        TOP + FINETUNE + "training = { lr = [0.2, 0.20] }\n",
        "the same configuration of finetune is asked for twice",
    ),
    "huge grid": (
        TOP + EWC + "lam = { low = 1, high = 1e5, n = 1000 }\nfisher_examples = "
        "{ low = 0, high = 999, n = 1000 }\n",
        "the grids hold 1000000 configurations",
        "at most 100000",
    ),
}
SYNTAX = {
    "word without quotes": (
        "name = study\n",
        "not TOML",
        "line 1, column 8",
        "name = study",
        "next: strings need quotes",
    ),
    "open string": ('name = "s\n', "not TOML", "line 1"),
    "open list": (TOP + "lam = [1,\n", "not TOML"),
    "key twice": ('name = "s"\nname = "t"\n', "not TOML", "line 2", "every key and table once"),
    "table twice": (TOP + TOP, "not TOML", "every key and table once"),
    "method in single brackets": (
        TOP + FINETUNE + '[methods]\nname = "si"\n',
        "not TOML",
        "[[methods]], in double brackets, for every method",
    ),
}
TABLES = {
    "unknown key": UNKNOWN_KEYS,
    "missing": MISSING,
    "type": WRONG_TYPES,
    "value": WRONG_VALUES,
    "syntax": SYNTAX,
}
CASES = [
    pytest.param(text, words, id=f"{group}: {name}")
    for group, table in TABLES.items()
    for name, (text, *words) in table.items()
]


@pytest.mark.parametrize(("text", "words"), CASES)
def test_each_mistake_is_one_message_in_the_files_own_words(text: str, words: list[str]) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(text, "st.toml")
    message = str(caught.value)
    for word in words:
        assert word in f"{message}\n", message
    lines = message.splitlines()
    assert len(lines) <= 4
    assert sum(line.startswith("  where: st.toml") for line in lines) == 1, message
    # Words of pydantic's and python's own have no place in it.
    for foreign in ("pydantic", "Input should", "_request", "None", "tuple", "ctx", "Traceback"):
        assert foreign not in message, message


def test_a_single_mistake_is_not_counted_twice() -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(TOP + EWC + "lam = -1\n")
    assert "look at these as well" not in str(caught.value)


def test_several_mistakes_are_named_at_once() -> None:
    text = "sed = 3\n" + TOP + "n_taks = 3\n" + EWC + "lamb = 1\n"
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    message = str(caught.value)
    assert "unknown key 'n_taks'" in message
    assert message.endswith("look at these as well: methods[0].lamb, sed")


def test_a_mistake_of_a_section_is_told_without_what_it_means_for_the_methods() -> None:
    text = TOP + '[search]\nkind = "fill"\ntrial = 9\n' + EWC + "lam = [1, 2]\n"
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    assert "unknown key 'trial'" in str(caught.value)
    assert "look at these as well" not in str(caught.value)
    with pytest.raises(StudyError, match=r"(?s)and lam lists them.*methods\[0\]\.lam "):
        parse_study(text.replace("trial = 9\n", ""), "st.toml")


def test_only_the_first_five_further_mistakes_are_named() -> None:
    text = "".join(f"wrong{i} = 1\n" for i in range(9)) + TOP + FINETUNE
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    assert str(caught.value).endswith("wrong1, wrong2, wrong3, wrong4, wrong5, ...")


def test_a_method_that_is_not_defined_for_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    only_task = dataclasses.replace(METHODS["si"], scenarios=("task",))
    monkeypatch.setitem(METHODS, "si", only_task)
    text = TOP + 'scenario = "domain"\n' + FINETUNE + '[[methods]]\nname = "si"\n'
    with pytest.raises(StudyError) as caught:
        parse_study(text, "st.toml")
    message = str(caught.value)
    assert "'si' is not defined for the scenario 'domain'" in message
    assert "expected: benchmark.scenario one of 'task'" in message
    assert "where: st.toml: methods[1].name" in message


@pytest.mark.parametrize("method", ["mode_imm", "hnet_tir"])
@pytest.mark.parametrize(
    "net", ['name = "resnet32"', 'name = "resnet18"', 'name = "conv"\nnorm = "batch"']
)
def test_batch_norms_that_a_method_cannot_take(net: str, method: str) -> None:
    asked = f'{FINETUNE}[[methods]]\nname = "{method}"\n'
    text = f'{TOP}dataset = "cifar10"\nscenario = "class"\n[net]\n{net}\n{asked}'
    with pytest.raises(StudyError) as caught:
        parse_study(text, "st.toml")
    message = str(caught.value)
    assert f"'{method}' takes no batch norms, and the net '" in message
    assert "expected: net.norm = 'group' or 'none'" in message
    assert "where: st.toml: methods[1].name" in message


@pytest.mark.parametrize(
    ("net", "method"),
    [
        ('name = "resnet32"\nnorm = "group"', "hnet"),
        ('name = "resnet18"\nnorm = "none"', "hnet_tir"),
        ('name = "conv"', "hnet"),
        ('name = "resnet32"', "hnet"),
        ('name = "resnet32"', "hnet_replay"),
        ('name = "resnet32"', "ewc"),
    ],
)
def test_other_norms_and_other_methods_are_taken(net: str, method: str) -> None:
    asked = f'[[methods]]\nname = "{method}"\n'
    text = f'{TOP}dataset = "cifar10"\nscenario = "class"\n[net]\n{net}\n{asked}'
    assert parse_study(text).methods[0].name == method


def test_task_inference_needs_a_hidden_task() -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(TOP + '[[methods]]\nname = "hnet_tir"\n', "st.toml")
    message = str(caught.value)
    assert "'hnet_tir' is not defined for the scenario 'task'" in message
    assert "'domain', 'class'" in message


@pytest.mark.parametrize("method", [n for n, e in METHODS.items() if e.scenario_note])
def test_a_method_says_why_it_is_defined_for_no_other_scenario(method: str) -> None:
    refused = next(s for s in ("class", "domain") if s not in METHODS[method].scenarios)
    text = TOP.replace("[benchmark]", f'[benchmark]\nscenario = "{refused}"', 1)
    with pytest.raises(StudyError) as caught:
        parse_study(text + f'[[methods]]\nname = "{method}"\n', "st.toml")
    said = f"for the scenario '{refused}': {METHODS[method].scenario_note}"
    assert said in str(caught.value)


# ------------------------------------------------------------------------------- the file itself


def _message(path: Path) -> str:
    with pytest.raises(StudyError) as caught:
        load_study(path)
    return str(caught.value)


def test_no_such_file_names_the_closest_one(tmp_path: Path) -> None:
    (tmp_path / "quickstart.toml").write_text(TOP + FINETUNE)
    message = _message(tmp_path / "quikstart.toml")
    assert f"there is no file {tmp_path / 'quikstart.toml'}" in message
    assert "'quickstart.toml'?" in message
    assert "next: `clsweep init" in message


def test_no_such_folder(tmp_path: Path) -> None:
    message = _message(tmp_path / "nowhere" / "study.toml")
    assert "there is no file" in message
    assert "a study file in TOML" in message


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "inside.toml").write_text(TOP)
    message = _message(tmp_path)
    assert f"{tmp_path} is a folder" in message
    assert "it holds inside.toml" in message


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be read: Not a directory" in _message(tmp_path / "file" / "study.toml")


@pytest.mark.parametrize("content", [b"\xff\xfen\x00", b'name = "caf\xe9"\n', b"\x89PNG\r\n"])
def test_not_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    assert f"{path} is not UTF-8 text (byte" in _message(path)


def test_messages_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text("sed = 3\n" + TOP + FINETUNE)
    assert f"where: {path}: sed" in _message(path)


def test_deep_nesting_is_no_crash() -> None:
    with pytest.raises(StudyError, match="not TOML"):
        parse_study("a = " + "[" * 100_000)


# ------------------------------------------------------------------------------------ the pieces


def test_key_path_is_written_as_in_the_file() -> None:
    raw = {"methods": [{"name": "ewc", "lam": [1, 2]}], "training": {"lr": 1}}
    assert key_path(raw, ("training", "lr")) == "training.lr"
    assert key_path(raw, ("methods", 0, "ewc", "lam", 1)) == "methods[0].lam[1]"
    assert key_path(raw, ("methods", 0, "ewc")) == "methods[0]"
    assert key_path(raw, ("methods", 0, "ewc", "missing")) == "methods[0].missing"
    assert key_path(raw, ()) == ""


def test_place_counts_and_names_the_methods_table() -> None:
    raw = {"methods": [{"name": "ewc"}, {}]}
    assert location(raw, ("methods", 0), "f") == (
        'f: methods[0] ([[methods]] table number 1 of the file, name = "ewc")'
    )
    assert location(raw, ("methods", 1), "f").endswith("table number 2 of the file)")
    assert location(raw, (), "f") == "f"


def test_mistake_below_keeps_the_parts_and_prepends_the_place() -> None:
    class Part(BaseModel):
        key: int

    with pytest.raises(ValidationError) as caught:
        Part.model_validate({"key": "x"})
    error = mistake_below(caught.value, ("methods", 3))
    assert error.context is not None
    assert error.context["at"] == ("methods", 3, "key")
    own = mistake("found", expected="else", next_step="do", at=("deep",))
    assert own.context == {
        "found": "found",
        "expected": "else",
        "next_step": "do",
        "at": ("deep",),
    }


def test_as_toml_is_toml_and_short() -> None:
    assert as_toml({"a": [1, True, "x"]}) == '{a = [1, true, "x"]}'
    assert len(as_toml("x" * 500)) == 70


def test_a_module_beside_the_study_is_named_with_how_to_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = TOP + '[[methods]]\nname = "mine"\n'
    with pytest.raises(StudyError, match="next: `clsweep methods` lists them"):
        parse_study(text)
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(StudyError, match="unknown method 'mine'") as caught:
        parse_study(text)
    assert '`name = "custom"` with `method = "mine:build"`' in str(caught.value)


def test_the_only_number_that_a_key_may_have_is_said() -> None:
    text = (
        'name = "s"\n[benchmark]\nname = "polynomials"\nn_tasks = 5\n[[methods]]\nname = "joint"\n'
    )
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    assert str(caught.value).startswith("n_tasks = 5\n  expected: 3 (number of tasks)\n")
