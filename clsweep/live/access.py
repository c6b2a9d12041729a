"""Who may read: whoever has the token, and asks for this server by a name of its own.

The token comes with the first address, is put into a cookie, and the browser is sent to the
address without it: so it is in no history entry that stays, no title and no referrer. A page of
somebody else may resolve a name of its own to this machine and send the browser here; it is
refused by the name in `Host`, before the token is asked for.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket

_TOKEN_BYTES = 24


def new_token() -> str:
    """192 random bits, as letters that stand in a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


class Access:
    """What opens one server.

    Args:
        token: what the printed URL holds.
        host: the address or name on which the server listens.
        port: its port; cookies do not tell ports apart, so that their name does.
    """

    def __init__(self, token: str, host: str, port: int) -> None:
        self._token = token
        # What the cookie holds opens the same doors, but is not what a user might copy.
        self._pass = hmac.new(token.encode(), b"cookie", "sha256").hexdigest()
        self._cookie = f"clsweep_{port}"
        self._host = host.lower()
        self._is_everywhere = _is_wildcard(host)

    @property
    def set_cookie(self) -> str:
        """The header that gives a browser its cookie, until it is closed."""
        return f"{self._cookie}={self._pass}; Path=/; HttpOnly; SameSite=Lax"

    def is_token(self, text: str) -> bool:
        """Whether a text is the token; as slow for every wrong one.

        Args:
            text: from a URL.
        """
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    def is_known(self, cookies: str) -> bool:
        """Whether a browser has been given the cookie.

        Args:
            cookies: the header `Cookie`, maybe empty.
        """
        # Programs on other ports set cookies of any form, which `http.cookies` gives up at.
        pairs = (part.strip().partition("=") for part in cookies.split(";"))
        values = [value for name, _, value in pairs if name == self._cookie] or [""]
        wanted = self._pass.encode()
        return any(hmac.compare_digest(v.encode("utf-8", "replace"), wanted) for v in values)

    def is_own_name(self, host: str) -> bool:
        """Whether the header `Host` names this machine, with whichever port a tunnel has.

        An address is no name that anybody else could have resolved.

        Args:
            host: the header, such as `127.0.0.1:8642`; maybe empty.
        """
        name = _without_port(host).lower()
        if name in ("localhost", self._host):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return self._is_everywhere and name in _names_of_this_machine()
        return address.is_loopback or self._is_everywhere


def is_this_machine_alone(host: str) -> bool:
    """Whether only this machine reaches what listens on an address.

    Args:
        host: an address or a name.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host or "0.0.0.0").is_unspecified
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _names_of_this_machine() -> set[str]:
    return {name.lower() for name in (socket.gethostname(), socket.getfqdn()) if name}
