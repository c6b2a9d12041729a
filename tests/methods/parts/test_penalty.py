"""The proximal step at weights beyond float32, and penalties on nothing at all."""

from __future__ import annotations

import pytest
import torch

from clsweep.methods.parts.penalty import Anchor, proximal

THETA = {"w": torch.tensor([1.0, -2.0, 3.0, 4.0])}
STAR = {"w": torch.tensor([0.5, 0.5, 0.5, 0.5])}


@pytest.mark.parametrize("weight", [0.0, 1.0, 1e14, 1e16, 1e30, 1e45, 1e60, 1e300])
def test_the_proximal_step_is_the_minimum_for_every_weight(weight: float) -> None:
    """Against double precision; ω = 0 is left alone, a large η w ω ends at the anchor."""
    omega = torch.tensor([0.0, 1e-20, 1e-3, 50.0])
    found = proximal(THETA, Anchor({"w": omega}, STAR), weight, 0.1)["w"]
    scaled = omega.double() * weight * 0.1
    share = torch.where(scaled.isinf(), torch.ones_like(scaled), scaled / (1 + scaled))
    expected = THETA["w"].double() - share * (THETA["w"] - STAR["w"]).double()
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)
    assert found[0] == THETA["w"][0]


def test_both_ways_of_writing_the_share_agree() -> None:
    """η w a little below and above the bound between them."""
    omega = torch.logspace(-25, 5, 200)
    params, star = {"w": torch.ones(200)}, {"w": torch.zeros(200)}
    low, high = (
        proximal(params, Anchor({"w": omega}, star), weight, 1.0)["w"]
        for weight in (0.9999999e15, 1.0000001e15)
    )
    torch.testing.assert_close(low, high, atol=1e-6, rtol=1e-5)


def test_nothing_shared_is_left_as_it_is() -> None:
    assert proximal(THETA, Anchor({}, {}), 1e4, 0.1) == THETA
