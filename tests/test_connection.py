"""What is set before Ray is imported, since it reads it only then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clsweep.connection import before_ray


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without a token, and an environment in which nobody has set anything for Ray."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    monkeypatch.setattr(os, "environ", {**known, "HOME": str(tmp_path)})
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def token_at(path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("secret")
    return str(path)


@pytest.mark.parametrize("where", ["variable", "file", "other file"])
def test_a_token_is_shown_where_there_is_one(home: Path, where: str) -> None:
    before_ray()
    assert "RAY_AUTH_MODE" not in os.environ
    if where == "variable":
        os.environ["RAY_AUTH_TOKEN"] = "secret"
    elif where == "file":
        token_at(home / ".ray" / "auth_token")
    else:
        os.environ["RAY_AUTH_TOKEN_PATH"] = token_at(home / "elsewhere" / "token")
    before_ray()
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_who_asks_for_something_else_gets_it(home: Path) -> None:
    token_at(home / ".ray" / "auth_token")
    os.environ["RAY_AUTH_MODE"] = "k8s"
    before_ray()
    assert os.environ["RAY_AUTH_MODE"] == "k8s"
