"""`python -m clsweep`, the same as `clsweep`."""

from __future__ import annotations

import os
import sys


def _leave_current_folder() -> None:
    """Look for modules where `clsweep` does: `-m` puts the current folder before all others."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not getattr(sys.flags, "safe_path", False) and sys.path and sys.path[0] != here:
        del sys.path[0]


if __name__ == "__main__":
    _leave_current_folder()
    from clsweep.cli.main import main

    sys.exit(main())
