"""Networks whose weights are Gaussian: outputs of layers drawn, or whole networks.

    local reparameterisation   y = W_μ x + b_μ + √(W_σ² x² + b_σ²) ∘ ε,   ε ~ N(0, I) per output

for weights N(W_μ, W_σ²) that are independent of each other: every example has a draw of its own,
at the price of two products. Kingma, Salimans and Welling 2015, NeurIPS. Convolutions alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clsweep.methods.parts.activation_recorder import bound
from clsweep.nets.parameter_trees import Params

_LEAST = 1e-16  # keeps the slope of √ finite


class SampledOutputs(TorchFunctionMode):
    """Within it, a forward pass with the means draws the output of every layer."""

    def __init__(self, means: Params, variances: Params, noise: Tensor) -> None:
        """Watch for layers.

        Args:
            means: μ by parameter; the network has to be applied to these tensors.
            variances: σ² by parameter.
            noise: ε, [B, n_outputs of all layers].
        """
        super().__init__()
        self.names = {id(value): name for name, value in means.items()}
        self.variances, self.noise, self.n_used = variances, noise, 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func not in (F.linear, F.conv2d):
            return func(*args, **kwargs)
        x, weight, bias = bound(("input", "weight", "bias"), args, kwargs)
        if id(weight) not in self.names:
            return func(*args, **kwargs)
        rest = {k: v for k, v in kwargs.items() if k not in ("input", "weight", "bias")}
        spread = self.variances[self.names[id(weight)]]
        about = None if bias is None else self.variances[self.names[id(bias)]]
        mean = func(x, weight, bias, *args[3:], **rest)
        variance = func(x.square(), spread, about, *args[3:], **rest)
        n = mean[0].numel()
        epsilon = self.noise[: len(mean), self.n_used : self.n_used + n].view_as(mean)
        self.n_used += n
        return mean + (variance + _LEAST).sqrt() * epsilon


def divergence(mean: Tensor, variance: Tensor, prior_mean: Tensor, prior: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) = ½ Σ [(σ² + (μ − μ₀)²) / σ₀² − 1 − ln(σ² / σ₀²)], shape ().

    Args:
        mean: μ.
        variance: σ² > 0.
        prior_mean: μ₀.
        prior: σ₀² > 0.
    """
    ratio = variance / prior
    return 0.5 * (ratio + (mean - prior_mean).square() / prior - 1 - ratio.log()).sum()


def sampled_networks(
    means: Params, variances: Params, n: int, rng: torch.Generator
) -> list[Params]:
    """Networks from the posterior.

    Args:
        means: μ by parameter.
        variances: σ² by parameter.
        n: how many.
        rng: of the processor, whatever the device.
    """
    found = []
    for _ in range(n):
        one = {}
        for name, mean in means.items():
            epsilon = torch.randn(mean.shape, generator=rng, dtype=mean.dtype).to(mean.device)
            one[name] = torch.addcmul(mean, variances[name].sqrt(), epsilon)
        found.append(one)
    return found
