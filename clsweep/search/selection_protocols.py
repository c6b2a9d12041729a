"""The rules that pick a configuration, each from validation accuracies alone.

With R_k[i][j] the validation accuracy of configuration k on task j after task i, a mean over
seeds, S_k and T_k its source and target accuracy after the last of T tasks, and FT fine-tuning:

    average       argmax_k (1/T) Σ_j R_k[T−1][j]                    all tasks, at the end
    target        argmax_k T_k                                      the last task only
    required-D    argmax_k S_k  subject to  T_k − m e_k ≥ T_FT − D  Lee et al. 2020 (ResCL), m = 0
    decay-P       the most stable k with  T_k ≥ (1−P) T_FT          De Lange et al. 2021, TPAMI
    first-K       argmax_k (1/K) Σ_{j<K} R_k[K−1][j]                Chaudhry et al. 2019 (A-GEM)
    transfer      'average' on another benchmark, the same numbers here      Cha and Cho 2024

`transfer` takes the method's numbers and those of [training] that either study searches; what both
hold fixed may differ, such as the epochs that a benchmark takes, and is said.

The margin m is the study's (`[report] margin`, in standard errors; 0 is the published rule). The
best of all configurations that just meet a requirement is often one that luck has put there: m e_k
asks for room. With d_s = T_k − T_FT of seed s, n seeds, N validation examples of the last task,

    e_k² = sd(d)² / n + δ (1 − δ) / N,    δ = (1/n) Σ_s |d_s|

The first part is the seeds'. The second is that of a share of paired examples (McNemar): all seeds
are judged by the same examples, so that n does not divide it. δ is the least share of the examples
that only one of the two networks gets right; counts say no more, and networks that agree on all
examples need no margin. With one seed the first part is not known, and is left out.

`target` and `decay` need no data of earlier tasks, so that a learner could follow them; the others
need validation data of the source when the target has been learnt.

`decay` on a given grid: the learning rate is the one with which fine-tuning reaches the best
target accuracy; then the primary knob is walked from its most stable value to its least, and the
first value at which a configuration meets the requirement is taken. Where several meet it, since
other numbers vary too, the best target accuracy among them decides. Deviations: the published
search multiplies the knob by ½ instead of walking a grid, and repeats itself on every task; here
the knob is one for the whole sequence and its last task judges.

No test count is seen here: see `validation_table.py`. Equal configurations: the first in order;
means of equal counts are equal, whatever their sums in floating point round to.
A configuration that diverged with any seed is no candidate of any rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsweep.errors import StudyError, closest_name
from clsweep.methods import known_entry
from clsweep.methods.hyper_fields import stable_end
from clsweep.search import own_protocols
from clsweep.search.validation_table import Candidate, Diverged, ValidationTable
from clsweep.user_code import UserCode

ROUNDING = 1e-12
_DECAY = 0.2
_FIRST = 3


@dataclass(frozen=True)
class Protocol:
    """A rule for choosing.

    Attributes:
        name: as in `clsweep report --protocol`, such as 'required-5'.
        kind: the rule: a key of the table at the end of this module.
        number: D in points, P, or K; 0 where the rule has none.
        margin: m of 'required', in standard errors; 0 for every other rule.
        code: the user's own rule; None for one of this module.
    """

    name: str
    kind: str
    number: float
    margin: float = 0.0
    code: UserCode | None = None

    @property
    def meaning(self) -> str:
        """The rule in words."""
        if self.code is not None:
            return own_protocols.meaning(self.code)
        said = _RULES[self.kind].meaning.format(
            number=f"{self.number:g}", percent=f"{100 * self.number:g}"
        )
        return said + (f", by a margin of {margin_text(self.margin)}" if self.margin else "")

    @property
    def needs_source(self) -> bool:
        """Whether validation data of earlier tasks are needed after the target was learnt."""
        return self.code is not None or _RULES[self.kind].needs_source


@dataclass(frozen=True)
class Pick:
    """What a protocol chose for one label.

    Attributes:
        protocol: its name.
        label: the label.
        config_id: the chosen configuration; None where the rule chooses none.
        remark: why it chose none, or what else the reader must know; else empty.
    """

    protocol: str
    label: str
    config_id: str | None
    remark: str = ""


def best_average(candidates: Sequence[Candidate]) -> Candidate | None:
    """The best mean average accuracy over all tasks; None without candidates."""
    return _first_best(candidates, [c.average for c in candidates])


def best_target(candidates: Sequence[Candidate]) -> Candidate | None:
    """The best mean target accuracy; None without candidates."""
    return _first_best(candidates, [c.target for c in candidates])


def most_source(
    candidates: Sequence[Candidate], finetuned: Candidate, drop: float, margin: float = 0.0
) -> Candidate | None:
    """The best mean source accuracy among those that reach a target accuracy; None if none does.

    Args:
        candidates: of one label.
        finetuned: fine-tuning, from the same seeds.
        drop: accuracy below fine-tuning's that is allowed, in [0, 1].
        margin: m, in standard errors.
    """
    least = finetuned.target - drop - ROUNDING
    # A margin only takes away, and costs more to compute than the mean.
    near = [c for c in candidates if c.target >= least]
    met = [c for c in near if assured_target(c, finetuned, margin) >= least]
    return _first_best(met, [c.source for c in met])


def nearest_source(
    candidates: Sequence[Candidate], finetuned: Candidate, drop: float, margin: float = 0.0
) -> Candidate | None:
    """`most_source`, or where none reaches the target, the candidate that comes nearest.

    Args:
        candidates: of one label.
        finetuned: fine-tuning, from the same seeds.
        drop: accuracy below fine-tuning's that is allowed, in [0, 1].
        margin: m, in standard errors.
    """
    found = most_source(candidates, finetuned, drop, margin)
    if found is not None:
        return found
    return _first_best(candidates, [assured_target(c, finetuned, margin) for c in candidates])


def assured_target(candidate: Candidate, finetuned: Candidate, margin: float) -> float:
    """T_k − m e_k: the mean target accuracy less the margin.

    Args:
        candidate: k.
        finetuned: fine-tuning, from the same seeds.
        margin: m, in standard errors.
    """
    if not margin:
        return candidate.target
    return candidate.target - margin * target_error(candidate, finetuned)


def target_error(candidate: Candidate, finetuned: Candidate) -> float:
    """e_k, the standard error of a mean target accuracy less fine-tuning's, on validation data.

    Args:
        candidate: k.
        finetuned: fine-tuning, from the same seeds.
    """
    d_S = candidate.target_S - finetuned.target_S
    of_seeds = float(np.var(d_S, ddof=1)) / len(d_S) if len(d_S) > 1 else 0.0
    differing = min(float(np.mean(np.abs(d_S))), 1.0)
    n = candidate.n_target
    of_examples = differing * (1 - differing) / n if n else 0.0
    return math.sqrt(of_seeds + of_examples)


def margin_text(margin: float) -> str:
    """Such as '1 standard error'.

    Args:
        margin: m.
    """
    return f"{margin:g} standard error{'' if margin == 1 else 's'}"


def best_finetuned(table: ValidationTable) -> Candidate | None:
    """Fine-tuning with the best target accuracy; None where the study has none."""
    return best_target(table.references("finetune"))


def pick(
    protocol: Protocol, table: ValidationTable, tuned_on: ValidationTable | None = None
) -> tuple[Pick, ...]:
    """What a protocol chooses for every label that traces a curve.

    Args:
        protocol: the rule.
        table: the study's candidates.
        tuned_on: those of the other benchmark; needed by 'transfer', else not read.
    """
    picks = []
    for label in table.labels:
        own = table.of(label)
        if own:
            chosen, remark = _chosen(protocol, own, table, tuned_on)
        else:
            chosen, remark = None, "every configuration diverged, or did not finish"
        config_id = None if chosen is None else chosen.config_id
        picks.append(Pick(protocol.name, label, config_id, remark))
    return tuple(picks)


def _chosen(
    protocol: Protocol,
    own: tuple[Candidate, ...],
    table: ValidationTable,
    tuned_on: ValidationTable | None,
) -> _Choice:
    if protocol.code is not None:
        return own_protocols.choice(protocol.code, own, table)
    case = _Case(protocol.number, table, tuned_on, protocol.margin)
    return _RULES[protocol.kind].choose(own, case)


def standard_protocols(
    drops: Sequence[float], n_tasks: int, with_transfer: bool, margin: float = 0.0
) -> tuple[Protocol, ...]:
    """The protocols that a report's table compares.

    Args:
        drops: points below fine-tuning's target accuracy that the study's report allows.
        n_tasks: T; 'first-K' needs a task after the first K, and K of at least two.
        with_transfer: whether another benchmark's results are at hand.
        margin: m of 'required', in standard errors.
    """
    names = ["average", "target", *(f"required-{drop:g}" for drop in drops), f"decay-{_DECAY:g}"]
    if n_tasks > 2:
        names.append(f"first-{min(_FIRST, n_tasks - 1)}")
    if with_transfer:
        names.append("transfer")
    return tuple(protocol_of(name, margin) for name in names)


def protocol_of(name: str, margin: float = 0.0) -> Protocol:
    """The protocol of a name such as 'average', 'decay' or 'required-2.5'.

    Args:
        name: as in `clsweep report --protocol`; an import path or an installed entry point for
            a rule of the user's own.
        margin: m of 'required', in standard errors.

    Raises:
        StudyError: there is no such protocol, its number makes no sense, or its code cannot be
            imported.
    """
    kind, _, text = name.partition("-")
    code = own_protocols.own_protocol(name, known=kind in _RULES)
    if code is not None:
        return Protocol(name, "own", 0.0, code=code)
    if kind not in _RULES:
        raise StudyError(
            f"there is no protocol '{name}'",
            expected=closest_name(kind, _RULES) or ", ".join(_RULES),
            where="--protocol",
            next_step="a rule of your own is package.module:name",
        )
    rule = _RULES[kind]
    if rule.default is None and not text:
        return Protocol(kind, kind, 0.0)
    try:
        number = float(text) if text else float(rule.default or 0)
    except ValueError:
        number = float("nan")
    if rule.default is None or not rule.accepts(number):
        raise StudyError(
            f"the protocol '{name}' has no sound number",
            expected=rule.example,
            where="--protocol",
        )
    return Protocol(f"{kind}-{number:g}", kind, number, margin if kind == "required" else 0.0)


@dataclass(frozen=True)
class _Case:
    number: float
    table: ValidationTable
    tuned_on: ValidationTable | None
    margin: float = 0.0


_Choice = tuple[Candidate | None, str]


@dataclass(frozen=True)
class _Rule:
    choose: Callable[[tuple[Candidate, ...], _Case], _Choice]
    meaning: str
    needs_source: bool
    default: float | None = None
    accepts: Callable[[float], bool] = bool
    example: str = ""


def _average(own: tuple[Candidate, ...], case: _Case) -> _Choice:
    return _explained(best_average(own), "no configuration finished with every seed")


def _target_only(own: tuple[Candidate, ...], case: _Case) -> _Choice:
    return _explained(best_target(own), "no configuration finished with every seed")


def _required(own: tuple[Candidate, ...], case: _Case) -> _Choice:
    finetuned = best_finetuned(case.table)
    if finetuned is None:
        return None, _without_finetuning(case.table)
    chosen = most_source(own, finetuned, case.number / 100, case.margin)
    margin = f" with the margin of {margin_text(case.margin)}" if case.margin else ""
    return _explained(chosen, f"no configuration reaches the required target{margin}")


def _decay(own: tuple[Candidate, ...], case: _Case) -> _Choice:
    finetuned = best_finetuned(case.table)
    if finetuned is None:
        return None, _without_finetuning(case.table)
    if own and known_entry(own[0].method) is None:
        return None, "of a method that is not known here no end of the knob is known as stable"
    at_rate = [c for c in own if c.training.get("lr") == finetuned.training.get("lr")]
    remark = "" if at_rate or not own else "its grid lacks fine-tuning's learning rate"
    walked = at_rate or list(own)
    required = (1 - case.number) * finetuned.target
    for same_knob in _from_stable(walked):
        met = [c for c in same_knob if c.target >= required - ROUNDING]
        if met:
            return best_target(met), remark
    return None, "no configuration reaches the required target"


def _first_tasks(own: tuple[Candidate, ...], case: _Case) -> _Choice:
    k = int(case.number)
    if k >= case.table.n_tasks:
        return None, f"the sequence has only {case.table.n_tasks} tasks"
    # Row k of a table is after task k, counted from 1; row 0 is before any training.
    scores = [float(np.mean(c.acc_STT[:, k, :k])) for c in own]
    return _explained(_first_best(own, scores), "nothing was evaluated after the first tasks")


def _transfer(own: tuple[Candidate, ...], case: _Case) -> _Choice:
    if case.tuned_on is None:
        return None, "no other benchmark was given"
    method = own[0].method if own else ""
    others = [c for c in case.tuned_on.candidates if c.method == method and not c.is_reference]
    # A method may have several labels there as here; its own label decides where both have it.
    tuned = best_average([c for c in others if c.label == own[0].label] or others) if own else None
    if tuned is None:
        if any(d.method == method for d in case.tuned_on.diverged):
            return None, "the method diverged on the other benchmark"
        return None, "the other benchmark has no finished trial of the method"
    searched = _varied(others) | _varied(own)

    def is_same(one: Candidate | Diverged) -> bool:
        return one.hyper == tuned.hyper and all(
            one.training.get(key) == tuned.training.get(key) for key in searched
        )

    for candidate in own:
        if is_same(candidate):
            keys = sorted({*candidate.training, *tuned.training} - searched)
            other = [k for k in keys if candidate.training.get(k) != tuned.training.get(k)]
            return candidate, f"trained otherwise there: {', '.join(other)}" if other else ""
    if any(lost.method == method and is_same(lost) for lost in case.table.diverged):
        return None, "the numbers chosen there diverged here"
    if any(candidate.hyper == tuned.hyper for candidate in own):
        return None, f"the {', '.join(sorted(searched))} chosen there is not in this grid"
    return None, "the numbers chosen there are not in this grid"


def _varied(candidates: Sequence[Candidate]) -> set[str]:
    """Keys of [training] that were searched: those in which configurations differ."""
    keys = {key for c in candidates for key in c.training}
    return {key for key in keys if len({repr(c.training.get(key)) for c in candidates}) > 1}


def _without_finetuning(table: ValidationTable) -> str:
    if any(lost.is_reference and lost.method == "finetune" for lost in table.diverged):
        return "fine-tuning diverged"
    return "the study has no finished fine-tuning"


def _from_stable(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates of equal primary knob, from its most stable value to its least."""
    if not candidates:
        return []
    names = list(candidates[0].knobs)
    varied = [name for name in names if len({c.knobs.get(name) for c in candidates}) > 1]
    name = (varied or names or [""])[0]
    entry = known_entry(candidates[0].method)
    fields = entry.hyper.model_fields if entry else {}
    from_high = name not in fields or stable_end(fields[name]) == "high"
    by_value: dict[float, list[Candidate]] = {}
    for candidate in candidates:
        by_value.setdefault(candidate.knobs.get(name, 0.0), []).append(candidate)
    return [by_value[value] for value in sorted(by_value, reverse=from_high)]


def _first_best(
    candidates: Sequence[Candidate], scores: Sequence[float] | NDArray[np.float64]
) -> Candidate | None:
    index = first_best(scores)
    return None if index is None else candidates[index]


def first_best(scores: Sequence[float] | NDArray[np.float64]) -> int | None:
    """Index of the largest mean accuracy, the first of equal ones; None without a number.

    Means over tasks and seeds of the same counts differ by rounding, and different counts by far
    more: 1 / (examples × tasks × seeds).

    Args:
        scores: in [0, 1]; NaN is no number.
    """
    sound = [float(score) for score in scores if not np.isnan(score)]
    if not sound:
        return None
    least = max(sound) - ROUNDING
    return next(i for i, score in enumerate(scores) if score >= least)


def _explained(chosen: Candidate | None, reason: str) -> _Choice:
    return chosen, "" if chosen is not None else reason


_RULES = {
    "average": _Rule(_average, "best average accuracy over all tasks", needs_source=True),
    "target": _Rule(_target_only, "best accuracy on the last task", needs_source=False),
    "required": _Rule(
        _required,
        "best source accuracy with the target at most {number} points below fine-tuning's",
        needs_source=True,
        default=1.0,
        accepts=lambda points: 0 <= points <= 100,
        example="points from 0 to 100, such as required-5",
    ),
    "decay": _Rule(
        _decay,
        "most stable knob whose target accuracy is at most {percent} % (relative) below "
        "fine-tuning's",
        needs_source=False,
        default=_DECAY,
        accepts=lambda share: 0 <= share < 1,
        example="a share from 0 to 1, such as decay-0.2",
    ),
    "first": _Rule(
        _first_tasks,
        "best average accuracy over the first {number} tasks, right after them",
        needs_source=True,
        default=float(_FIRST),
        accepts=lambda k: k >= 2 and k == int(k),
        example="a whole number of tasks from 2, such as first-3",
    ),
    "transfer": _Rule(
        _transfer, "best average accuracy on another benchmark, applied here", needs_source=True
    ),
}
