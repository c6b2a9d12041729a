"""Samplers of searches by name."""

from __future__ import annotations

SAMPLERS = {
    "tpe": "TPE",
    "gp": "Gaussian process",
    "nsga2": "NSGA-II",
    "qmc": "Sobol points",
    "random": "random",
}


SAMPLER_GROUP = "clsweep.samplers"
