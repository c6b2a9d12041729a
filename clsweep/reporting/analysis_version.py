"""Which analysis a report makes: the version of its statistics, and the rules that a study sets.

A ledger keeps it with every look at test numbers. Where the analysis of today is another one than
that of an earlier look, it was changed by somebody who could have seen test numbers, and a report
says so: more claims may be the work of the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clsweep.study.sections import ReportConfig

# Raise it with every change of what is chosen, of an interval or of a claim, that gives the same
# records another outcome, and say here what changed.
#   1  bootstrap-t, max-T over common resamples of the seeds
#   2  max-T of normal values with the methods' own covariance
#   3  Student's t with Bonferroni, means on the logit scale; choices are in the intervals
#      (cross_fitting.py); a margin at required targets, whose source accuracies are one family
#      with the averages
#   4  the source end is the source model where the frozen trunk is none; Bonferroni's K is the
#      number of pairs of a family, also where a label reaches no required target
ANALYSIS_VERSION = 4

# Rules by name, each as text; "statistics" is the version.
Analysis = dict[str, str]

_STATISTICS = "statistics"
_PROTOCOL = "protocol"
_LAST_UNVERSIONED = 2
_UNVERSIONED = f"{_LAST_UNVERSIONED} or earlier"


def analysis_of(study: Mapping[str, Any], protocol: str) -> Analysis:
    """The analysis that a report makes of a study.

    Args:
        study: what the study file says, as plain values.
        protocol: the rule whose choices were asked for; empty for none in particular.
    """
    report = study.get("report")
    # A folder of before a rule was there means its default.
    rules = {key: field.default for key, field in ReportConfig.model_fields.items()}
    rules |= report if isinstance(report, dict) else {}
    return {
        _STATISTICS: str(ANALYSIS_VERSION),
        _PROTOCOL: protocol,
        **{str(key): _text(value) for key, value in sorted(rules.items())},
    }


def analysis_changes(before: Iterable[Analysis | None], today: Analysis) -> str:
    """What of the analysis is another than in earlier looks, as a sentence; empty for nothing.

    A report for which no protocol is asked is no change: it compares them all.

    Args:
        before: the analysis of every earlier look; None for one that did not tell.
        today: `analysis_of` now.
    """
    looks = list(before)
    found = []
    for key, value in today.items():
        if key == _PROTOCOL and not value:
            continue
        told = (_earlier(look, key, value) for look in looks)
        earlier = sorted({text or "none" for text in told if text not in (None, value)})
        if earlier:
            was, name = " or ".join(earlier), _NAMES.get(key, key)
            found.append(f"{name} (was {was}, is {value or 'none'})")
    if not found:
        return ""
    return (
        f"The analysis was changed after test numbers had been shown: {'; '.join(found)}. "
        "Claims may be the work of the change."
    )


_NAMES = {
    _STATISTICS: "version of the statistics",
    _PROTOCOL: "protocol asked for",
    "drops": "allowed drops in points",
    "margin": "margin in standard errors",
    "choose_on": "seeds that choose",
}


def _earlier(look: Analysis | None, key: str, today: str) -> str | None:
    """What an earlier look says of a rule; None where it does not tell."""
    if look is not None:
        return look.get(key)
    return _UNVERSIONED if key == _STATISTICS and int(today) > _LAST_UNVERSIONED else None


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
