"""Which units each layer reads, and which networks are no chain."""

from __future__ import annotations

import pytest
import torch

from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.errors import MethodError
from clsweep.methods.parts.layer_chain import by_inputs, chain_of
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig

TASKS = Heads("task", (2, 3))


def test_layers_of_a_convolutional_network_in_their_order() -> None:
    config = NetConfig(name="conv", channels=(3, 4), width=5, norm="none")
    chain = chain_of(build_net(config, (1, 8, 8), TASKS), "hat")
    assert [(one.weight, one.n_units, one.per_unit) for one in chain.hidden] == [
        ("convs.0.weight", 3, 1),
        ("convs.1.weight", 4, 1),
        ("dense.weight", 5, 4),  # maps of 2 × 2
    ]
    assert [one.weight for one in chain.heads] == ["heads.0.weight", "heads.1.weight"]
    assert chain.readers(0) == chain.hidden[1:2]
    assert chain.readers(2) == chain.heads


@pytest.mark.parametrize("layer", ["convs.1.weight", "dense.weight"])
def test_scaling_what_reads_a_unit_is_scaling_the_unit(layer: str) -> None:
    config = NetConfig(name="conv", channels=(3, 4), width=5, norm="none", activation="relu")
    net = build_net(config, (1, 8, 8), TASKS)
    chain, params = chain_of(net, "hat"), net.init(generator(0, "init"))
    x = torch.rand(6, 1, 8, 8, generator=generator(1, "x"))
    index = [one.weight for one in chain.hidden].index(layer)
    gate = torch.linspace(0, 2, chain.hidden[index - 1].n_units)
    reading = dict(params)
    reading[layer] = params[layer] * by_inputs(gate, chain.hidden[index], params[layer])
    making = dict(params)  # relu and pooling let a positive factor through
    made = chain.hidden[index - 1]
    making[made.weight] = params[made.weight] * gate.reshape(-1, 1, 1, 1)
    making[made.bias] = params[made.bias] * gate
    torch.testing.assert_close(net.apply(reading, x, 1), net.apply(making, x, 1))


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (NetConfig(name="resnet32", base_maps=2), "norms|'group_norm'|'batch_norm'"),
        (NetConfig(name="conv", norm="group"), "group_norm"),
    ],
)
def test_a_network_with_norms_is_refused(config: NetConfig, found: str) -> None:
    net = build_net(config, (3, 32, 32), TASKS)
    with pytest.raises(MethodError, match=found) as caught:
        chain_of(net, "hat")
    assert "remove 'hat'" in str(caught.value)


def test_a_shortcut_is_refused() -> None:
    plain = build_net(NetConfig(hidden=(4, 4)), (1, 2, 2), TASKS)

    def features(params: dict, x: torch.Tensor) -> torch.Tensor:
        h = torch.nn.functional.linear(
            x.flatten(1), params["layers.0.weight"], params["layers.0.bias"]
        )
        return h + torch.nn.functional.linear(
            h, params["layers.1.weight"], params["layers.1.bias"]
        )

    with pytest.raises(MethodError, match="added up"):
        chain_of(plain._replace(features=features), "hat")
