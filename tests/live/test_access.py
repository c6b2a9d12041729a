"""Who may read: tokens, cookies, and the names by which a browser asks."""

from __future__ import annotations

import hmac
import socket

import pytest

from clsweep.live import access as module
from clsweep.live.access import Access, is_this_machine_alone, new_token


def test_only_the_token_and_the_cookie_open(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    same = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return same(one, other)

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    token = new_token()
    access = Access(token, "127.0.0.1", 8642)
    assert len({new_token() for _ in range(50)}) == 50
    assert len(token) >= 32
    assert access.is_token(token)
    assert [access.is_token(t) for t in ("", token[:-1], f"{token}x", "ä\ud800")] == [False] * 4
    cookie = access.set_cookie.partition(";")[0]
    assert token not in access.set_cookie
    assert access.is_known(f"other=1; {cookie}")
    # Other programs of this host name set what they like.
    for odd in ('a={"x":1}', "b@[c]=1, 2", "=", 'open="', "ä"):
        assert access.is_known(f"{odd}; {cookie}"), odd
        assert access.is_known(f"{cookie};{odd}"), odd
    wrong = (
        "",
        "clsweep_8642=",
        f"clsweep_8642={token}",
        cookie.replace("8642", "8643"),
        "a=;;=\x00",
    )
    assert [access.is_known(text) for text in wrong] == [False] * 5
    # Every comparison takes the time of an equal one.
    assert len(compared) >= 9
    assert "HttpOnly" in access.set_cookie
    assert "SameSite=Lax" in access.set_cookie


@pytest.mark.parametrize(
    ("host", "asked", "is_own"),
    [
        ("127.0.0.1", "127.0.0.1:8642", True),
        ("127.0.0.1", "localhost:9999", True),  # the near end of a tunnel
        ("127.0.0.1", "[::1]:8642", True),
        ("127.0.0.1", "evil.example:8642", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "10.0.0.1:8642", False),
        ("127.0.0.1", socket.gethostname(), False),
        ("127.0.0.1", "", False),
        ("gpu7", "GPU7:8642", True),
        ("gpu7", "gpu8:8642", False),
        ("0.0.0.0", "10.0.0.1:8642", True),
        ("0.0.0.0", f"{socket.gethostname()}:8642", True),
        ("0.0.0.0", "evil.example", False),
        ("::", "[fe80::1]:8642", True),
    ],
)
def test_names_that_somebody_else_resolves_are_refused(
    host: str, asked: str, is_own: bool
) -> None:
    assert Access("token", host, 8642).is_own_name(asked) is is_own


def test_who_reaches_an_address() -> None:
    alone = {h: is_this_machine_alone(h) for h in ("127.0.0.1", "::1", "localhost")}
    assert all(alone.values())
    assert not any(map(is_this_machine_alone, ("0.0.0.0", "::", "10.0.0.1", "gpu7", "")))
