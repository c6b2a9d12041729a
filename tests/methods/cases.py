"""One row per method: what the common suite needs to know about it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from clsweep.methods import METHODS
from clsweep.methods.hyper_fields import Hyper


class Case(NamedTuple):
    """A method with usual numbers.

    Attributes:
        name: key in `METHODS`.
        hyper: numbers under which it does something visible in a few steps.
        at_zero: numbers under which it equals fine-tuning, or None.
        exact_at_zero: whether it equals fine-tuning bit for bit there.
        regularises: whether its stability term is zero right after `absorb`.
        batch_norm: whether it takes networks with batch norm.
    """

    name: str
    hyper: dict[str, Any]
    at_zero: dict[str, Any] | None = None
    exact_at_zero: bool = True
    regularises: bool = False
    batch_norm: bool = True

    @property
    def trains(self) -> bool:
        """Whether it makes gradient steps."""
        return METHODS[self.name].trains

    @property
    def begins_at_source(self) -> bool:
        """Whether its trials begin at the shared source model."""
        return METHODS[self.name].begins_at_source(self.numbers())

    @property
    def scenario(self) -> str:
        """One with a single head, if it is defined for that."""
        scenarios = METHODS[self.name].scenarios
        return "domain" if "domain" in scenarios else scenarios[0]

    def numbers(self, overrides: dict[str, Any] | None = None) -> Hyper:
        return METHODS[self.name].hyper(**{**self.hyper, **(overrides or {})})


SMALL_HNET = {"hidden": "5-4", "task_embedding": 3, "chunk_embedding": 2, "chunk_size": 90}
SMALL_GENERATOR = {
    "encoder": "9-7",
    "decoder": "6-8",
    "latent": 3,
    "generator_hidden": "5-4",
    "generator_task_embedding": 3,
    "generator_chunk_embedding": 2,
    "generator_chunk_size": 90,
}
SMALL_VAE = {"generator_hidden": "9-7", "latent": 3}
CASES = [
    Case("finetune", {}, {}),
    Case("frozen", {}),
    Case("scratch", {}),
    Case("joint", {}),
    Case("ncm", {}),
    Case("slda", {}),
    Case("slda", {"shrinkage": 0.1, "covariance": "exact"}),
    Case("ranpac", {"projection_size": 30}),
    Case("ranpac", {"projection_size": 20, "penalty_choice": "given"}),
    Case("l2", {"lam": 1.0}, {"lam": 0.0}, regularises=True),
    Case("l2", {"lam": 1e4, "form": "proximal"}, {"lam": 0.0}, regularises=True),
    Case("ewc", {"lam": 3.0}, {"lam": 0.0}, regularises=True),
    Case(
        "ewc",
        {"lam": 30.0, "anchor": "online", "gamma": 0.9, "form": "proximal"},
        {"lam": 0.0},
        regularises=True,
    ),
    Case(
        "ewc",
        {"lam": 30.0, "fisher": "batched", "fisher_batch": 16},
        {"lam": 0.0},
        regularises=True,
    ),
    Case(
        "ewc",
        {"lam": 0.5, "fisher": "reversed", "normalise": "max", "anchor": "online"},
        {"lam": 0.0},
        regularises=True,
    ),
    Case("ewc", {"lam": 3.0, "fisher": "kfac"}, {"lam": 0.0}, regularises=True, batch_norm=False),
    Case(
        "ewc",
        {"lam": 3.0, "fisher": "kfac", "anchor": "online", "gamma": 0.7, "fisher_examples": 20},
        {"lam": 0.0},
        regularises=True,
        batch_norm=False,
    ),
    Case("mas", {"lam": 0.1}, {"lam": 0.0}, regularises=True),
    Case(
        "mas",
        {"lam": 0.1, "omega": "batched", "omega_batch": 7, "accumulation": "latest"},
        {"lam": 0.0},
        regularises=True,
    ),
    Case("mas", {"lam": 1e4, "form": "proximal"}, {"lam": 0.0}, regularises=True),
    Case("si", {"c": 0.5}, {"c": 0.0}, regularises=True),
    Case("si", {"c": 0.5, "path_gradient": "total"}, {"c": 0.0}, regularises=True),
    Case("rwalk", {"lam": 0.3, "interval": 3}, {"lam": 0.0}),
    Case("rwalk", {"lam": 1e3, "form": "proximal"}, {"lam": 0.0}),
    Case("lwf", {"lam": 2.0}, {"lam": 0.0}, regularises=True),
    Case(
        "lwf",
        {
            "lam": 2.0,
            "weighting": "average",
            "padded": True,
            "t_squared": True,
            "per_output": True,
        },
        {"lam": 0.0},
    ),
    Case("rescl", {"lam": 1e-3}),
    Case(
        "rescl",
        {"lam": 10.0, "lam_unit": "channel", "form": "proximal", "statistics": "batch"},
    ),
    Case("interpolate", {"beta": 0.5}, {"beta": 1.0}),
    Case("mode_imm", {"beta": 0.5}, {"beta": 1.0}, batch_norm=False),
    Case("l2init", {"lam": 0.1}, {"lam": 0.0}),
    Case("l2init", {"lam": 10.0, "form": "proximal"}, {"lam": 0.0}),
    Case("shrink_perturb", {}, {"shrink": 1.0, "noise": 0.0}),
    Case("vcl", {"beta": 0.1, "n_networks": 2}, batch_norm=False),
    Case("vcl", {"beta": 0.01, "n_networks": 0}, batch_norm=False),
    Case("cbp", {"rate": 0.2, "maturity": 2}, {"rate": 0.0}, batch_norm=False),
    Case("gpm", {"threshold": 0.9}, {"threshold": 0.0, "growth": 0.0}, batch_norm=False),
    Case("hat", {"c": 0.1}, batch_norm=False),
    Case("packnet", {}, batch_norm=False),
    Case("packnet", {"prune": 0.8, "retrain": 2.0}, batch_norm=False),
    Case("replay", {"memory_size": 20, "weight": 1.0}, {"weight": 0.0}, exact_at_zero=False),
    Case(
        "replay",
        {"memory_size": 20, "weight": 1.0, "fill": "reservoir", "average": True},
        {"weight": 0.0},
        exact_at_zero=False,
    ),
    Case("gdumb", {"memory_size": 20}),
    Case("icarl", {"memory_size": 20}),
    Case("bic", {"memory_size": 40}),
    Case(
        "gss",
        {"memory_size": 20, "compared": 5},
        {"weight": 0.0},
        exact_at_zero=False,
        batch_norm=False,
    ),
    Case("mir", {"memory_size": 30, "candidates": 20, "replay_batch": 6}, {"weight": 0.0}),
    Case("mir", {"memory_size": 30, "candidates": 20, "fill": "balanced", "weight": 0.5}),
    Case("mir", {"memory_size": 30, "candidates": 20, "fill": "loss_aware"}),
    Case(
        "mer",
        {"memory_size": 20, "n_batches": 2, "replay_batch": 2, "beta": 0.5},
        batch_norm=False,
    ),
    Case(
        "mer",
        {"memory_size": 20, "n_batches": 2, "inner": "batch", "beta": 1.0, "first_task": "own"},
        batch_norm=False,
    ),
    Case(
        "mer",
        {"memory_size": 20, "n_batches": 1, "replay_batch": 2, "fill": "loss_aware"},
        batch_norm=False,
    ),
    Case(
        "hal",
        {"memory_size": 20, "ascent_steps": 3, "copy_batch": 7},
        {"weight": 0.0, "anchor_weight": 0.0},
        exact_at_zero=False,
    ),
    Case(
        "hal",
        {
            **{"memory_size": 20, "ascent_steps": 2, "copy_steps": 2, "anchor_weight": 5.0},
            **{"fill": "loss_aware", "first_task": "own"},
        },
    ),
    Case("er_ace", {"memory_size": 20, "replay_batch": 5}),
    Case("er_ace", {"memory_size": 20, "fill": "balanced", "weight": 0.5}),
    Case("replay", {"memory_size": 20, "fill": "loss_aware"}),
    Case("er_ace", {"memory_size": 20, "fill": "ring", "replay_batch": 5}),
    Case("er_ace", {"memory_size": 20, "replay_batch": 5, "first_task": "own"}),
    Case(
        "fdr",
        {"memory_size": 20},
        {"weight": 0.0, "outputs": "seen"},
        exact_at_zero=False,
    ),
    Case("fdr", {"memory_size": 20, "step": "alternating", "outputs": "seen", "replay_batch": 5}),
    Case(
        "der",
        {"memory_size": 20, "weight": 0.5},
        {"weight": 0.0, "outputs": "seen"},
        exact_at_zero=False,
    ),
    Case("der", {"memory_size": 20, "fill": "balanced", "replay_batch": 5, "outputs": "seen"}),
    Case("derpp", {"memory_size": 20, "recorded": "task_end"}),
    Case("derpp", {"memory_size": 20, "first_task": "own"}),
    Case("der", {"memory_size": 20, "fill": "ring", "recorded": "task_end"}),
    Case("derpp", {"memory_size": 20, "fill": "loss_aware"}),
    Case("agem", {"memory_size": 20, "reference_batch": 10}),
    Case("agem", {"memory_size": 20, "reference_batch": 30, "fill": "uniform"}),
    Case("agem", {"memory_size": 8, "reference_batch": 10, "per_task": True}),
    Case("dgr", SMALL_VAE, {"weight": 0.0}, exact_at_zero=False),
    Case("dgr", {**SMALL_VAE, "targets": "hard", "replay_batch": 5, "weight": 3.0}),
    Case("gem", {"memory_size": 20}),
    Case("gem", {"memory_size": 10, "per_task": True, "margin": 0.0, "fill": "uniform"}),
    Case("hnet", {**SMALL_HNET, "beta": 1e-3}),
    Case("hnet", {**SMALL_HNET, "look_ahead": True, "activation": "elu", "beta": 1e-3}),
    Case(
        "hnet",
        {**SMALL_HNET, "activation": "sigmoid", "penalty_tasks": 1, "task_embedding_std": 0.5},
    ),
    Case("hnet", {**SMALL_HNET, "penalty_heads": "own", "statistics": "shared"}),
    Case("hnet_tir", {**SMALL_HNET, **SMALL_GENERATOR, "beta": 1e-3}, batch_norm=False),
    Case(
        "hnet_tir",
        {**SMALL_HNET, **SMALL_GENERATOR, "look_ahead": True, "replay_batch": 3},
        batch_norm=False,
    ),
    Case("hnet_replay", SMALL_GENERATOR, {"weight": 0.0}, exact_at_zero=False),
    Case(
        "hnet_replay",
        {**SMALL_GENERATOR, "look_ahead": True, "replay_batch": 3, "weight": 0.8},
        {"weight": 0.0},
        exact_at_zero=False,
    ),
]
CASE_IDS = [f"{case.name}-{index}" for index, case in enumerate(CASES)]
FIRST_OF_METHOD = {case.name: case for case in reversed(CASES)}


def marks_of(case: Case, is_usual: bool = False) -> list[pytest.MarkDecorator]:
    """Marks of a test of one row: a method's other rows take part in the longer list alone.

    Args:
        case: the row.
        is_usual: whether every row is to be asked this in the default tier.
    """
    return [] if is_usual or FIRST_OF_METHOD[case.name] is case else [pytest.mark.slow]


def test_ids_cover_all_methods() -> None:
    assert {case.name for case in CASES} == set(METHODS)
    assert all(entry.family for entry in METHODS.values())
