"""Batch norm as a pure function: torch's modules and direct computations are the oracles."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.data.rng import batch_indices, generator
from clsweep.data.tasks import Examples, Scale
from clsweep.errors import MethodError, StudyError
from clsweep.methods.base import Phase
from clsweep.methods.parts.losses import plain_phase
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net, shared
from clsweep.nets.norms import has_statistics, is_statistic, without_statistics
from clsweep.nets.parameter_trees import Params
from clsweep.training import batch_norm_statistics
from clsweep.training.batch_norm_statistics import with_population
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase

N, SIZE = 23, 8
SHAPE = (1, 8, 8)
_RNG = generator(0, "norm data")
IMAGES = torch.randint(0, 256, (N, *SHAPE), dtype=torch.uint8, generator=_RNG)
DATA = Examples(IMAGES, torch.arange(N), torch.randint(0, 3, (N,), generator=_RNG))
OTHER = Examples(255 - IMAGES // 2, torch.arange(N), DATA.labels)
SCALE = Scale(torch.full((1, 1, 1), 1 / 255), torch.full((1, 1, 1), -0.5))
HEADS = Heads("domain", (3, 3, 3))
X = SCALE(IMAGES)


class Module(nn.Module):
    """The built-in conv net with batch norm, written with torch's own layers."""

    def __init__(self, n_outputs: int = 3) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.Conv2d(3, 4, 3, padding=1, bias=False)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(4)])
        self.dense = nn.Linear(16, 5)
        self.head = nn.Linear(5, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return self.head(F.relu(self.dense(x.flatten(1))))


def factory(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Module(n_outputs)


class Twice(nn.Module):
    """One batch norm without gain and bias, passed through two times."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64, affine=False)
        self.out = nn.Linear(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x.flatten(1))
        return self.out(self.norm(3 * h + 1))


def twice(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Twice(n_outputs)


class Unused(nn.Module):
    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.out, self.norm = nn.Linear(64, n_outputs), nn.BatchNorm1d(64)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.flatten(1))


def unused(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    return Unused(n_outputs)


def untracked(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    norm = nn.BatchNorm1d(64, track_running_stats=False)
    return nn.Sequential(nn.Flatten(), norm, nn.Linear(64, n_outputs))


def instance(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
    norm = nn.InstanceNorm2d(1, track_running_stats=True)
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(64, n_outputs))


def built(norm: str = "batch", bn_mode: str = "batch") -> Net:
    config = NetConfig(
        name="conv",
        channels=(3, 4),
        width=5,
        norm=norm,
        bn_mode=bn_mode if norm == "batch" else "batch",
    )
    return build_net(config, SHAPE, HEADS)


def custom(name: str, bn_mode: str = "batch") -> Net:
    config = NetConfig(name="custom", factory=f"{__name__}:{name}", bn_mode=bn_mode)
    return build_net(config, SHAPE, HEADS)


def start_of(net: Net) -> Params:
    """Initial weights, with gains and biases that are not 1 and 0."""
    rng = generator(1, "init")
    return {
        name: value + 0.3 * torch.rand(value.shape, generator=rng)
        for name, value in net.init(rng).items()
    }


def run(net: Net, start: Params, data: Examples, phase: Phase | None = None) -> State:
    return train_phase(
        phase or plain_phase(net),
        State(start, {}),
        data,
        Setting(net, SCALE, TrainingConfig(lr=0.1, batch_size=SIZE), 3),
        task=1,
        n_steps=6,
    )


def plain_loop(module: nn.Module, data: Examples) -> None:
    """The same batches with torch's optimiser, in the mode that the module is in."""
    opt = torch.optim.SGD(module.parameters(), lr=0.1)
    for order in batch_indices(3, 1, N, SIZE, 6):
        for rows in order.split(SIZE):
            opt.zero_grad()
            F.cross_entropy(module(SCALE(data.raw(rows))), data.labels[rows]).backward()
            opt.step()


def as_module(params: Params) -> Module:
    module = Module()
    module.load_state_dict(params, strict=False)
    return module


def statistics(params: Params) -> Params:
    return {name: value for name, value in params.items() if is_statistic(name)}


def population_module(module: nn.Module, data: Examples) -> None:
    """Running statistics of a module from one pass over all data; torch's variance has n − 1."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    seen = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(
                lambda m, args, out, name=name: seen.update({name: args[0].numel() // len(m.bias)})
            )
    with torch.no_grad():
        module.train()(SCALE(data.raw(torch.arange(N))))
    for name, layer in module.named_modules():
        if name in seen:
            assert isinstance(layer.running_var, Tensor)
            layer.running_var *= (seen[name] - 1) / seen[name]


def close(a: Params, b: dict[str, Any], atol: float = 1e-5) -> None:
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], atol=atol, rtol=1e-4)


@pytest.mark.parametrize("net", [built(), custom("factory")], ids=["built-in", "module"])
def test_both_modes_are_torchs(net: Net) -> None:
    params = start_of(net)
    module = as_module(params)
    torch.testing.assert_close(net.apply(params, X, 0), module.train()(X))
    full = with_population(net, params, DATA, SCALE)
    population_module(module, DATA)
    assert net.statistics == statistics(full).keys()
    assert len(net.statistics) == 4
    close(full, module.state_dict())
    torch.testing.assert_close(net.apply(full, X[:5], 0), module.eval()(X[:5]))
    one_by_one = torch.cat([net.apply(full, x[None], 0) for x in X])
    torch.testing.assert_close(one_by_one, net.apply(full, X, 0))


def test_group_norm_is_torchs() -> None:
    net = built("group")
    params = start_of(net)
    assert not net.statistics
    h = X
    for i, groups in ((0, 1), (1, 4)):
        norm = nn.GroupNorm(groups, (3, 4)[i])
        norm.load_state_dict({k: params[f"norms.{i}.{k}"] for k in ("weight", "bias")})
        h = F.max_pool2d(F.relu(norm(F.conv2d(h, params[f"convs.{i}.weight"], padding=1))), 2)
    h = F.relu(F.linear(h.flatten(1), params["dense.weight"], params["dense.bias"]))
    torch.testing.assert_close(net.features(params, X), h)


@pytest.mark.parametrize("rows", [1, 2, 7, 22, 23])
def test_merged_moments_are_those_of_all_data(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first norm sees the same values however the data are cut.
    monkeypatch.setattr(batch_norm_statistics, "_CHUNK_ROWS", rows)
    net = built()
    params = start_of(net)
    seen = F.conv2d(X.double(), params["convs.0.weight"].double(), padding=1)
    found = with_population(net, params, DATA, SCALE)
    close(
        {
            "mean": found["norms.0.running_mean"].double(),
            "var": found["norms.0.running_var"].double(),
        },
        {"mean": seen.mean((0, 2, 3)), "var": seen.var((0, 2, 3), correction=0)},
        atol=1e-7,
    )


def test_later_layers_see_parts_normalised_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm_statistics, "_CHUNK_ROWS", 8)
    net = built()
    params = start_of(net)
    seen = []
    for first in range(3):
        h = F.conv2d(X[first::3], params["convs.0.weight"], padding=1)
        gain, bias = params["norms.0.weight"], params["norms.0.bias"]
        h = F.max_pool2d(F.relu(F.batch_norm(h, None, None, gain, bias, True)), 2)
        seen.append(F.conv2d(h, params["convs.1.weight"], padding=1))
    every = torch.cat(seen)
    found = with_population(net, params, DATA, SCALE)
    close(
        {name: found[f"norms.1.running_{name}"] for name in ("mean", "var")},
        {"mean": every.mean((0, 2, 3)), "var": every.var((0, 2, 3), correction=0)},
    )


def test_moments_of_a_large_mean_do_not_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm_statistics, "_CHUNK_ROWS", 4)
    shift = Scale(SCALE.gain, torch.full((1, 1, 1), 1e3))

    def features(params: Params, h: Tensor) -> Tensor:
        return F.batch_norm(h, params["n.running_mean"], params["n.running_var"])

    names = frozenset({"n.running_mean", "n.running_var"})
    net = built()._replace(features=features, statistics=names)
    found = with_population(net, {}, DATA, shift)
    torch.testing.assert_close(
        found["n.running_var"].double(),
        shift(IMAGES).double().var((0, 2, 3), correction=0),
        rtol=1e-3,
        atol=0,
    )


def test_a_shared_layer_without_gain_pools_all_its_uses() -> None:
    net = custom("twice")
    params = net.init(generator(0, "init"))
    assert params.keys() == {"out.weight", "out.bias"}
    flat = X.flatten(1)
    h = 3 * F.batch_norm(flat, None, None, training=True) + 1
    found = with_population(net, params, DATA, SCALE)
    every = torch.cat([flat, h])
    close(
        {name: found[f"norm.running_{name}"] for name in ("mean", "var")},
        {"mean": every.mean(0), "var": every.var(0, correction=0)},
    )


@pytest.mark.parametrize("net", [built(), custom("factory")], ids=["built-in", "module"])
def test_a_pass_changes_nothing(net: Net) -> None:
    params = with_population(net, start_of(net), DATA, SCALE)
    before = copy.deepcopy(params)
    bare = without_statistics(params)
    first = net.apply(bare, X, 0)
    net.apply(params, X[:3], 0)
    again = with_population(net, params, OTHER, SCALE)
    assert torch.equal(first, net.apply(bare, X, 0))
    assert all(torch.equal(value, before[name]) for name, value in params.items())
    assert not torch.equal(again["norms.0.running_mean"], before["norms.0.running_mean"])


def test_statistics_are_not_shared_parameters() -> None:
    net = built()
    params = with_population(net, start_of(net), DATA, SCALE)
    assert shared(params).keys() == params.keys() - net.statistics
    assert "norms.0.weight" in shared(params)


@pytest.mark.parametrize("kind", ["built-in", "module"])
def test_batch_mode_trains_like_torch_and_ends_with_the_population(kind: str) -> None:
    net = built() if kind == "built-in" else custom("factory")
    old = with_population(net, start_of(net), OTHER, SCALE)
    module = as_module(old).train()
    plain_loop(module, DATA)
    population_module(module, DATA)
    found = run(net, old, DATA)
    close(found.params, module.state_dict())
    # Statistics from before the phase do not matter.
    again = run(net, without_statistics(old), DATA)
    assert all(torch.equal(value, again.params[name]) for name, value in found.params.items())


@pytest.mark.parametrize("kind", ["built-in", "module"])
def test_frozen_mode_trains_like_torch_in_evaluation_mode(kind: str) -> None:
    net = built(bn_mode="frozen") if kind == "built-in" else custom("factory", "frozen")
    first = run(net, start_of(net), DATA)
    module = as_module(first.params).eval()
    plain_loop(module, OTHER)
    second = run(net, first.params, OTHER)
    close(second.params, module.state_dict())
    kept = statistics(first.params)
    assert kept.keys() == net.statistics
    assert all(torch.equal(second.params[name], value) for name, value in kept.items())
    assert not torch.equal(second.params["norms.0.weight"], first.params["norms.0.weight"])


def test_a_phase_may_hold_statistics_and_its_close_sees_them() -> None:
    net = built()
    old = with_population(net, start_of(net), OTHER, SCALE)
    loss, closed = plain_phase(net).loss, []

    def close_phase(full: Params, memory: Any, task: int) -> tuple[Params, Any]:
        closed.append(full)
        return full, memory

    run(net, old, DATA, Phase("train", loss, close=close_phase))
    run(net, old, DATA, Phase("train", loss, close=close_phase, holds_statistics=True))
    renewed, held = (statistics(full) for full in closed)
    assert held.keys() == renewed.keys() == net.statistics
    assert all(torch.equal(value, old[name]) for name, value in held.items())
    assert not any(torch.equal(value, old[name]) for name, value in renewed.items())


def test_statistics_are_those_of_what_close_returns() -> None:
    net = built()
    start = start_of(net)

    def doubled(full: Params, memory: Any, task: int) -> tuple[Params, Any]:
        assert has_statistics(full, net.statistics)
        return {name: 2 * value for name, value in full.items()}, memory

    found = run(net, start, DATA, Phase("train", plain_phase(net).loss, close=doubled)).params
    direct = with_population(net, without_statistics(found), DATA, SCALE)
    assert all(torch.equal(value, found[name]) for name, value in direct.items())


def test_a_phase_that_loses_statistics_is_an_error() -> None:
    net = built()
    close = lambda f, m, t: (without_statistics(f), m)  # noqa: E731
    phase = Phase("train", plain_phase(net).loss, close=close, holds_statistics=True)
    old = with_population(net, start_of(net), DATA, SCALE)
    with pytest.raises(MethodError, match=r"norms\.0\.running_mean.* in task 2, phase 'train'"):
        run(net, old, DATA, phase)


def test_a_norm_that_is_not_used_is_an_error() -> None:
    net = custom("unused")
    with pytest.raises(MethodError, match=r"does not use \['norm\.running_mean'"):
        with_population(net, net.init(generator(0, "init")), DATA, SCALE)


@pytest.mark.parametrize(
    ("name", "words"),
    [("untracked", "batch norm '1' .* keeps no running"), ("instance", "BatchNorm is the only")],
)
def test_modules_whose_norms_are_no_pure_function_are_refused(name: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        custom(name)


@pytest.mark.parametrize(
    ("sizes", "training", "is_refused"),
    [
        ([24, 23], {"batch_size": 8}, False),
        ([24, 25], {"batch_size": 8}, True),
        ([24, 25], {"batch_size": 8, "steps": 3}, False),
        ([24, 25], {"batch_size": 8, "steps": 4}, True),
        ([2], {"batch_size": 1}, True),
    ],
)
def test_a_batch_of_one_value_per_channel_is_refused(
    sizes: list[int], training: dict, is_refused: bool
) -> None:
    config = TrainingConfig(**training)
    batch_norm_statistics.check_batches(
        custom("factory"), sizes, config
    )  # sees 64 values of one image
    if not is_refused:
        batch_norm_statistics.check_batches(custom("twice"), sizes, config)
        return
    with pytest.raises(StudyError, match=rf"{sizes[-1]} training examples .* single value"):
        batch_norm_statistics.check_batches(custom("twice"), sizes, config)


def test_keys_of_the_study_file() -> None:
    assert "bn_mode" not in NetConfig(name="conv").used_keys
    assert "bn_mode" in NetConfig(name="conv", norm="batch").used_keys
    with pytest.raises(ValueError, match="'bn_mode' means nothing for the net 'conv'"):
        NetConfig(name="conv", norm="group", bn_mode="frozen")
    with pytest.raises(ValueError, match="'norm' means nothing for the net 'mlp'"):
        NetConfig(norm="batch")
