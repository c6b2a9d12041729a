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
    at_rest = NET.penalty(held, stored, 2)
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
    assert math.isclose(float(NET.penalty(moved, stored, 2)), by_hand / 2, rel_tol=1e-5)
    assert float(NET.penalty(moved, stored, 0)) == 0


def test_other_embeddings_are_frozen() -> None:
    held = params()
    assert held.keys() - trained_on(held, 1).keys() == {"embeddings.0", "embeddings.2"}
