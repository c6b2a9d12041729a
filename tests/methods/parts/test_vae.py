"""The autoencoder's loss against torch's distributions, and that it learns a distribution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from clsweep.data.rng import generator
from clsweep.methods.parts.vae import Vae, pixels_of, uniform_layers, vae_loss, xavier_layers
from clsweep.nets.parameter_trees import Params

VAE = Vae((1, 2, 3), (7, 5), (4, 8), 3)


def drawn(seed: int = 0) -> tuple[Params, Params]:
    rng = generator(seed, "vae")
    return uniform_layers(VAE.encoder_shapes, rng), uniform_layers(VAE.decoder_shapes, rng)


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, VAE.latent, generator=generator(seed, "noise"))


def test_shapes() -> None:
    assert VAE.encoder_shapes["0.weight"] == (7, 6)
    assert VAE.encoder_shapes["2.weight"] == (6, 5)
    assert VAE.decoder_shapes["0.weight"] == (4, 3)
    assert VAE.decoder_shapes["2.bias"] == (6,)
    encoder, decoder = drawn()
    assert {n: tuple(v.shape) for n, v in encoder.items()} == VAE.encoder_shapes
    assert {n: tuple(v.shape) for n, v in decoder.items()} == VAE.decoder_shapes
    assert 0.5 * 7**-0.5 < float(encoder["1.weight"].abs().max()) <= 7**-0.5
    assert 0 < float(encoder["1.bias"].abs().max()) <= 7**-0.5


def test_xavier_layers() -> None:
    held = xavier_layers({"0.weight": (30, 50), "0.bias": (30,)}, generator(0, "xavier"))
    bound = (6 / 80) ** 0.5
    assert 0.95 * bound < float(held["0.weight"].abs().max()) <= bound
    assert abs(float(held["0.weight"].std()) - bound / 3**0.5) < 0.01
    assert not held["0.bias"].any()


@pytest.mark.parametrize("seed", [0, 1])
def test_loss_is_bernoulli_likelihood_and_divergence_over_pixels(seed: int) -> None:
    encoder, decoder = drawn(seed)
    pixels = (torch.rand(5, 6, generator=generator(seed, "pixels")) > 0.5).float()
    eps = noise(5, seed)
    mean, log_variance = VAE.encode(encoder, pixels)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    likelihood = Bernoulli(logits=VAE.decode(decoder, mean + eps * posterior.scale))
    minus_elbo = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1) - likelihood.log_prob(
        pixels
    ).sum(1)
    found = vae_loss(VAE, encoder, decoder, pixels, eps)
    torch.testing.assert_close(found, minus_elbo.mean() / 6)


def test_generated_images_are_decoded_means_without_gradient() -> None:
    _, decoder = drawn()
    held = {name: value.requires_grad_() for name, value in decoder.items()}
    codes = noise(4)
    images = VAE.generated(held, codes)
    assert images.shape == (4, 1, 2, 3)
    assert not images.requires_grad
    expected = VAE.decode(decoder, codes).sigmoid().view(4, 1, 2, 3) * 255
    torch.testing.assert_close(images, expected.detach())


def test_pixels_are_shares_of_the_largest_byte() -> None:
    raw = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    assert pixels_of(raw).flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_it_learns_two_patterns() -> None:
    """Samples of the prior become the two images it was trained on, about equally often."""
    vae = Vae((1, 4, 4), (16,), (16,), 2)
    half = torch.arange(16) < 8
    patterns = torch.stack([half, ~half]).float()
    rng = generator(0, "vae")
    encoder, decoder = (
        uniform_layers(shapes, rng) for shapes in (vae.encoder_shapes, vae.decoder_shapes)
    )
    leaves = [v.requires_grad_() for v in (*encoder.values(), *decoder.values())]
    opt = torch.optim.Adam(leaves, lr=0.02)
    for _ in range(300):
        opt.zero_grad()
        eps = torch.randn(32, 2, generator=rng)
        vae_loss(vae, encoder, decoder, patterns.repeat(16, 1), eps).backward()
        opt.step()
    images = vae.generated(decoder, torch.randn(200, 2, generator=rng)).flatten(1) / 255
    distance = (images[:, None] - patterns).abs().mean(2)
    assert float((distance.min(1).values < 0.2).float().mean()) > 0.8
    share = float((distance[:, 0] < distance[:, 1]).float().mean())
    assert 0.3 < share < 0.7
