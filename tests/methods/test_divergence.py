"""What helps against divergence."""

from __future__ import annotations

import pytest

from clsweep.methods import METHODS
from clsweep.methods.divergence import what_helps


@pytest.mark.parametrize(
    ("method", "hyper", "words"),
    [
        (
            "ewc",
            {"form": "gradient"},
            'form = "proximal", which is stable for every λ; else a lower lr or a lower λ',
        ),
        ("si", {}, 'form = "proximal", which is stable for every c; else a lower lr or a lower c'),
        ("mas", {"form": "proximal"}, "a lower lr or a lower λ"),
        ("lwf", {}, "a lower lr or a lower λ"),
        ("gem", {}, "a lower lr"),
        ("finetune", {}, "a lower lr"),
        ("of another clsweep", {}, "a lower lr"),
    ],
)
def test_what_helps(method: str, hyper: dict[str, str], words: str) -> None:
    assert what_helps(method, hyper) == words


def test_a_stable_form_is_named_only_where_the_method_has_it() -> None:
    for name, entry in METHODS.items():
        if "proximal" in what_helps(name, {}):
            field = entry.hyper.model_fields["form"]
            assert field.default == "gradient"
            assert "never diverges" in str(field.description or field.json_schema_extra)
