"""The report page of a sweep that is done: computed when it is asked for, once for all who ask.

It shows test accuracies, so that it counts as a test look, as `clsweep report` does: the folder's
ledger gets a line before the page is sent. It is the one thing that this room adds to a folder.
"""

from __future__ import annotations

import html
import threading
from dataclasses import replace

from clsweep.live.watched_sweep import WatchedSweep

_LINK = '<p class="hint"><a href="{address}">{text}</a></p>'


class ReportPages:
    """Report pages by folder.

    Args:
        watched: the folders.
    """

    def __init__(self, watched: tuple[WatchedSweep, ...]) -> None:
        self._watched = watched
        self._turn = threading.Lock()
        self._made: dict[int, tuple[object, bytes]] = {}

    def page(self, index: int, live_address: str) -> bytes | None:
        """The page; None while the sweep is not done.

        Args:
            index: of the folder.
            live_address: where all trials are listed, for a link.

        Raises:
            ClsweepError: the results cannot be reported.
        """
        with self._turn:
            state = self._watched[index].state()
            if not state.is_done or state.sweep is None:
                return None
            told = {key: one.finished_at for key, one in state.sweep.done.items()}
            kept = self._made.get(index)
            if kept is None or kept[0] != told:
                page = self._rendered(index, live_address)
                if page is None:
                    return None
                self._made[index] = kept = told, page
            return kept[1]

    def _rendered(self, index: int, live_address: str) -> bytes | None:
        from clsweep.reporting.joined_studies import joined_results
        from clsweep.reporting.ledger import count_looks
        from clsweep.reporting.render.page import LiveSection, page_of
        from clsweep.reporting.report_building import data_of
        from clsweep.reporting.results_reader import read

        data = data_of(joined_results([read(self._watched[index].place, read_only=True)]))
        # The state that led here may be seconds old; the study may ask for more by now.
        if data.unfinished or not self._watched[index].state_now().is_done:
            return None
        uncounted = count_looks(data.shown, "serve")
        data = replace(data, notes=(*data.notes, *uncounted))
        link = _LINK.format(
            address=html.escape(live_address), text="All trials with their messages"
        )
        return page_of(data, live=LiveSection(link)).encode()
