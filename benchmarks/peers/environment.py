"""Make a virtual environment for the other libraries that `measure.py` compares clsweep with.

    python benchmarks/peers/environment.py DIR

It installs Avalanche with Ray Tune, and what van de Ven's scripts import, from the package index,
and prints the versions. clsweep itself stays in the environment that it is installed in.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

# One command without version pins, so that torch and torchvision come as a pair.
PACKAGES = ("torch", "torchvision", "avalanche-lib", "ray[tune]", "scipy", "scikit-learn", "tqdm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="made if it is not there")
    folder = parser.parse_args().folder
    if not (folder / "pyvenv.cfg").exists():
        venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    shown = [python, Path(__file__).with_name("avalanche_study.py"), "--versions"]
    sys.exit(subprocess.run(shown, check=False).returncode)


if __name__ == "__main__":
    main()
