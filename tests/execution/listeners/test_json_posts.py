"""JSON that is sent again where it is not taken, by a thread that nobody waits for."""

from __future__ import annotations

import socket
import threading

import pytest

from clsweep.execution.listeners.json_posts import JsonPosts
from tests.support.web_servers import hook

QUICK = (0.0, 0.0)


def posts(url: str, pauses: tuple[float, ...] = QUICK, timeout: float = 60.0) -> JsonPosts:
    made = JsonPosts(url, timeout, pauses)
    made.start()
    return made


def test_what_is_not_taken_is_sent_again_and_in_order() -> None:
    with hook() as server:
        server.statuses = [500, 503, 200, 200]
        sending = posts(server.url)
        sending.put(lambda: {"n": 1})
        sending.put(lambda: None)
        sending.put(lambda: {"n": 2})
        assert sending.finish(60) == ""
        assert [server.next()["n"] for _ in range(4)] == [1, 1, 1, 2]
        assert server.came.empty()


@pytest.mark.parametrize(("status", "n"), [(500, 3), (429, 3), (404, 1), (302, 1)])
def test_what_is_never_taken_is_told_without_the_address(status: int, n: int) -> None:
    with hook() as server:
        server.statuses = [status] * n
        sending = posts(server.url)
        sending.put(lambda: {"n": 1})
        said = sending.finish(60)
        assert f"1 message not delivered (HTTP status {status})" in said
        assert server.came.qsize() == n
        assert "hunter" not in said
        assert "127.0.0.1" not in said


def test_a_server_that_hangs_ends_an_attempt_and_never_the_caller() -> None:
    with hook() as server:
        server.may_answer.clear()
        sending = posts(server.url, pauses=(), timeout=0.2)
        sending.put(lambda: {"n": 1})
        assert server.next()["n"] == 1  # it has it, and does not say so
        assert "no answer within 0.2 s" in sending.finish(60)


def test_a_server_that_hangs_longer_than_a_run_waits() -> None:
    with hook() as server:
        server.may_answer.clear()
        sending = posts(server.url)
        sending.put(lambda: {"n": 1})
        server.next()
        assert "no answer within 0 s" in sending.finish(0.0)


def test_a_server_that_refuses_and_a_name_that_nobody_has() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        sending = posts(f"http://127.0.0.1:{taken.getsockname()[1]}/hunter22")
        sending.put(lambda: {"n": 1})
        said = sending.finish(60)
    assert "(ConnectionRefusedError)" in said
    sending = posts("http://hunter22.invalid/", pauses=())
    sending.put(lambda: {"n": 1})
    said += sending.finish(60)
    assert "(gaierror)" in said
    assert "hunter" not in said


def test_what_cannot_be_made_is_lost_and_the_rest_is_sent() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with hook() as server:
        sending = posts(server.url)
        sending.put(broken)
        sending.put(lambda: {"n": 2})
        assert "(ZeroDivisionError)" in sending.finish(60)
        assert server.next()["n"] == 2
        assert threading.main_thread().is_alive()


class _LookedAt(JsonPosts):
    """Holds still while it writes down why a message is lost."""

    writes: threading.Event | None = None
    may_go_on = threading.Event()

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_reason" and self.writes is not None:
            self.writes.set()
            self.may_go_on.wait(60)


def test_a_lost_message_is_one_message_at_every_moment() -> None:
    with hook() as server:
        server.statuses = [404]
        sending = _LookedAt(server.url, 60.0, ())
        sending.writes = threading.Event()
        sending.put(lambda: {"n": 1})
        sending.start()
        assert sending.writes.wait(60)
        said = sending.finish(0.0)
        sending.may_go_on.set()
        assert said == sending.finish(60)
    assert "1 message not delivered (HTTP status 404)" in said
