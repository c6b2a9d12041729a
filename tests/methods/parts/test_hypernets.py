"""The hypernetwork: sizes, chunks, embeddings, and the penalty on what it generates."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from clsweep.data.rng import generator
from clsweep.methods.parts.hypernets import Hypernet, trained_on
from clsweep.nets.parameter_trees import Params, n_elements

SHAPES = {"a.weight": (3, 2), "a.bias": (3,), "heads.0.weight": (2, 3)}
NET = Hypernet(SHAPES, 3, (5, 4), "relu", 6, 2, 4)


def params(seed: int = 0) -> Params:
    return NET.init(generator(seed, "hypernet"))


def test_published_sizes_of_split_mnist() -> None:
    """784-400-400 with five heads of two: 465,672 numbers generate 478,410."""
    layers = {"0": (400, 784), "1": (400, 400), **{f"heads.{t}": (2, 400) for t in range(5)}}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    net = Hypernet(shapes, 5, (10, 10), "relu", 96, 96, 42000)
    assert (net.n_generated, net.n_chunks) == (478_410, 12)
    assert n_elements(net.init(generator(0, "init"))) == 465_672


def test_pieces_by_hand() -> None:
    """Piece i is the perceptron of (e_t, c_i); the last one is cut to length."""
    held = params()
    assert (NET.n_generated, NET.n_chunks) == (15, 4)
    pieces = []
    for chunk in held["chunks"]:
        h = torch.cat([held["embeddings.2"], chunk])
        h = F.relu(F.linear(h, held["0.weight"], held["0.bias"]))
        h = F.relu(F.linear(h, held["1.weight"], held["1.bias"]))
        pieces.append(F.linear(h, held["2.weight"], held["2.bias"]))
    expected = torch.cat(pieces)[:15]
    found = NET.generated(held, 2)
    assert {name: tuple(value.shape) for name, value in found.items()} == SHAPES
    torch.testing.assert_close(torch.cat([v.flatten() for v in found.values()]), expected)
    torch.testing.assert_close(NET.flat(held, range(3))[2], expected)


def test_init() -> None:
    """Xavier matrices, zero biases, and embeddings that are neither zero nor alike."""
    net = NET._replace(hidden=(40, 30), task_size=50, chunk_size=50)
    held = net.init(generator(0, "hypernet"))
    embeddings = torch.stack([held[f"embeddings.{task}"] for task in range(3)])
    assert torch.pdist(embeddings).min() > 5
    assert 0.8 < float(torch.cat([embeddings, held["chunks"]]).std()) < 1.2
    assert not any(held[f"{i}.bias"].any() for i in range(3))
    for i, (fan_in, fan_out) in enumerate([(100, 40), (40, 30), (30, 4)]):
        bound = (6 / (fan_in + fan_out)) ** 0.5
        assert 0.8 * bound < float(held[f"{i}.weight"].abs().max()) <= bound
    assert not torch.equal(*(net.flat(held, range(task, task + 1)) for task in (0, 1)))


def test_snapshot_is_reproduced_exactly_and_keeps_its_shape() -> None:
    held = params()
    stored = NET.snapshot(held, torch.zeros(3, 15), 2)
    assert stored.shape == (3, 15)
    assert torch.equal(stored[:2], NET.flat(held, range(2)))
    assert not stored[2].any()
    assert not stored.requires_grad


def test_penalty_is_zero_at_the_snapshot_and_by_hand_elsewhere() -> None:
    held = {name: value.requires_grad_() for name, value in params().items()}
    stored = NET.snapshot(held, torch.zeros(3, 15), 2)
    at_rest = NET.penalty(held, stored, 2, {})
    grads = torch.autograd.grad(at_rest, list(held.values()), allow_unused=True)
    assert float(at_rest.detach()) == 0
    assert not any(g is not None and g.any() for g in grads)
    moved = {name: value.detach() + 0.1 for name, value in held.items()}
    by_hand = sum(
        float((NET.generated(moved, k)[name] - NET.shaped(stored[k])[name]).square().sum())
        for k in range(2)
        for name in SHAPES
    )
    assert by_hand > 0.01
    assert math.isclose(float(NET.penalty(moved, stored, 2, {})), by_hand / 2, rel_tol=1e-5)
    assert float(NET.penalty(moved, stored, 0, {})) == 0


def test_other_embeddings_are_frozen() -> None:
    held = params()
    assert held.keys() - trained_on(held, 1).keys() == {"embeddings.0", "embeddings.2"}


def test_every_activation_by_hand() -> None:
    held = params()
    acts = {
        "relu": lambda h: h.clamp(min=0),
        "elu": lambda h: torch.where(h > 0, h, h.exp() - 1),
        "sigmoid": lambda h: 1 / (1 + (-h).exp()),
        "linear": lambda h: h,
    }
    for name, act in acts.items():
        h = torch.cat([held["embeddings.1"], held["chunks"][2]])
        for layer in range(2):
            h = act(held[f"{layer}.weight"] @ h + held[f"{layer}.bias"])
        piece = held["2.weight"] @ h + held["2.bias"]
        found = NET._replace(activation=name).flat(held, range(1, 2))[0, 8:12]
        torch.testing.assert_close(found, piece)


def test_without_hidden_layers_it_is_an_affine_map_of_the_embeddings() -> None:
    net = NET._replace(hidden=(), activation="sigmoid")
    held = net.init(generator(0, "hypernet"))
    assert sorted(n for n in held if "embed" not in n) == ["0.bias", "0.weight", "chunks"]
    inputs = torch.cat([held["embeddings.0"].expand(4, -1), held["chunks"]], 1)
    expected = inputs @ held["0.weight"].T + held["0.bias"]
    torch.testing.assert_close(net.flat(held, range(1))[0], expected.flatten()[:15])


def test_standard_deviations_scale_the_drawn_embeddings_and_nothing_else() -> None:
    usual, scaled = (
        params(),
        NET._replace(task_std=0.25, chunk_std=8.0).init(generator(0, "hypernet")),
    )
    for name, value in usual.items():
        factor = 0.25 if name.startswith("embeddings.") else 8.0 if name == "chunks" else 1.0
        assert torch.equal(scaled[name], factor * value), name


def test_penalty_of_drawn_tasks_by_hand() -> None:
    """The mean over the chosen tasks; over all equally likely choices, that over all tasks."""
    held, moved = params(), params(seed=1)
    stored = NET.snapshot(held, torch.zeros(3, 15), 3)
    each = [float((NET.flat(moved, range(k, k + 1)) - stored[k]).square().sum()) for k in range(3)]
    for size, choices in ((1, [(0,), (1,), (2,)]), (2, [(0, 1), (0, 2), (1, 2)])):
        net, found = NET._replace(n_penalised=size), []
        for chosen in choices:
            keys = torch.tensor([0.9 if k in chosen else 0.1 for k in range(3)])
            found.append(float(net.penalty(moved, stored, 3, {"penalty_keys": keys})))
            by_hand = sum(each[k] for k in chosen) / size
            assert math.isclose(found[-1], by_hand, rel_tol=1e-5)
        assert math.isclose(sum(found) / 3, sum(each) / 3, rel_tol=1e-5)


def test_as_many_penalised_tasks_as_there_are_is_the_usual_penalty_bit_for_bit() -> None:
    moved, stored = params(seed=1), NET.snapshot(params(), torch.zeros(3, 15), 3)
    keys = {"penalty_keys": torch.tensor([0.2, 0.9, 0.1])}
    for n_past in (1, 2, 3):
        usual = NET.penalty(moved, stored, n_past, {})
        assert torch.equal(NET._replace(n_penalised=3).penalty(moved, stored, n_past, keys), usual)


def test_keys_choose_every_past_task_equally_often() -> None:
    net = NET._replace(n_penalised=1)
    assert NET.penalty_keys(generator(0, "keys"), 3) == {}
    keys = net.penalty_keys(generator(0, "keys"), 6000)["penalty_keys"]
    counts = keys[:, :3].argmax(1).bincount(minlength=3)
    assert counts.sum() == 6000
    assert (counts - 2000).abs().max() < 4 * (6000 * 2 / 9) ** 0.5  # four standard deviations


def test_a_task_that_is_not_drawn_pulls_nothing() -> None:
    held = {n: v.requires_grad_() for n, v in params().items()}
    stored = torch.zeros(3, 15)
    keys = {"penalty_keys": torch.tensor([0.2, 0.9, 0.1])}
    value = NET._replace(n_penalised=1).penalty(held, stored, 2, keys)
    names = ["embeddings.0", "embeddings.1"]
    not_drawn, drawn = torch.autograd.grad(value, [held[n] for n in names])
    assert not not_drawn.any()
    assert drawn.any()
