"""Training that left the range of usable numbers."""

from __future__ import annotations

from clsweep.errors import MethodError


class Diverged(MethodError):
    """Training left the range of usable numbers; a result of the configuration, not a defect.

    Attributes:
        n_steps: gradient steps up to the one where it was seen, of the phase that raises and, once
            `after_steps` has added them, of those before it.
    """

    def __init__(
        self,
        found: str,
        n_steps: int = 0,
        *,
        expected: str = "",
        where: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(found, expected=expected, where=where, next_step=next_step)
        self.n_steps = n_steps

    def __reduce__(self) -> tuple[object, ...]:
        return (*super().__reduce__(), {"n_steps": self.n_steps})
