"""Text that lands in a log or leaves the machine, without secrets that a message may quote."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL")
# RAY_AUTH_MODE and the paths of key files are no secrets, and messages need them.
_NO_SECRET = re.compile(r"_(?:PATH|FILE|DIR|MODE|ID)$")
_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
# As in a query (`?X-Amz-Signature=...`), an assignment, or a header (`Authorization: Bearer ...`).
# All patterns take time in proportion to the text: it may be a megabyte of one letter.
_NAMED = re.compile(
    r"((?:token|secret|signature|sig|password|passwd|credentials?|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|authorization)['\"]?\s*[=:]\s*['\"]?(?:bearer\s+|basic\s+)?)[^\s&'\",;\[]{6,}",
    re.IGNORECASE,
)
_SHORTEST = 6
_REMOVED = "[removed]"


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text without values of secret variables, passwords in URLs, and signatures in queries.

    Args:
        text: for example what an exception says.
        environment: variables; secret are those whose names say so, such as `WANDB_API_KEY`.
    """
    secrets = {
        value
        for name, value in environment.items()
        if len(value) >= _SHORTEST
        and _NAMES.search(name.upper())
        and not _NO_SECRET.search(name.upper())
    }
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _REMOVED)
    text = _IN_URL.sub(f"{_REMOVED}@", text)
    return _NAMED.sub(rf"\1{_REMOVED}", text)
