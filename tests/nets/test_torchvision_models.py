"""Models of torchvision by name: the models themselves are the oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale
from clsweep.errors import StudyError
from clsweep.nets.build import build_net
from clsweep.nets.checks import check_image
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.study.study import parse_study
from clsweep.training.batch_norm_statistics import with_population

SCALE = Scale(torch.full((1, 1, 1), 1 / 255), torch.full((1, 1, 1), -0.5))
SMALL = "shufflenet_v2_x0_5"
STUDY = """\
name = "pretrained"
[benchmark]
name = "split"
dataset = "digits"
n_tasks = 2
[net]
name = "torchvision"
model = "{model}"
weights = "{weights}"
[[methods]]
name = "finetune"
"""


def built(model: str, n_channels: int = 3, weights: str = "", root: Path | None = None) -> Net:
    config = NetConfig(name="torchvision", model=model, weights=weights)
    return build_net(config, (n_channels, 32, 32), Heads("class", (2, 3)), root)


def model_of(name: str, n_outputs: int = 5) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=n_outputs)
    return module


def images(n_channels: int = 3) -> Tensor:
    shape = (8, n_channels, 32, 32)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "images"))


@pytest.mark.parametrize("n_channels", [1, 3])
def test_both_modes_are_those_of_the_model(n_channels: int) -> None:
    net = built(SMALL, n_channels)
    params = net.init(generator(0, "init"))
    module = model_of(SMALL)
    module.load_state_dict(params, strict=False)
    raw = images(n_channels)
    x = SCALE(raw)
    coloured = x.expand(-1, 3, -1, -1)
    y = torch.arange(8) % 5
    F.cross_entropy(module.train()(coloured), y).backward()
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    F.cross_entropy(net.apply(leaves, x, 1), y).backward()
    for name, value in module.named_parameters():
        torch.testing.assert_close(leaves[name].grad, value.grad, atol=1e-4, rtol=1e-2)
    data = Examples(raw, torch.arange(8), y)
    full = with_population(net, params, data, SCALE)
    module.load_state_dict(full, strict=False)
    torch.testing.assert_close(
        net.apply(full, x[:3], 1), module.eval()(coloured[:3]), atol=1e-4, rtol=1e-3
    )
    assert net.apply(full, x, 0).shape == (8, 2)
    assert net.readout(0) == ("fc.weight", "fc.bias")
    assert {name.rpartition(".")[2] for name in net.statistics} == {"running_mean", "running_var"}


def test_weights_depend_on_the_generator_alone() -> None:
    net = built(SMALL)
    torch.manual_seed(1)
    first = net.init(generator(0, "init"))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = net.init(generator(0, "init")), net.init(generator(1, "init"))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert not torch.equal(other["fc.weight"], first["fc.weight"])


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])
def test_dropout_and_stochastic_depth_are_switched_off(name: str) -> None:
    assert any(
        type(m).__name__ in ("Dropout", "StochasticDepth") for m in model_of(name).modules()
    )
    net = built(name)
    params = net.init(generator(0, "init"))
    x = SCALE(images())
    assert torch.equal(net.apply(params, x, 1), net.apply(params, x, 1))


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_weights_of_a_local_file_fill_everything_but_the_last_layer(
    ending: str, tmp_path: Path
) -> None:
    state = model_of(SMALL, 1000).state_dict()
    if ending == "pth":
        torch.save(state, tmp_path / "w.pth")
    else:
        save_file(state, tmp_path / "w.safetensors")
    net = built(SMALL, weights=f"w.{ending}", root=tmp_path)
    params = net.init(generator(0, "init"))
    drawn = built(SMALL).init(generator(0, "init"))
    for name, value in params.items():
        expected = drawn[name] if name.startswith("fc.") else state[name]
        assert torch.equal(value, expected), name


def test_a_file_that_does_not_fit_is_one_message(tmp_path: Path) -> None:
    state = model_of(SMALL, 1000).state_dict()
    torch.save(state, tmp_path / "w.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    narrow = {**state, "conv1.0.weight": torch.zeros(3, 3, 3, 3), "extra": torch.zeros(1)}
    torch.save(narrow, tmp_path / "narrow.pth")
    for model, file, words in [
        ("resnet18", "w.pth", "do not fit the model: lacks bn1.bias"),
        (SMALL, "list.pth", "holds no weights but a list"),
        (SMALL, "text.pth", r"holds no weights \(UnpicklingError"),
        (
            SMALL,
            "narrow.pth",
            r"conv1.0.weight is \(3, 3, 3, 3\), not \(24, 3, 3, 3\); has extra",
        ),
    ]:
        with pytest.raises(StudyError, match=f"(?s){words}.*\\[net\\] weights"):
            built(model, weights=file, root=tmp_path)


def test_weights_are_never_downloaded_and_missed_when_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(STUDY.format(model="resnet18", weights="IMAGENET1K_V1"), "s.toml", tmp_path)
    message = str(caught.value)
    assert f"there is no file '{tmp_path}/IMAGENET1K_V1'" in message
    assert "none is downloaded" in message
    assert "s.toml: [net] weights" in message
    assert "get_model('resnet18', weights='DEFAULT')" in message
    (tmp_path / "w.pth").touch()
    parse_study(STUDY.format(model="resnet18", weights="w.pth"), "s.toml", tmp_path)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet81", "no classification model 'resnet81'.*resnet18"),
        ("vgg11", r"torchvision's 'vgg11' fails on inputs \(2, 3, 8, 8\)"),
    ],
)
def test_models_that_cannot_be_used_are_one_message(model: str, words: str) -> None:
    config = NetConfig(name="torchvision", model=model)
    with pytest.raises(StudyError, match=rf"(?s){words}.*\[net\] model"):
        build_net(config, (3, 8, 8), Heads("domain", (3,)))


def test_a_model_has_to_be_named() -> None:
    with pytest.raises(ValueError, match="'torchvision' names no model"):
        NetConfig(name="torchvision")
    assert "bn_mode" in NetConfig(name="torchvision", model=SMALL).used_keys


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("alexnet", 63),
        ("squeezenet1_0", 21),
        ("squeezenet1_1", 17),
        ("vgg11", 32),
        ("vgg11_bn", 32),
    ],
)
def test_plan_knows_how_small_an_image_may_be(model: str, least: int) -> None:
    """On tensors without values, which cost nothing: the model itself at, and below, the side."""
    with torch.device("meta"):
        module = torchvision.models.get_model(model, weights=None, num_classes=3).train()
    config = NetConfig(name="torchvision", model=model)
    module(torch.empty(2, 3, least, least + 5, device="meta"))
    check_image(config, (3, least, least + 5))
    with pytest.raises(RuntimeError):
        module(torch.empty(2, 3, least - 1, least + 5, device="meta"))
    with pytest.raises(
        StudyError, match=rf"do not fit torchvision's '{model}'.*\n.*{least}x{least}"
    ):
        check_image(config, (3, least - 1, least + 5))


def test_a_vision_transformer_takes_one_size() -> None:
    config = NetConfig(name="torchvision", model="vit_b_16")
    check_image(config, (3, 224, 224))
    for side in (28, 223, 256):
        with pytest.raises(StudyError, match="224x224"):
            check_image(config, (3, side, side))
    check_image(NetConfig(name="torchvision", model="resnet18"), (3, 8, 8))
