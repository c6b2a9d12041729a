"""Lengths of the first task, precision, and what records keep of `[training]`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import clsweep.training.engine as engine
from clsweep import methods
from clsweep.data.rng import batch_indices, generator
from clsweep.data.task_sizes import benchmark_sizes
from clsweep.data.tasks import TaskSequence
from clsweep.errors import MethodError, StudyError
from clsweep.execution.forecast import forecast
from clsweep.methods import METHODS
from clsweep.study.configurations import configurations
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study
from clsweep.training.config import TrainingConfig, in_full
from clsweep.training.sequences import (
    finetune_source,
    learn_joint,
    learn_sequence,
    learn_source,
    measure_source,
)
from tests.methods.cases import CASES
from tests.methods.test_common import learnt, net_for

HEAD = 'name = "s"\nseeds = [0]\n[benchmark]\nname = "split"\nn_tasks = 5\n'


FINETUNE = '[[methods]]\nname = "finetune"\n'


def study(training: str, table: str = FINETUNE, more: str = "") -> Study:
    return parse_study(f"{HEAD}[training]\n{training}\n{more}\n{table}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 2}, [14, 14]),
        ({"epochs": 2, "first_epochs": 5}, [35, 14]),
        ({"epochs": 2, "first_steps": 4}, [4, 14]),
        ({"steps": 9, "first_epochs": 1}, [7, 9]),
        ({"steps": 9, "first_steps": 4}, [4, 9]),
    ],
)
def test_the_first_task_may_have_another_length(
    changes: dict[str, int], expected: list[int]
) -> None:
    training = TrainingConfig(batch_size=16, **changes)
    assert [training.n_steps(100, task) for task in (0, 1)] == expected
    assert training.n_steps(100, 2) == expected[1]


@pytest.mark.parametrize("name", ["finetune", "joint", "dgr", "rescl", "hnet"])
def test_every_stage_and_trial_has_those_lengths(
    name: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["task"]
    training = TrainingConfig(batch_size=16, steps=2, first_steps=3)
    net = net_for(sequence)
    case = next(c for c in CASES if c.name == name)
    method, n_phases = methods.build(name, net, case.numbers()), len(case.numbers().phase_steps(1))
    source = learn_source(net, sequence, training, 0)
    assert source.n_steps == 3
    assert finetune_source(net, sequence, training, 0, source).n_steps == 2
    if name == "joint":
        assert learn_joint(method, sequence, training, 0).n_steps == 3 + 2 + 2
        return
    if not case.begins_at_source:
        found = learn_sequence(method, sequence, training, 0, None, {})
        assert found.n_steps == n_phases * (3 + 2 + 2)
        return
    statistics = measure_source(method, sequence, source, 0)
    found = learn_sequence(method, sequence, training, 0, source, statistics)
    on_first = sum(case.numbers().first_steps(3))
    assert found.n_steps == on_first + n_phases * (2 + 2)


def test_both_lengths_of_the_first_are_a_mistake() -> None:
    with pytest.raises(StudyError, match="both 'first_epochs' and 'first_steps'"):
        study("first_epochs = 1\nfirst_steps = 2")
    overrides = FINETUNE + "training = { first_epochs = 1, first_steps = 2 }\n"
    with pytest.raises(StudyError, match="both 'first_epochs' and 'first_steps'"):
        study("", overrides)
    other = FINETUNE + "training = { first_epochs = [3, 4] }\n"
    found = [c.training for c in configurations(study("first_steps = 2", other))]
    assert [(t.first_epochs, t.first_steps) for t in found] == [(3, 0), (4, 0)]
    exported = FINETUNE + "training = { first_epochs = 4, first_steps = 0 }\n"
    assert [c.training for c in configurations(study("first_steps = 2", exported))] == found[1:]


NEW = """\
optimizer = "adamw"
betas = [0.8, 0.95]
schedule = "step"
milestones = [0.25, 0.5]
warmup_steps = 3
clip_norm = 1.0
label_smoothing = 0.1
first_epochs = 4
"""


def test_records_keep_later_keys_where_they_say_something() -> None:
    first = "optimizer lr momentum weight_decay batch_size epochs steps clip_value augment reset"
    assert [*TrainingConfig().recorded] == first.split()
    (made,) = configurations(study(NEW))
    later = made.training.recorded.keys() - {*first.split()}
    assert later == {
        *("beta1", "beta2", "schedule", "milestones", "warmup_steps", "clip_norm"),
        *("label_smoothing", "first_epochs"),
    }
    assert in_full(made.training.recorded) == made.training.model_dump()
    assert in_full({}) == {}


def test_a_study_written_out_is_the_same_study() -> None:
    of = study(NEW)
    assert parse_study(resolved_toml(of)) == of
    assert "rho" not in resolved_toml(of)
    own = study('optimizer = "json:JSONDecoder"\noptions = { b = [1, 2.5], a = "x" }')
    assert own.training.options == '{"a": "x", "b": [1, 2.5]}'
    assert parse_study(resolved_toml(own)) == own


def test_a_schedules_numbers_are_no_part_of_another_schedule() -> None:
    axes = 'training = { schedule = ["constant", "cosine"], end_factor = [0.0, 0.1], gamma = 0.5 }'
    found = configurations(study("", FINETUNE + axes))
    told = [(c.training.schedule, c.training.end_factor, c.training.gamma) for c in found]
    assert told == [("constant", 0.0, 0.1), ("cosine", 0.0, 0.1), ("cosine", 0.1, 0.1)]
    (plain,) = configurations(study(""))
    assert found[0].id == plain.id


BF16 = 'precision = "bf16"'


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_bf16_is_refused_where_a_trial_may_run_on_a_processor(device: str) -> None:
    with pytest.raises(StudyError, match="may run on a processor") as caught:
        study(BF16, more=f'[resources]\ndevice = "{device}"')
    assert "training.precision" in str(caught.value)
    assert "device = 'cuda'" in str(caught.value)


def test_precision_is_part_of_the_identity() -> None:
    gpu = '[resources]\ndevice = "cuda"'
    assert configurations(study(BF16, more=gpu))[0].id != configurations(study(""))[0].id
    assert configurations(study("", more=gpu))[0].id == configurations(study(""))[0].id


def test_bf16_never_falls_back_to_the_processor(short_sequences: dict[str, TaskSequence]) -> None:
    sequence = short_sequences["task"]
    with pytest.raises(MethodError, match="on a processor"):
        learn_source(net_for(sequence), sequence, TrainingConfig(precision="bf16"), 0)


def flat(params: dict[str, Any]) -> torch.Tensor:
    return torch.cat([v.flatten() for v in params.values()])


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where bf16 is tried out: a processor's autocast is torch's too, though no study gets it."""
    monkeypatch.setattr(engine, "_check_has_autocast", lambda device: None)
    return torch.device(request.param)


def test_bf16_is_torchs_autocast(
    device: torch.device, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["task"].to(device)
    training = TrainingConfig(optimizer="adamw", lr=0.01, batch_size=16, steps=6, precision="bf16")
    net, data = net_for(sequence), sequence.tasks[0].train
    drawn = net.init(generator(0, "init"))
    leaves = {n: v.to(device).requires_grad_() for n, v in drawn.items()}
    optimiser = torch.optim.AdamW(leaves.values(), lr=0.01, weight_decay=0.0, fused=True)
    for order in batch_indices(0, 0, len(data), 16, 6):
        for rows in order.to(device).split(16):
            x, y = sequence.scale(data.raw(rows)), data.labels[rows]
            optimiser.zero_grad()
            with torch.autocast(device.type, torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(net.apply(leaves, x, 0), y)
            loss.backward()
            optimiser.step()
    found = learn_source(net, sequence, training, 0).params
    for name, value in found.items():
        torch.testing.assert_close(value, leaves[name].detach(), atol=1e-5, rtol=1e-4)
    single = training.model_copy(update={"precision": "float32"})
    assert not torch.equal(flat(found), flat(learn_source(net, sequence, single, 0).params))


ALL_METHODS = list(dict.fromkeys(case.name for case in CASES if case.trains))


@pytest.mark.parametrize("name", ALL_METHODS)
def test_every_method_trains_in_bf16(
    name: str, device: torch.device, short_sequences: dict[str, TaskSequence]
) -> None:
    scenarios = METHODS[name].scenarios
    scenario = next(one for one in ("task", "domain", "class") if one in scenarios)
    sequence = short_sequences[scenario].to(device)
    training = TrainingConfig(lr=0.02, batch_size=16, steps=3, precision="bf16")
    case = next(c for c in CASES if c.name == name)
    found = {
        precision: flat(
            learnt(
                case, sequence, training=training.model_copy(update={"precision": precision})
            ).params
        )
        for precision in ("bf16", "float32")
    }
    assert found["bf16"].dtype == torch.float32
    # Three digits of a product are kept: near, and not the same.
    assert not torch.equal(found["bf16"], found["float32"])
    near = torch.isclose(found["bf16"], found["float32"], atol=0.05, rtol=0.1)
    # PackNet keeps the largest weights: of two that are alike, either.
    n_swapped = 10 if name == "packnet" else 0
    assert int((~near).sum()) <= n_swapped


def test_a_forecast_counts_the_steps_of_the_first_task() -> None:
    of = study("steps = 10\nfirst_steps = 3", '[[methods]]\nname = "dgr"\n')
    sizes = benchmark_sizes(of.benchmark, None)
    n_steps = forecast(of, sizes, [], lambda key: False).n_steps_all
    # The source, and DGR's generator on the first task; two phases on each of four more.
    assert n_steps == 3 + 3 + 2 * (4 * 10)


def test_editors_know_torchs_pairs() -> None:
    parts = Study.model_json_schema()["$defs"]
    for name in ("TrainingConfig", "TrainingAxes"):
        known = parts[name]["properties"]
        assert known["betas"]["maxItems"] == 2
        assert {"beta1", "milestones", "options", "optimizer"} <= known.keys()
        assert parts[name]["additionalProperties"] is False
