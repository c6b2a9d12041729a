"""Backbones: the last layer is off, weights and running statistics are those of the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms import v2

from clsweep.data.rng import generator
from clsweep.errors import StudyError
from clsweep.nets.backbones import Preprocessing, backbone, features_of

SMALL = "shufflenet_v2_x0_5"  # 1.4 million parameters
SHAPE = (3, 32, 32)


def images(n: int = 3) -> Tensor:
    return torch.rand(n, *SHAPE, generator=generator(0, "images"))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A model of 7 classes whose running statistics are none of a new one's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = torchvision.models.get_model(SMALL, num_classes=7)
        for name, value in made.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.copy_(torch.rand_like(value) + 0.5)
    return made.eval()


@pytest.fixture(scope="module")
def weights(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save(model.state_dict(), path)
    return path


def test_features_are_what_the_last_layer_reads(model: nn.Module, weights: Path) -> None:
    module = backbone(SMALL, weights, 0, SHAPE)
    found = features_of(module, SMALL, images())
    assert found.shape == (3, model.fc.in_features)
    with torch.no_grad():
        torch.testing.assert_close(model.fc(found), model(images()))
    assert not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_published_files_with_auxiliary_classifiers_are_read_as_torchvision_reads_them(
    name: str, tmp_path: Path
) -> None:
    """On the meta device: a forward pass and a file of 100 MB would be slow."""
    with torch.device("meta"):
        get = torchvision.models.get_model
        full = get(name, aux_logits=True, init_weights=False, transform_input=True)
    small = {key: torch.zeros(()).expand(value.shape) for key, value in full.state_dict().items()}
    torch.save(small, tmp_path / "published.pth")
    module = backbone(name, tmp_path / "published.pth", 0, (3, 75, 75))
    assert not any(value.any() for value in module.parameters())
    assert module.transform_input
    assert not backbone(name, None, 0, (3, 75, 75)).transform_input


def test_weights_are_drawn_from_the_seed() -> None:
    first, again, other = (
        features_of(backbone(SMALL, None, seed, SHAPE), SMALL, images()) for seed in (0, 0, 1)
    )
    assert first.equal(again)
    assert not torch.allclose(first, other)


def test_an_example_has_the_same_features_alone() -> None:
    """Batch norms are in evaluation mode, and dropout is off."""
    module = backbone(SMALL, None, 0, SHAPE)
    alone = features_of(module, SMALL, images()[1:2])
    torch.testing.assert_close(alone[0], features_of(module, SMALL, images())[1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("conv1.1.running_var"), "lacks conv1.1.running_var"),
        (lambda state: state.update({"more": torch.ones(1)}), "has more, which the model lacks"),
        (lambda state: state.update({"conv1.0.weight": torch.ones(2)}), "conv1.0.weight is"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    spoil: object, message: str, model: nn.Module, tmp_path: Path
) -> None:
    state = dict(model.state_dict())
    spoil(state)  # type: ignore[operator]
    torch.save(state, tmp_path / "spoilt.pth")
    with pytest.raises(StudyError, match=message) as raised:
        backbone(SMALL, tmp_path / "spoilt.pth", 0, SHAPE)
    assert "where: --weights" in str(raised.value)


def test_a_name_that_is_none_gets_a_suggestion() -> None:
    with pytest.raises(StudyError, match="did you mean 'resnet18'"):
        backbone("resnet_18", None, 0, SHAPE)


def test_a_model_without_a_last_linear_layer_is_refused() -> None:
    with pytest.raises(StudyError, match="'squeezenet1_1' does not end in a linear layer"):
        backbone("squeezenet1_1", None, 0, SHAPE)


OWN = """
import torch
from torch import nn

def build(input_shape):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(input_shape[0], 5, 3)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            return self.dropout(self.conv(x)).amax(3)
    return Pooled()

def nothing(input_shape):
    return 3

def broken(input_shape):
    raise OSError("no such thing")

def infinite(input_shape):
    class Infinite(nn.Module):
        def forward(self, x):
            return x.flatten(1) / 0
    return Infinite()
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_backbone.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "my_backbone", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_backbone"


def test_a_module_of_ones_own_returns_features(own_module: str, tmp_path: Path) -> None:
    name = f"{own_module}:build"
    module = backbone(name, None, 0, SHAPE)
    found = features_of(module, name, images())
    assert found.shape == (3, 5 * 30)
    torch.save({**module.state_dict()}, tmp_path / "own.pth")
    other = backbone(name, tmp_path / "own.pth", 1, SHAPE)
    assert features_of(other, name, images()).equal(found)
    assert not features_of(backbone(name, None, 1, SHAPE), name, images()).equal(found)


@pytest.mark.parametrize(
    ("factory", "message"),
    [("nothing", "returned a int"), ("broken", "raised OSError: no such thing")],
)
def test_what_is_wrong_with_a_factory_is_said_with_its_line(
    factory: str, message: str, own_module: str
) -> None:
    with pytest.raises(StudyError, match=message) as raised:
        backbone(f"{own_module}:{factory}", None, 0, SHAPE)
    assert "my_backbone.py, line" in str(raised.value)


def test_features_that_are_not_finite_are_refused(own_module: str) -> None:
    module = backbone(f"{own_module}:infinite", None, 0, SHAPE)
    with pytest.raises(StudyError, match="NaN or infinite features"):
        features_of(module, "infinite", images())


def test_images_that_a_backbone_cannot_take_say_how_to_bring_them_to_size() -> None:
    module = backbone(SMALL, None, 0, SHAPE)
    with pytest.raises(StudyError, match="fails on inputs") as raised:
        features_of(module, SMALL, torch.rand(1, 4, 32, 32))
    assert "--resize and --crop" in str(raised.value)


@pytest.mark.parametrize("shape", [(3, 20, 30), (1, 31, 17)])
def test_preprocessing_is_torchvisions(shape: tuple[int, int, int]) -> None:
    raw = torch.randint(0, 256, (2, *shape), generator=generator(0, "raw"), dtype=torch.uint8)
    expected = v2.Compose(
        [
            v2.Lambda(lambda x: x.expand(-1, 3, -1, -1)),
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize(24, antialias=True),
            v2.CenterCrop(22),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )(raw)
    found = Preprocessing(24, 22, "imagenet", 3)(raw)
    assert found.shape == (2, 3, 22, 22)
    torch.testing.assert_close(found, expected)
    with pytest.raises(StudyError, match="is smaller than --crop 25"):
        Preprocessing(24, 25, "imagenet", 3)(raw)


def test_bytes_become_numbers_from_0_to_1_and_floating_point_stays() -> None:
    raw = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert Preprocessing(0, 0, "unit", 0)(raw).tolist() == [[[[0.0, 1.0]]]]
    assert Preprocessing(0, 0, "unit", 0)(raw.double() * 2).tolist() == [[[[0.0, 510.0]]]]
