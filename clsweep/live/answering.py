"""From the path of a request to what is answered; who may ask was settled before."""

from __future__ import annotations

import gzip
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from clsweep.errors import ClsweepError
from clsweep.live.answers import sweep_answer, sweeps_answer, trials_answer
from clsweep.live.report_pages import ReportPages
from clsweep.live.watched_sweep import WatchedSweep
from clsweep.redaction import without_secrets

_LIVE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The report names the hashes of its own scripts in a policy within; both hold.
_REPORT_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HTML, _JSON = "text/html; charset=utf-8", "application/json"
_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
# Figures and colours are those of the report's page.
_ASSETS = {
    "live.js": ("clsweep.live", _SCRIPT),
    "live.css": ("clsweep.live", _STYLE),
    "svg.js": ("clsweep.reporting.render", _SCRIPT),
    "page.css": ("clsweep.reporting.render", _STYLE),
}
_WORTH_PACKING = 1000


@dataclass(frozen=True)
class Answer:
    """What is sent.

    Attributes:
        status: of HTTP.
        body: the bytes; packed where `headers` say so.
        headers: beside those of every answer.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """The `ETag`: another one for other bytes, the same for them packed."""
        return f'W/"{hashlib.sha256(self.body).hexdigest()[:32]}"'


class Answering:
    """Answers requests of those who may read.

    Args:
        watched: the folders.
    """

    def __init__(self, watched: Sequence[WatchedSweep]) -> None:
        self._watched = tuple(watched)
        self._reports = ReportPages(self._watched)

    def answer(self, path: str, query: str, is_head: bool = False) -> Answer:
        """What a path leads to.

        Args:
            path: as the browser has it, `/` and what follows; nothing in it names a file.
            query: what stands behind the question mark.
            is_head: whether headers alone are asked for. Nobody sees a report by them, so that
                none is made and no test look counted: the body is empty.
        """
        try:
            match path.strip("/").split("/"):
                case [""]:
                    return self._front_door()
                case ["live"]:
                    return _asset("live.html", "clsweep.live", _HTML)
                case [name] if name in _ASSETS:
                    return _asset(name, *_ASSETS[name])
                case ["report", index] if self._is_folder(index):
                    return self._report(int(index), is_head)
                case ["data", "sweeps"]:
                    return _json(sweeps_answer(self._watched))
                case ["data", index] if self._is_folder(index):
                    return _json(sweep_answer(self._watched[int(index)].state()))
                case ["data", index, "trials"] if self._is_folder(index):
                    return _json(trials_answer(self._watched[int(index)].state(), query))
        except ClsweepError as error:
            return message_page(500, "This cannot be shown", without_secrets(str(error)))
        return message_page(404, "There is nothing here", "The sweeps are on the first page.")

    def _is_folder(self, index: str) -> bool:
        return index in map(str, range(len(self._watched)))

    def _front_door(self) -> Answer:
        """The report of one sweep that is done, and the page that lives otherwise."""
        if len(self._watched) == 1 and self._watched[0].state().is_done:
            return redirect("report/0")
        return redirect("live")

    def _report(self, index: int, is_head: bool) -> Answer:
        if is_head:
            page = b"" if self._watched[index].state().is_done else None
        else:
            page = self._reports.page(index, "../live")
        if page is None:
            return redirect("../live")
        return Answer(200, page, _headers(_HTML, _REPORT_POLICY))


def redirect(address: str) -> Answer:
    """To another address, relative to this one: a proxy may put a path before both.

    Args:
        address: where to.
    """
    return Answer(303, headers={"Location": address})


def message_page(status: int, title: str, text: str) -> Answer:
    """A page of one sentence.

    Args:
        status: of HTTP.
        title: its heading.
        text: the sentence.
    """
    body = (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{html.escape(title)}</title>'
        f"<h1>{html.escape(title)}</h1><p>{html.escape(text, quote=False)}</p></html>\n"
    )
    return Answer(status, body.encode(), _headers(_HTML, _LIVE_POLICY))


def packed(answer: Answer, accepted: str) -> Answer:
    """The answer, compressed where the browser takes that and it is worth it.

    Args:
        answer: what is sent.
        accepted: the header `Accept-Encoding`.
    """
    if len(answer.body) < _WORTH_PACKING or "gzip" not in accepted:
        return answer
    body = gzip.compress(answer.body, compresslevel=5, mtime=0)
    return Answer(answer.status, body, {**answer.headers, "Content-Encoding": "gzip"})


def _json(told: Mapping[str, Any]) -> Answer:
    text = json.dumps(told, allow_nan=False, separators=(",", ":"))
    return Answer(200, text.encode(), _headers(_JSON, _LIVE_POLICY))


def _asset(name: str, package: str, kind: str) -> Answer:
    return Answer(200, _content(name, package), _headers(kind, _LIVE_POLICY))


@cache
def _content(name: str, package: str) -> bytes:
    return (files(package) / "web" / name).read_bytes()


def _headers(kind: str, policy: str) -> dict[str, str]:
    return {"Content-Type": kind, "Content-Security-Policy": policy}
