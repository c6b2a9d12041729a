"""JSON sent to one address by a thread of its own, again after a pause where it is not taken.

The address is a secret: whoever has it can write there. No text that leaves this module holds it,
or anything that a library says of it.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from clsweep.text import counted

TIMEOUT_SECONDS = 10.0
# Before the second attempt, the third, …
PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
_LATER = (408, 425, 429)


class JsonPosts(threading.Thread):
    """Sends what it is given, in turn.

    Args:
        url: where to.
        timeout: seconds without a sign of the server, before an attempt has failed.
        pauses: seconds between attempts; there is one attempt more.
    """

    def __init__(
        self,
        url: str,
        timeout: float = TIMEOUT_SECONDS,
        pauses: tuple[float, ...] = PAUSES_SECONDS,
    ) -> None:
        super().__init__(name="clsweep-webhook", daemon=True)
        self._url, self._timeout, self._pauses = url, timeout, pauses
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._waiting: queue.SimpleQueue[Callable[[], Mapping[str, Any] | None] | None]
        self._waiting = queue.SimpleQueue()
        self._n_given = self._n_settled = 0  # delivered, or found to be nothing
        self._trouble = self._reason = ""  # of what is being sent; of what was lost last

    def put(self, make: Callable[[], Mapping[str, Any] | None]) -> None:
        """Send something when its turn has come; returns at once.

        Args:
            make: gives it, in the thread; None for nothing.
        """
        self._n_given += 1
        self._waiting.put(make)

    def finish(self, patience: float) -> str:
        """Wait until all is sent, or for some time; a sentence about what was not taken, or ''.

        Args:
            patience: seconds.
        """
        self._waiting.put(None)
        self.join(patience)
        n_lost = self._n_given - self._n_settled
        if not n_lost:
            return ""
        why = self._reason or self._trouble or f"no answer within {patience:g} s"
        return (
            f"[callbacks] webhook: {counted(n_lost, 'message')} not delivered ({why}); nothing "
            "else depends on it"
        )

    def run(self) -> None:
        """Work through the queue."""
        while (make := self._waiting.get()) is not None:
            try:
                told = make()
                if told is None or self._is_taken(json.dumps(told).encode()):
                    self._n_settled += 1
                else:
                    self._reason = self._trouble
            except Exception as error:  # whoever is told of a sweep must not end it
                self._reason = type(error).__name__

    def _is_taken(self, body: bytes) -> bool:
        for pause in (*self._pauses, None):
            self._trouble, is_worth = self._sent(body)
            if not self._trouble:
                return True
            if pause is None or not is_worth:
                return False
            time.sleep(pause)
        return False

    def _sent(self, body: bytes) -> tuple[str, bool]:
        """Why it was not taken ('' if it was), and whether that may change by itself."""
        headers = {"Content-Type": "application/json", "User-Agent": "clsweep"}
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout):
                return "", False
        except urllib.error.HTTPError as error:
            error.close()
            return f"HTTP status {error.code}", error.code >= 500 or error.code in _LATER
        except TimeoutError:
            return f"no answer within {self._timeout:g} s", True
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                return f"no answer within {self._timeout:g} s", True
            return type(error.reason).__name__, isinstance(error.reason, OSError)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # What it says may quote the address.
            return type(error).__name__, isinstance(error, OSError)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is sent somewhere is not sent elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """No request in place of the first."""
