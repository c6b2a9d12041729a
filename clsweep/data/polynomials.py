"""The three polynomials of "Continual learning with hypernetworks", as arrays; without torch.

    task    f(x)           x
    1       x + 3          −4 to −2
    2       2 x² − 1       −1 to 1
    3       (x − 3)³       2 to 4

Training examples: 100 with x uniform and y = f(x) + ε, ε normal with standard deviation 0.05. Test
examples: 50 evenly spaced x, and y = f(x) without noise. All values of f lie from −1 to 1.

von Oswald, Henning, Sacramento and Grewe 2020, ICLR (figure of regression); polynomials,
intervals, numbers of examples and noise are those of the authors' code
(github.com/chrhenning/hypercl, `toy_example/train_utils.py`). Deviations: the draws differ, being
the same on every machine; and 50 validation examples are drawn as the training examples are, where
the authors have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clsweep.data.hashed_draws import random_bits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

N_TRAIN, N_VALIDATION, N_TEST = 100, 50, 50
NOISE = 0.05
# The last bits of logarithm and cosine differ between machines.
_DECIMALS = 6


class Polynomial(NamedTuple):
    """A task.

    Attributes:
        coefficients: of 1, x, x², ...
        low: least x.
        high: largest x.
    """

    coefficients: tuple[float, ...]
    low: float
    high: float

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """f(x), in the shape of x.

        Args:
            x: of any shape.
        """
        import numpy as np

        powers = np.arange(len(self.coefficients))
        return np.asarray(x[..., None] ** powers @ np.asarray(self.coefficients), np.float64)


POLYNOMIALS: dict[str, Polynomial] = {
    "polynomial_1": Polynomial((3.0, 1.0), -4.0, -2.0),
    "polynomial_2": Polynomial((-1.0, 0.0, 2.0), -1.0, 1.0),
    "polynomial_3": Polynomial((-27.0, 27.0, -9.0, 1.0), 2.0, 4.0),
}


def examples(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inputs [N, 1] and targets [N, 1]: training, validation, test examples in this order.

    Args:
        name: a key of `POLYNOMIALS`.
    """
    import numpy as np

    polynomial = POLYNOMIALS[name]
    n = N_TRAIN + N_VALIDATION
    drawn = _uniform(n, name, "x")
    x = polynomial.low + (polynomial.high - polynomial.low) * drawn
    # Box and Muller's normal numbers.
    radius = np.sqrt(-2 * np.log1p(-_uniform(n, name, "radius")))
    noise = NOISE * radius * np.cos(2 * np.pi * _uniform(n, name, "angle"))
    even = np.linspace(polynomial.low, polynomial.high, N_TEST)
    inputs = np.concatenate([x, even])
    targets = np.concatenate([polynomial(x) + noise, polynomial(even)])
    rounded = (np.round(one, _DECIMALS).astype(np.float32)[:, None] for one in (inputs, targets))
    found_x, found_y = rounded
    return found_x, found_y


def _uniform(n: int, *purpose: str) -> NDArray[np.float64]:
    """Numbers in [0, 1), [n]."""
    import numpy as np

    return np.asarray((random_bits(n, "polynomials", *purpose) >> 11) * 2.0**-53, np.float64)
