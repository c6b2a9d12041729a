"""A variational autoencoder of images as pure functions, the generator of the replay methods.

    z ~ q(z|x) = N(μ(x), diag σ²(x)),   p(z) = N(0, I),   p(x|z) Bernoulli per pixel, x in [0, 1]
    loss per image: (1/P) Σ_p BCE(x_p, x̂_p) + KL(q(z|x) ‖ p(z)) / P,   P pixels
    KL = −½ Σ_j (1 + log σ_j² − μ_j² − σ_j²)

Kingma and Welling 2014; scaled as in van de Ven and Tolias 2018. Both terms are divided by P: with
the sum over pixels beside an undivided KL the optimum is the same and the step size another; with
only one of them divided it is another model. Encoder and decoder are fully connected with ReLU.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.nets.parameter_trees import Params

Shapes = dict[str, tuple[int, ...]]


def layer_shapes(widths: tuple[int, ...]) -> Shapes:
    """Names and shapes of fully connected layers from widths[0] to widths[-1].

    Args:
        widths: units, input first.
    """
    shapes: Shapes = {}
    for index, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False)):
        shapes[f"{index}.weight"] = (fan_out, fan_in)
        shapes[f"{index}.bias"] = (fan_out,)
    return shapes


def uniform_layers(shapes: Shapes, rng: torch.Generator) -> Params:
    """Uniform on ±1/√fan_in, weights and biases, as nn.Linear draws them.

    Args:
        shapes: from `layer_shapes`.
        rng: draws them.
    """
    params: Params = {}
    for name, shape in shapes.items():
        fan_in = shapes[f"{name.partition('.')[0]}.weight"][1]
        params[name] = (torch.rand(shape, generator=rng) * 2 - 1) * fan_in**-0.5
    return params


def xavier_layers(shapes: Shapes, rng: torch.Generator) -> Params:
    """Weights uniform on ±√(6 / (fan_in + fan_out)) after Glorot, biases zero.

    Args:
        shapes: from `layer_shapes`.
        rng: draws them.
    """
    params: Params = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            params[name] = torch.zeros(shape)
            continue
        bound = (6 / (shape[0] + shape[1])) ** 0.5
        params[name] = (torch.rand(shape, generator=rng) * 2 - 1) * bound
    return params


def pixels_of(raw: Tensor) -> Tensor:
    """Stored images as numbers in [0, 1], float32 [B, P].

    Args:
        raw: [B, C, H, W] in 0..255, bytes or generated.
    """
    return raw.flatten(1).to(torch.float32) / 255


class Vae(NamedTuple):
    """The shape of an autoencoder; its parameters are handed in.

    Attributes:
        input_shape: (C, H, W) for images.
        encoder: units of the encoder's hidden layers.
        decoder: units of the decoder's hidden layers.
        latent: dimensions of the code z.
    """

    input_shape: tuple[int, ...]
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    latent: int

    @property
    def encoder_shapes(self) -> Shapes:
        """Names and shapes of the encoder; its last layer gives μ and log σ²."""
        return layer_shapes((math.prod(self.input_shape), *self.encoder, 2 * self.latent))

    @property
    def decoder_shapes(self) -> Shapes:
        """Names and shapes of the decoder; its last layer gives the pixels' logits."""
        return layer_shapes((self.latent, *self.decoder, math.prod(self.input_shape)))

    def encode(self, encoder: Params, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of the codes, [B, latent] each.

        Args:
            encoder: its parameters.
            pixels: [B, P] in [0, 1].
        """
        mean, log_variance = _perceptron(encoder, pixels).chunk(2, 1)
        return mean, log_variance

    def decode(self, decoder: Params, codes: Tensor) -> Tensor:
        """Logits of the pixels, [B, P].

        Args:
            decoder: its parameters.
            codes: z, [B, latent].
        """
        return _perceptron(decoder, codes)

    def generated(self, decoder: Params, codes: Tensor) -> Tensor:
        """Images as means of their pixels, float32 [B, C, H, W] in 0..255, without gradient.

        Args:
            decoder: its parameters.
            codes: z drawn from the prior, [B, latent].
        """
        with torch.no_grad():
            means = self.decode(decoder, codes).sigmoid().mul_(255)
        return means.view(-1, *self.input_shape)


def vae_loss(vae: Vae, encoder: Params, decoder: Params, pixels: Tensor, noise: Tensor) -> Tensor:
    """The loss above, mean over the batch, shape ().

    Args:
        vae: the shape.
        encoder: its parameters.
        decoder: its parameters.
        pixels: [B, P] in [0, 1].
        noise: standard normal, [B, latent].
    """
    mean, log_variance = vae.encode(encoder, pixels)
    codes = mean + noise * (0.5 * log_variance).exp()
    reconstruction = F.binary_cross_entropy_with_logits(vae.decode(decoder, codes), pixels)
    divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
    return reconstruction + divergence / pixels.shape[1]


def _perceptron(params: Params, h: Tensor) -> Tensor:
    n_layers = len(params) // 2
    for index in range(n_layers):
        h = F.linear(h, params[f"{index}.weight"], params[f"{index}.bias"])
        if index < n_layers - 1:
            h = F.relu(h)
    return h
