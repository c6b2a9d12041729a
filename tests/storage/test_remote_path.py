"""Places behind URIs: what they take for a path, what they hide, what they say when refused."""

from __future__ import annotations

import itertools
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.fs
import pytest

from clsweep.errors import StoreError
from clsweep.storage import remote_path
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import RemotePath, _refusal, place_of, read_many
from clsweep.uris import shown_uri, without_secrets
from tests.support.object_stores import Denying, ObjectStore, object_store


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture
def folder(server: ObjectStore, request: pytest.FixtureRequest) -> RemotePath:
    place = place_of(server.uri(f"{quote(request.node.name)}/with%20space"))
    assert isinstance(place, RemotePath)
    return place


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("results/x", "results/x"),
            ("/a b", "/a b"),
            ("file:///a%20b", "/a b"),
            ("file://localhost/a", "/a"),
            ("s3", "s3"),
        ],
    )
    def test_what_is_local(self, text, path):
        assert place_of(text) == Path(path)

    @pytest.mark.parametrize(
        "text",
        [
            "hdfs://host/x",
            "http://host/x",
            "abfs://c@a.dfs.core.windows.net/x",
            "file://host/x",
            "s3://",
            "s3:///x",
            "s3://bucket/x#y",
            "s3://bucket:9000/x",
        ],
    )
    def test_what_is_refused(self, text):
        with pytest.raises(StoreError, match="names no place"):
            place_of(text)

    def test_a_uri_that_pathlib_has_broken(self):
        with pytest.raises(StoreError, match=r"s3://bucket/x as a Path has lost a slash"):
            place_of(Path("s3://bucket/x"))

    def test_names(self):
        place = place_of("s3://bucket/a/b%20c/?region=x")
        assert place.name == "b c"
        below = place / "records" / "1-0.json"
        assert (below.name, below.stem, below.parent) == ("1-0.json", "1-0", place / "records")
        assert place / "records/1-0.json" == below
        assert str(below) == "s3://bucket/a/b%20c/records/1-0.json"
        assert str(place) == "s3://bucket/a/b%20c/?region=x"
        assert place_of("s3://bucket").name == "bucket"


class TestFiles:
    def test_content_comes_back_and_is_replaced(self, folder):
        path = folder / "records" / "1.json"
        for data in (b"one", b"", b"two" * 4_000_000):
            folder_of(folder).write("records/1.json", data)
            assert path.read_bytes() == data
        assert path.is_file()

    def test_a_pickled_place_is_the_same_place(self, folder):
        (folder / "x").write_bytes(b"1")
        assert pickle.loads(pickle.dumps(folder / "x")).read_bytes() == b"1"

    def test_what_lies_where(self, folder):
        for name in ("a.json", "b.json", "c.txt", "deep/d.json"):
            (folder / name).write_bytes(b"12")
        assert sorted(path.name for path in folder.glob("*.json")) == ["a.json", "b.json"]
        assert sorted(path.name for path in folder.iterdir()) == [
            "a.json",
            "b.json",
            "c.txt",
            "deep",
        ]
        assert folder.is_dir()
        assert (folder / "deep").is_dir()
        assert not (folder / "deep").is_file()
        assert not (folder / "none").is_dir()
        assert list((folder / "none").glob("*")) == []

    def test_a_stamp_changes_with_the_size(self, folder):
        (folder / "a").write_bytes(b"1")
        [(path, before)] = folder.stamped("*")
        assert path == folder / "a"
        (folder / "a").write_bytes(b"12")
        assert folder.stamped("*")[0][1] != before

    def test_the_stamp_of_one_object_is_that_of_the_listing(self, folder):
        (folder / "deep" / "a").write_bytes(b"123")
        [(path, stamp)] = (folder / "deep").stamped("*")
        assert path.stamp() == stamp
        assert stamp[0] == 3
        for none in ("deep", "deep/b"):
            with pytest.raises(FileNotFoundError, match=none):
                (folder / none).stamp()

    def test_deleting(self, folder):
        (folder / "a").write_bytes(b"1")
        (folder / "a").unlink()
        assert not (folder / "a").is_file()
        (folder / "a").unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError):
            (folder / "a").unlink()

    def test_a_reader_gets_one_upload_or_the_other(self, folder):
        path = folder / "a"
        lengths = (10, 1000, 300)

        def content(n: int) -> bytes:
            # No content comes twice: the one before would be taken for it.
            return f"{n},".encode() * lengths[n % 3]

        path.write_bytes(content(0))
        is_over = threading.Event()

        def replace() -> None:
            for n in itertools.count(1):
                if is_over.wait(0.004):
                    return
                path.write_bytes(content(n))

        writer = threading.Thread(target=replace)
        writer.start()
        try:
            seen = {path.read_bytes() for _ in range(40)}
            while len(seen) < 2:  # the test's time-out ends it
                seen.add(path.read_bytes())
        finally:
            is_over.set()
            writer.join()
        assert {data for data in seen if data != content(int(data.partition(b",")[0]))} == set()

    def test_what_is_missing(self, folder):
        with pytest.raises(FileNotFoundError, match="none"):
            (folder / "none").read_bytes()

    def test_many_at_once_stay_in_order(self, folder):
        paths = [folder / str(i) for i in range(40)]
        for path in paths[::2]:
            path.write_bytes(path.name.encode())
        expected = [str(i).encode() if i % 2 == 0 else None for i in range(40)]
        assert read_many(paths) == expected


class TestRefusals:
    OPERATIONS = {  # noqa: RUF012
        "read": lambda path: path.read_bytes(),
        "written": lambda path: path.write_bytes(b"1"),
        "listed": lambda path: list(path.glob("*")),
        "deleted": lambda path: path.unlink(missing_ok=True),
    }

    @pytest.mark.parametrize("doing", OPERATIONS)
    def test_no_permission(self, doing, monkeypatch):
        denying = pyarrow.fs.PyFileSystem(Denying())
        monkeypatch.setattr(remote_path, "_opened", lambda uri: (denying, "bucket/x"))
        path = place_of("s3://me:hunter2@bucket/x") / "a"
        with pytest.raises(StoreError, match=f"let this be {doing}: ACCESS_DENIED") as error:
            self.OPERATIONS[doing](path)
        assert "check the credentials in the environment" in str(error.value)
        assert "hunter2" not in str(error.value)
        assert error.value.__cause__ is None

    def test_no_bucket(self, server):
        with pytest.raises(StoreError, match="NO_SUCH_BUCKET") as error:
            (place_of(server.uri("x", bucket="no-bucket")) / "a").write_bytes(b"1")
        assert "make the bucket" in str(error.value)

    def test_an_option_that_pyarrow_does_not_know(self):
        with pytest.raises(StoreError, match="Unexpected query parameter") as error:
            (place_of("s3://bucket/x?secret_key=hunter2") / "a").read_bytes()
        assert "hunter2" not in str(error.value)
        assert "correct the URI" in str(error.value)

    @pytest.mark.parametrize(
        ("said", "mend"),
        [
            ("NETWORK_CONNECTION during PutObject operation: curlCode: 7, to port 40312", "again"),
            ("UNKNOWN (HTTP status 403) during PutObject operation", "check the credentials"),
            ("UNKNOWN (HTTP status 500) during PutObject operation, port 40123", "again"),
        ],
    )
    def test_a_port_is_no_status(self, said, mend):
        error = OSError(f"When writing key 'a' in bucket 'b': AWS Error {said}")
        assert mend in _refusal(place_of("s3://b/x"), "written", error).next_step

    def test_whatever_ends_an_upload_is_told(self, server, monkeypatch):
        def no_memory(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(remote_path, "_opened", no_memory)
        with pytest.raises(MemoryError):
            (place_of(server.uri("x")) / "a").write_bytes(b"1")

    def test_a_name_is_no_reason(self, server):
        """A folder's name that looks like a reason does not hide the one that was given."""
        with pytest.raises(StoreError, match="NO_SUCH_BUCKET") as error:
            (place_of(server.uri("tokens/403", bucket="no-permission")) / "a").write_bytes(b"1")
        assert "make the bucket" in str(error.value)

    def test_nobody_answers(self):
        server = ObjectStore()
        place = place_of(server.uri("x"))
        (place / "a").write_bytes(b"1")
        server.stop()
        with pytest.raises(StoreError, match="written: NETWORK_CONNECTION") as error:
            (place / "a").write_bytes(b"2")
        assert "run the same command again" in str(error.value)
        server.start()
        try:
            assert (place / "a").read_bytes() == b"1"
        finally:
            server.stop()


class Slow(pyarrow.fs.FileSystemHandler):
    """Writes into a dict when a stream is closed, and lets the test act while it is open."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.is_open, self.may_go_on = threading.Event(), threading.Event()

    def open_output_stream(self, path, metadata):
        handler = self
        handler.is_open.set()
        assert handler.may_go_on.wait(30)

        class Stream:
            closed = False
            data = b""

            def write(self, data):
                self.data += bytes(data)

            def flush(self):
                pass

            def close(self):
                if not self.closed:
                    self.closed = True
                    handler.objects[path] = self.data

            def writable(self):
                return True

            def readable(self):
                return False

            def seekable(self):
                return False

        return pyarrow.PythonFile(Stream(), mode="w")

    def _unused(self, *args, **kwargs):
        raise NotImplementedError

    get_type_name = lambda self: "slow"  # noqa: E731
    normalize_path = lambda self, path: path  # noqa: E731
    get_file_info = get_file_info_selector = create_dir = delete_dir = delete_dir_contents = (
        _unused
    )
    delete_root_dir_contents = delete_file = move = copy_file = _unused
    open_input_stream = open_input_file = open_append_stream = _unused


def test_ctrl_c_in_an_upload_leaves_a_whole_object(monkeypatch):
    handler = Slow()
    slow = pyarrow.fs.PyFileSystem(handler)
    monkeypatch.setattr(remote_path, "_opened", lambda uri: (slow, "bucket"))

    class Interrupted(threading.Thread):
        def join(self, timeout=None):
            assert handler.is_open.wait(30)
            raise KeyboardInterrupt  # between opening and writing

    threads = []

    def start(target):
        threads.append(Interrupted(target=target))
        return threads[0]

    monkeypatch.setattr(remote_path, "Thread", start)
    with pytest.raises(KeyboardInterrupt):
        (place_of("s3://bucket") / "table").write_bytes(b"whole")
    assert handler.objects == {}
    handler.may_go_on.set()
    threading.Thread.join(threads[0], 30)
    assert handler.objects == {"bucket/table": b"whole"}


class TestSecrets:
    @pytest.mark.parametrize(
        ("uri", "shown"),
        [
            ("s3://bucket/a@b?region=eu", "s3://bucket/a@b?region=eu"),
            ("s3://key:pass@bucket/a", "s3://***@bucket/a"),
            ("s3://key@bucket/a", "s3://***@bucket/a"),
            ("s3://key:p%2Fq@bucket/a?scheme=http", "s3://***@bucket/a?scheme=http"),
            ("s3://key:p/q@bucket/a", "s3://***@bucket/a"),
            ("s3://key:p?q@bucket/a", "s3://***@bucket/a"),
            ("s3://key:pass/a", "s3://***"),
            ("s3://b/a?access_key=AK&secret_key=SK", "s3://b/a?access_key=***&secret_key=***"),
            ("s3://b/a?new_option=x&region=y", "s3://b/a?new_option=***&region=y"),
            (
                "s3://b/a?endpoint_override=http%3A//u%3Ap%40host",
                "s3://b/a?endpoint_override=***",
            ),
            ("s3://b/a#frag", "s3://b/a#***"),
        ],
    )
    def test_what_is_shown(self, uri, shown):
        assert shown_uri(uri) == shown

    @pytest.mark.parametrize(
        "uri",
        [
            "s3://AKIAKEY:hunter%2F2@bucket/x?region=y",
            "s3://bucket/x?access_key=AKIAKEY&secret_key=hunter%2F2&region=y",
        ],
    )
    def test_no_form_of_a_secret_is_left_in_a_text(self, uri):
        text = f"cannot open {uri}: user AKIAKEY, password hunter/2 (hunter%2F2), region y"
        clean = without_secrets(text, uri)
        assert "AKIAKEY" not in clean
        assert "hunter" not in clean
        assert "region y" in clean

    def test_neither_str_nor_repr_nor_a_dataclass_of_it_shows_one(self):
        place = place_of("s3://AKIAKEY:hunter2@bucket/x?token=hunter3")
        for text in (str(place), repr(place), f"{place / 'y'}", str([place]), str({"a": place})):
            assert "hunter" not in text
            assert "AKIAKEY" not in text
