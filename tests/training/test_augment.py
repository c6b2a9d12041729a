"""Random views of training images: torchvision's transforms, image by image, are the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as T

from clsweep.data.heads import Heads
from clsweep.data.rng import batch_indices, generator
from clsweep.data.tasks import Examples, Scale
from clsweep.errors import StudyError
from clsweep.methods.base import Batch, Memory, Phase
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params
from clsweep.study.study import parse_study
from clsweep.training.batches import ahead, augmented, views
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase

N = 23
IMAGES = torch.randint(0, 256, (N, 3, 16, 18), dtype=torch.uint8, generator=generator(0, "x"))
DATA = Examples(IMAGES, torch.arange(N), torch.zeros(N, dtype=torch.int64))
SCALE = Scale(torch.full((3, 1, 1), 1 / 255), torch.full((3, 1, 1), -0.5))
NET = build_net(NetConfig(hidden=(2,)), (3, 16, 18), Heads("domain", (2, 2)))


def by_hand(image: Tensor, flip: bool, shift: list[int], border: int) -> Tensor:
    padded = T.pad(image, [border] * 4)
    cut = T.crop(padded, shift[0], shift[1], image.shape[1], image.shape[2])
    return T.horizontal_flip(cut) if flip else cut


@pytest.mark.parametrize("border", [0, 1, 3])
def test_a_view_is_a_padded_crop_and_a_mirror_image(border: int) -> None:
    rng = generator(1, "views")
    flip = torch.rand(N, generator=rng) < 0.5
    shift = torch.randint(0, 2 * border + 1, (N, 2), generator=rng)
    before = IMAGES.clone()
    found = augmented(IMAGES, flip, shift, border)
    assert torch.equal(IMAGES, before)
    assert found.dtype == torch.uint8
    for i in range(N):
        expected = by_hand(IMAGES[i], bool(flip[i]), shift[i].tolist(), border)
        assert torch.equal(found[i], expected)


def test_flips_and_places_are_uniform() -> None:
    # One bright pixel in the middle tells where an image went.
    n = 4000
    dots = torch.zeros(n, 1, 8, 8, dtype=torch.uint8)
    dots[:, :, 3, 2] = 255
    found = views("crop_flip", 0, 1, 0, n, torch.device("cpu"))(dots, 0).flatten(1).argmax(1)
    rows, columns = found // 8, found % 8
    assert rows.unique().tolist() == [2, 3, 4]
    assert columns.unique().tolist() == [1, 2, 3, 4, 5, 6]
    for values, share in ((rows, 1 / 3), (columns, 1 / 6)):
        counts = values.bincount()[values.unique()] / n
        assert float((counts - share).abs().max()) < 0.03
    mirrored = views("flip", 0, 1, 0, n, torch.device("cpu"))(dots, 0).flatten(1).argmax(1)
    assert mirrored.unique().tolist() == [26, 29]
    assert abs(float((mirrored == 26).float().mean()) - 0.5) < 0.03


def seen(augment: str, name: str, seed: int = 0, task: int = 1, **options: Any) -> list[Batch]:
    """Every batch of a phase of some method."""
    batches = []

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        batches.append(batch)
        return full["head.bias"].sum()

    training = TrainingConfig(augment=augment, **{"batch_size": 5, **options})
    train_phase(
        Phase(name, loss),
        State(NET.init(generator(0, "init")), {}),
        DATA,
        Setting(NET, SCALE, training, seed),
        task=task,
        n_steps=training.n_steps(N),
    )
    return batches


def inputs(batches: list[Batch]) -> Tensor:
    return torch.cat([batch.x for batch in batches])


@pytest.mark.parametrize("augment", ["flip", "crop_flip"])
def test_inputs_are_augmented_and_stored_images_are_not(augment: str) -> None:
    found = seen(augment, "train")
    (order,) = batch_indices(0, 1, N, 5, 5)
    assert torch.equal(torch.cat([batch.raw for batch in found]), IMAGES[order])
    rng = generator(0, "augment", 1, 0)
    flip = torch.rand(N, generator=rng) < 0.5
    place = torch.rand(N, 2, generator=rng, dtype=torch.float64)
    border = 2 if augment == "crop_flip" else 0
    expected = [
        by_hand(
            IMAGES[order[i]], bool(flip[i]), (place[i] * (2 * border + 1)).long().tolist(), border
        )
        for i in range(N)
    ]
    assert torch.equal(inputs(found), SCALE(torch.stack(expected)))


def test_draws_are_the_same_for_every_method_and_batch_size_and_new_in_every_epoch() -> None:
    first = seen("crop_flip", "train", epochs=2)
    assert torch.equal(inputs(first), inputs(seen("crop_flip", "other", epochs=2)))
    assert torch.equal(inputs(first), inputs(seen("crop_flip", "train", epochs=2, batch_size=7)))
    # A last epoch that is cut short is the beginning of the whole one.
    cut = seen("crop_flip", "train", steps=7)
    assert torch.equal(inputs(cut), inputs(first[:7]))
    for other in ({"seed": 1}, {"task": 0}):
        assert not torch.equal(
            inputs(first), inputs(seen("crop_flip", "train", epochs=2, **other))
        )
    order_0, order_1 = batch_indices(0, 1, N, 5, 10)
    whole = inputs(first)
    assert not torch.equal(whole[:N][order_0.argsort()], whole[N:][order_1.argsort()])


def test_none_is_the_images_themselves() -> None:
    found = seen("none", "train")
    assert all(torch.equal(batch.x, SCALE(batch.raw)) for batch in found)


@pytest.mark.parametrize("where", ["study", "method"])
def test_permuted_pixels_cannot_be_moved(where: str) -> None:
    study = ['[training]\naugment = "flip"'] if where == "study" else []
    method = ['training = { augment = ["none", "flip"] }'] if where == "method" else []
    lines = ['name = "p"', "[benchmark]", 'name = "permuted"', "n_tasks = 2", *study]
    text = "\n".join([*lines, "[[methods]]", 'name = "finetune"', *method])
    with pytest.raises(StudyError, match="augment = 'flip' moves pixels"):
        parse_study(text)
    parse_study(text.replace("permuted", "rotated"))


class _Copied:
    """A tensor of which is told how it is copied."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def pin_memory(self) -> _Copied:
        self.told.append("pinned")
        return self

    def to(self, device: torch.device, **how: object) -> _Copied:
        self.told += [device.type, how]
        return self


def test_what_is_drawn_goes_to_a_gpu_without_waiting_for_it() -> None:
    found = ahead(_Copied(), torch.device("cuda", 0))  # type: ignore[arg-type]
    assert found.told == ["pinned", "cuda", {"non_blocking": True}]  # type: ignore[attr-defined]
    drawn = torch.arange(3)
    assert ahead(drawn, torch.device("cpu")) is drawn
