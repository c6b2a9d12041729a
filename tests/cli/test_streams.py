"""Standard streams that cannot spell, take nothing more, or are not there."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from clsweep.cli import streams
from clsweep.cli.main import main
from tests.support.command_line import tiny_study

ODD = "≥ 95 % → ± λ θ² − … ─ größe \udcff 日"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study and its results."""
    folder = tmp_path_factory.mktemp("finished")
    study = tiny_study(folder)
    assert main(["run", str(study), "--inline", "-q", "--out", str(folder / "out")]) == 0
    return folder


def said_once(err: str, *words: str) -> None:
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    assert err.count("error: ") == 1, err
    for word in words:
        assert word in err


# ----- within one process


def printed(encoding: str, text: str) -> str:
    raw = io.BytesIO()
    codecs.register_error(streams._ERRORS, streams._spelt)
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=streams._ERRORS)
    stream.write(text)
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", ">= 95 % -> +- lambda theta^2 - ... - gr\\xf6\\xdfe \\udcff \\u65e5"),
        ("latin-1", ">= 95 % -> ± lambda theta² - ... - größe \\udcff \\u65e5"),
        ("utf-8", ODD.replace("\udcff", "\\udcff")),
    ],
)
def test_what_an_encoding_lacks_is_spelt_in_what_it_has(encoding: str, expected: str) -> None:
    assert printed(encoding, ODD) == expected


@pytest.mark.parametrize(("encoding", "as_it_is"), [("ascii", False), ("utf-8", True)])
def test_json_is_the_same_value_in_every_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str, as_it_is: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    text = streams.as_json_text({"label": "λ ≥ 1"})
    assert ("λ ≥ 1" in text) == as_it_is
    assert json.loads(printed(encoding, text)) == {"label": "λ ≥ 1"}


def test_streams_that_somebody_has_put_in_place_are_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sys.stdout
    with streams.guarded_streams():
        assert sys.stdout is before
        assert streams.lost_output() is None
        assert streams.excuse_lost_output() is None


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stream_that_keeps_nothing_back_goes_on_so(
    monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """As with PYTHONUNBUFFERED, for whoever reads a log while it grows."""
    with open(os.devnull, "wb") as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=at_once)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        with streams.guarded_streams():
            guarded: Any = sys.stdout
            assert guarded is not stream
            assert guarded.write_through == at_once
        assert sys.stdout is stream
        print("still open", flush=True)
        monkeypatch.undo()


class Outputs:
    """Runs commands in this process, with a standard output of the interpreter's own."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._patch, self._capsys = monkeypatch, capsys

    def __call__(self, kind: str, *arguments: object) -> tuple[int, str]:
        """(exit code, what was said on the standard error)."""
        self._capsys.readouterr()
        with contextlib.ExitStack() as stack, self._patch.context() as patch:
            stream = None if kind == "closed" else stack.enter_context(self._opened(kind))
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "__stdout__", stream)
            # What finds 'closed' must not put anything in the place of the test's own output.
            patch.setattr(streams, "_is_closed", lambda number: False)
            code = main([str(argument) for argument in arguments])
        return code, self._capsys.readouterr().err

    @contextlib.contextmanager
    def _opened(self, kind: str) -> Iterator[TextIO]:
        read, write = os.pipe()
        os.close(read)
        path = "/dev/full" if kind == "full" else write
        stream = open(path, "w", encoding="utf-8")  # noqa: SIM115
        try:
            yield stream
        finally:
            with contextlib.suppress(OSError):
                stream.close()


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Outputs:
    return Outputs(monkeypatch, capsys)


linux = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
REASON = {"full": "No space left", "closed": "it is closed", "gone": "Broken pipe"}


@linux
@pytest.mark.parametrize("kind", ["full", "closed"])
def test_a_lost_output_is_one_message_and_the_files_are_there(
    finished: Path, tmp_path: Path, outputs: Outputs, kind: str
) -> None:
    out = tmp_path / "files"
    for command in (["methods"], ["report", finished / "out", "--out", out, "--format", "csv"]):
        code, err = outputs(kind, *command)
        assert code == 2
        said_once(err, f"the standard output cannot be written: {REASON[kind]}")
    assert (out / "fronts.csv").exists()
    assert (out / "report.txt").exists()


def test_a_reader_that_has_had_enough_is_no_mistake_and_the_files_are_there(
    finished: Path, tmp_path: Path, outputs: Outputs
) -> None:
    out = tmp_path / "files"
    ended = outputs("gone", "report", finished / "out", "--out", out, "--format", "csv")
    assert ended == (128 + signal.SIGPIPE, "")
    assert (out / "fronts.csv").exists()
    for how in ([], ["--json"]):
        assert outputs("gone", "status", finished / "out", "--watch", "0.1", *how)[0] == 141


@linux
@pytest.mark.parametrize("kind", ["full", "closed", "gone"])
def test_a_run_goes_on_whatever_becomes_of_its_output(
    tmp_path: Path, outputs: Outputs, kind: str
) -> None:
    study = tiny_study(tmp_path)
    for log in ([], ["--log-json", "-"]):
        out = tmp_path / f"out{len(log)}"
        code, err = outputs(kind, "run", study, "--inline", "--out", out, *log)
        assert code == 0
        assert "\nerror: " not in err
        assert f"warning: the standard output cannot be written: {REASON[kind]}" in err
        assert (out / "accuracy.parquet").exists()


# ----- in another process


def ran(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    environment = {**os.environ, "COLUMNS": "100", **options.pop("env", {})}
    command = [sys.executable, "-m", "clsweep", *arguments]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, cwd=folder, env=environment, encoding="utf-8", **options)


def test_a_terminal_of_another_time_shows_the_whole_report(finished: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii"}
    done = ran(finished, "report", "out", "--format", "csv", stdout=subprocess.PIPE, env=env)
    assert done.returncode == 0, done.stderr
    assert "fine-tuning" in done.stdout
    assert "CAN SAY  * nothing" in done.stdout
    assert not (finished / "out" / "report.txt").read_text(encoding="utf-8").isascii()


def test_a_user_without_a_home_folder_is_told_of_no_library_s_cache(finished: Path) -> None:
    """Neither where the report is drawn, nor where a run looks for data."""
    env = {"HOME": "/proc/none", "XDG_STATE_HOME": str(finished), "MPLCONFIGDIR": ""}
    done = ran(finished, "report", "out", "--format", "svg", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert (finished / "out" / "front.svg").exists()


@pytest.mark.parametrize("close", [[1], [0, 1, 2]])
def test_a_closed_stream_is_no_place_for_files(finished: Path, close: list[int]) -> None:
    """The next file to be opened would get its number, and with it what is printed."""

    def closed() -> None:
        for number in close:
            os.close(number)

    def contents() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (finished / "out").iterdir() if p.is_file()}

    before = contents()
    done = ran(finished, "status", "out", preexec_fn=closed)
    assert done.returncode == 2
    if 2 not in close:
        said_once(done.stderr, "cannot be written: it is closed")
    assert contents() == before


def test_nothing_is_said_at_the_end_of_a_process_whose_reader_has_gone(finished: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = ran(finished, "methods", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_folder_that_was_deleted_is_named(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()

    def gone() -> None:
        os.rmdir(os.getcwd())

    done = ran(tmp_path / "here", "run", "study.toml", preexec_fn=gone)
    assert done.returncode == 2
    said_once(done.stderr)


def test_who_keeps_a_stream_can_ask_it_until_the_process_ends() -> None:
    """Ray's colorama does, at exit."""
    program = (
        "import atexit, gc, sys\n"
        "from clsweep.cli.streams import guarded_streams\n"
        "with guarded_streams():\n"
        "    kept = sys.stdout\n"
        "    atexit.register(lambda: (kept.isatty(), print('late', file=kept, flush=True)))\n"
        "    print('within')\n"
        "with guarded_streams():\n"
        "    print('again')\n"
        "gc.collect()\n"
        "print('after')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == ["within", "again", "after", "late"]
