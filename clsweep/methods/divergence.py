"""What helps against divergence, in words: the same in records, status and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clsweep.methods import known_entry
from clsweep.methods.hyper_fields import knob_keys
from clsweep.methods.regulariser_hypers import PenaltyHyper
from clsweep.text import key_text

# Of the forms of a penalty, the one whose step diverges beyond η w ω = 2, and its remedy.
_GRADIENT, _STABLE = "gradient", "proximal"


def what_helps(method: str, hyper: Mapping[str, Any]) -> str:
    """What to change where a trial has diverged, as half a sentence.

    A quadratic penalty of weight w and importance ω that acts by its gradient is stable up to
    η w ω = 2 with a learning rate η; its proximal form is stable for every weight.

    Args:
        method: what records call it; one that is not known is answered without its knob.
        hyper: its numbers.
    """
    entry = known_entry(method)
    if entry is None:
        return "a lower lr"
    fields = entry.hyper.model_fields
    knobs = [key for key in knob_keys(fields) if key in ("lam", "c", "beta", "weight")]
    weight = key_text(knobs[0]) if knobs else ""
    lower = f"a lower lr or a lower {weight}" if weight else "a lower lr"
    form = hyper.get("form", fields["form"].default if "form" in fields else "")
    if issubclass(entry.hyper, PenaltyHyper) and form == _GRADIENT:
        return f'form = "{_STABLE}", which is stable for every {weight}; else {lower}'
    return lower
