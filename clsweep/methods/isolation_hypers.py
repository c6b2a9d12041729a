"""Numbers of methods that give tasks parameters of their own: declared as in `hypers`."""

from __future__ import annotations

from clsweep.methods.hyper_fields import Hyper, fixed, knob, nuisance


class PacknetHyper(Hyper):
    """Numbers of `packnet`."""

    prune: float = knob(
        0.5,
        0.1,
        0.95,
        log=False,
        at_most=1,
        stable="low",
        doc="share of every layer's free weights that are released after a task (published: 0.5 "
        "and 0.75)",
    )
    retrain: float = fixed(
        0.5,
        doc="steps of retraining after pruning, as a share of the steps on the task",
        at_least=0,
        at_most=10,
    )

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        """Training, then retraining of what is kept."""
        return n_steps, round(self.retrain * n_steps)

    def first_steps(self, n_steps: int) -> tuple[int, ...]:
        """Pruning of the source model, then retraining."""
        return 0, round(self.retrain * n_steps)


class HatHyper(Hyper):
    """Numbers of `hat`."""

    c: float = knob(
        0.75,
        0.01,
        4.0,
        log=True,
        stable="low",
        doc="c, weight of the share of free units that a task takes",
    )
    s_max: float = nuisance(
        400.0, 25.0, 800.0, log=True, doc="s_max, slope of the gates at its steepest", at_least=1
    )


class GpmHyper(Hyper):
    """Numbers of `gpm`."""

    threshold: float = knob(
        0.97,
        0.5,
        0.999,
        log=False,
        at_most=1,
        doc="ε, share of the inputs' energy that the bases of the first task hold (published: "
        "0.95 to 0.99)",
    )
    growth: float = fixed(
        0.003,
        doc="Δε, by which that share rises from task to task, up to 1",
        at_least=0,
        at_most=1,
        unless=({"threshold": 1}, {"benchmark.n_tasks": 2}),
    )
    examples: int = fixed(
        300,
        doc="training examples, drawn at random, whose inputs are looked at",
        at_least=1,
        unless={"threshold": 0, "growth": 0},
    )
