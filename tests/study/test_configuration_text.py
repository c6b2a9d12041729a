"""A configuration in words, as progress and status tell it."""

from clsweep.study.configuration_text import numbers_in_words


def test_a_configuration_in_words() -> None:
    usual = {"lr": 0.1, "epochs": 1}
    hyper = {"lam": 1e6, "fisher": "batched", "form": "gradient", "of_a_newer_clsweep": 3}
    words = numbers_in_words("ewc", hyper, {"lr": 0.01, "epochs": 1}, usual)
    assert words == "λ = 1e6, fisher = batched, of_a_newer_clsweep = 3, training.lr = 0.01"
    assert numbers_in_words("unknown", {"a": 1}, {}, usual) == "a = 1"
