import numpy as np
import pytest
import torch

from clsweep.data.heads import Heads
from clsweep.data.tasks import Examples, PixelMap, Scale, Task, TaskSequence, joined

C, H, W = 2, 3, 4
P = H * W


def images(n, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, C, H, W), generator=rng, dtype=torch.uint8)


def permutation(seed):
    order = torch.randperm(P, generator=torch.Generator().manual_seed(seed))
    return PixelMap(order[None], None)


def mixing(seed, n_sources=4):
    """A map as bilinear interpolation makes them: shares of a column sum to at most 1."""
    rng = torch.Generator().manual_seed(seed)
    index = torch.randint(0, P, (n_sources, P), generator=rng)
    shares = torch.rand(n_sources, P, generator=rng)
    return PixelMap(index, shares / shares.sum(0))


def masking(seed):
    rng = torch.Generator().manual_seed(seed)
    index = torch.randint(0, P, (1, P), generator=rng)
    return PixelMap(index, torch.randint(0, 2, (1, P), generator=rng).float())


def oracle(image, pixel_map):
    """The definition, pixel by pixel, in whole numbers of a double."""
    flat = image.flatten(1).double().numpy()
    if pixel_map is None:
        return image.numpy()
    out = np.zeros((C, P))
    for p in range(P):
        for k in range(len(pixel_map.index)):
            share = 1.0 if pixel_map.weight is None else float(pixel_map.weight[k, p])
            out[:, p] += share * flat[:, pixel_map.index[k, p]]
    return np.floor(out + 0.5).astype(np.uint8).reshape(C, H, W)


def examples(store, rows, label, pixel_map=None):
    return Examples(store, torch.tensor(rows), torch.full((len(rows),), label), pixel_map)


def sequence(parts):
    tasks = tuple(Task(i, part, part, part, 2) for i, part in enumerate(parts))
    scale = Scale(torch.ones(C, 1, 1), torch.zeros(C, 1, 1))
    return TaskSequence(tasks, Heads("task", (2,) * len(parts)), scale, (C, H, W))


@pytest.mark.parametrize(
    "pixel_map", [None, permutation(1), masking(2), mixing(3), mixing(4, n_sources=2)]
)
def test_raw_is_the_definition(pixel_map):
    store = images(9)
    before = store.clone()
    part = examples(store, [8, 1, 3, 3], label=1, pixel_map=pixel_map)
    raw = part.raw(torch.tensor([3, 0, 1]))
    assert raw.dtype == torch.uint8
    for image, row in zip(raw, (3, 8, 1), strict=True):
        assert (image.numpy() == oracle(before[row], pixel_map)).all()
    raw += 1
    assert torch.equal(store, before)
    assert len(part) == 4


def test_shares_of_one_keep_white_white():
    white = torch.full((1, C, H, W), 255, dtype=torch.uint8)
    thirds = PixelMap(torch.zeros(3, P, dtype=torch.int64), torch.full((3, P), 1 / 3))
    assert (
        Examples(white, torch.tensor([0]), torch.tensor([0]), thirds).raw(torch.tensor([0])) == 255
    ).all()


def test_scale_is_affine_per_channel():
    raw = images(5)
    scale = Scale(torch.tensor([0.5, 2.0]).view(C, 1, 1), torch.tensor([-1.0, 3.0]).view(C, 1, 1))
    x = scale(raw)
    assert x.dtype == torch.float32
    assert torch.equal(x[:, 0], raw[:, 0] * 0.5 - 1)
    assert torch.equal(x[:, 1], raw[:, 1] * 2.0 + 3)


SHARED = images(9)
JOINS = {
    "plain": [examples(SHARED, [0, 1, 2], 0), examples(SHARED, [3, 4], 1)],
    "permuted": [examples(SHARED, [0, 1, 2], t, permutation(t)) for t in range(4)],
    "first unpermuted": [
        examples(SHARED, [5, 6], 0),
        examples(SHARED, [5, 6, 7], 1, permutation(1)),
    ],
    "rotated": [examples(SHARED, [2, 1], t, mixing(t)) for t in range(3)],
    "nearest": [examples(SHARED, [2, 1], t, masking(t)) for t in range(3)],
    "every kind": [
        examples(SHARED, [0], 0),
        examples(SHARED, [1, 2], 1, permutation(1)),
        examples(SHARED, [3], 2, masking(2)),
        examples(SHARED, [4, 5], 3, mixing(3)),
    ],
    "different data sets": [
        examples(SHARED, [0, 8], 0, permutation(5)),
        examples(images(3, seed=1), [2, 0, 1], 1),
        examples(SHARED, [4], 0),
    ],
}


@pytest.mark.parametrize("parts", JOINS.values(), ids=JOINS.keys())
def test_joined_is_the_concatenation(parts):
    union = joined(sequence(parts))
    expected = torch.cat([part.raw(torch.arange(len(part))) for part in parts])
    order = torch.randperm(len(union), generator=torch.Generator().manual_seed(0))
    assert len(union) == len(expected)
    assert torch.equal(union.raw(order), expected[order])
    assert torch.equal(union.labels, torch.cat([part.labels for part in parts]))
    tasks = [torch.full((len(part),), task) for task, part in enumerate(parts)]
    assert torch.equal(union.task_of, torch.cat(tasks))


def test_joining_one_data_set_copies_no_image():
    assert joined(sequence(JOINS["permuted"])).images is SHARED


def test_moving_keeps_what_is_shared():
    moved = sequence(JOINS["every kind"]).to("meta")
    stores = [task.train.images for task in moved.tasks]
    assert all(store.is_meta for store in stores)
    assert all(store is stores[0] for store in stores)
    assert moved.scale.gain.is_meta
    task = moved.tasks[3].train
    assert task.labels.is_meta
    assert task.pixel_map.index.is_meta
    assert task.pixel_map.weight.is_meta
    # A single part, moved later, joins the copy that is in use.
    assert JOINS["permuted"][0].to("meta").images is stores[0]


def test_moving_to_where_it_is_copies_nothing():
    part = JOINS["every kind"][3]
    same = part.to("cpu")
    assert same.images is part.images
    assert same.pixel_map.weight is part.pixel_map.weight


def test_a_new_tensor_never_gets_the_copy_of_a_dead_one():
    for n in range(1, 30):
        store = images(n)
        copy = examples(store, [0], 0).to("meta").images
        assert len(copy) == n
        del store


@pytest.mark.gpu
@pytest.mark.parametrize("parts", JOINS.values(), ids=JOINS.keys())
def test_a_gpu_reads_the_same_bytes(parts):
    here, there = sequence(parts), sequence(parts).to("cuda")
    for task, moved in zip(here.tasks, there.tasks, strict=True):
        index = torch.arange(len(task.train))
        assert torch.equal(moved.train.raw(index).cpu(), task.train.raw(index))
        assert torch.equal(moved.train.raw(index.cuda()).cpu(), task.train.raw(index))
    union, moved_union = joined(here), joined(there)
    index = torch.arange(len(union))
    assert torch.equal(moved_union.raw(index.cuda()).cpu(), union.raw(index))
    raw = here.tasks[0].train.raw(torch.arange(1))
    assert torch.equal(there.scale(raw.cuda()).cpu(), here.scale(raw))
