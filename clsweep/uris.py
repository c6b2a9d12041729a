"""URIs as they may be shown: everything but their credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit

_HIDDEN = "***"
# Options that hold no secret. Others are hidden, known or not.
_HARMLESS = {
    "allow_bucket_creation",
    "allow_bucket_deletion",
    "allow_delayed_open",
    "check_directory_existence_before_creation",
    "default_bucket_location",
    "endpoint_override",
    "region",
    "retry_limit_seconds",
    "scheme",
    "smart_defaults",
    "tls_ca_file_path",
}
# Shorter ones would tear holes into any text, and protect nothing.
_SHORTEST_SECRET = 3


def shown_uri(uri: str) -> str:
    """The URI with `***` for its user, its password, and every option that could be a secret.

    Args:
        uri: any text with `://`.
    """
    scheme, _, rest = uri.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and ":" in authority:
        # A password with a bare '/', '?' or '#': where it ends cannot be told.
        return f"{scheme}://{_HIDDEN}" + ("@" + rest.rpartition("@")[2] if "@" in rest else "")
    parts = urlsplit(uri)
    user, at, host = parts.netloc.rpartition("@")
    shown = f"{scheme}://{_HIDDEN if user else ''}{at}{host}{parts.path}"
    if parts.query:
        shown += "?" + "&".join(_shown_option(option) for option in parts.query.split("&"))
    return shown + (f"#{_HIDDEN}" if parts.fragment else "")


def without_secrets(text: str, uri: str) -> str:
    """A text in which nothing is left that only the URI's owner may know.

    Args:
        text: for example an error's.
        uri: whose credentials are taken out.
    """
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def _shown_option(option: str) -> str:
    key, equals, value = option.partition("=")
    harmless = key.lower() in _HARMLESS and "@" not in unquote(value)
    return option if harmless else f"{key}{equals}{_HIDDEN}"


def _secrets(uri: str) -> Iterator[str]:
    parts = urlsplit(uri)
    user = parts.netloc.rpartition("@")[0]
    found = [user, *user.split(":", 1)]
    for option in parts.query.split("&"):
        if _shown_option(option) != option:
            found.append(option.partition("=")[2])
    for secret in found:
        for form in (secret, unquote(secret), quote(unquote(secret), safe="")):
            if len(form) >= _SHORTEST_SECRET:
                yield form
