"""Printing of tables as wide as the terminal is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


def show(table: RenderableType) -> None:
    """Print a table of rich's.

    Args:
        table: anything that a console prints.
    """
    from rich.console import Console

    from clsweep.reporting.render.terminal_width import Fitted

    # In a pipe there is no width to fit, and a wrapped cell would break whoever reads the lines.
    console = Console() if sys.stdout.isatty() else Console(width=240)
    console.print(Fitted(table))
