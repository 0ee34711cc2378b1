"""Downloads from a real server on this machine, wheels through a real pip: what breaks, breaks here."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dslstudy.data import fetch as fetching
from dslstudy.data.fetch import cache_dir, cached_path, fetch, fetch_wheel_members, obtain, read_verified, verify
from dslstudy.data.registry import DatasetSpec, FileSpec, Form, Source
from dslstudy.errors import InputError

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, the last one for ever; counts the requests."""

    daemon_threads = True

    def __init__(self):
        self.answers, self.requests = [self.whole], 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/{{path}}"

    @staticmethod
    def whole(handler):
        handler.reply(200, CONTENT)

    @staticmethod
    def altered(handler):
        handler.reply(200, b"x" + CONTENT[1:])

    @staticmethod
    def short_but_complete(handler):
        handler.reply(200, CONTENT[:1000])

    @staticmethod
    def broken_off(handler):
        handler.reply(200, CONTENT[:1000], length=len(CONTENT))

    @staticmethod
    def busy(handler):
        handler.reply(503, b"later")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        number = self.server.requests
        self.server.requests += 1
        self.server.answers[min(number, len(self.server.answers) - 1)](self)

    def reply(self, status, content, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)  # pooch waits a second and more between attempts
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.shutdown()


def spec_of(*sources, files=None, name="tiny"):
    files = files or (FileSpec("tiny/folder/part.bin", SHA256),)
    return DatasetSpec(
        name=name, title="Tiny", task="ranking", licence="", terms="", cite="", citation="", users=1, items=1,
        interactions=1, forms=(Form("none", tuple(files), tuple(sources)),),
    )  # fmt: skip


@pytest.fixture
def tiny(server):
    return spec_of(Source("mirror"), Source("url", url=server.url))


@pytest.fixture
def placed():
    return cache_dir() / "tiny/folder/part.bin"


def leftovers():
    return [path for path in cache_dir().rglob("*") if path.is_file() and path.name != "part.bin"]


# Downloads


def test_a_download_is_checked_kept_and_not_repeated(tiny, server, placed):
    obtain(tiny, progress=False)
    assert placed.read_bytes() == CONTENT
    obtain(tiny, progress=False)
    assert server.requests == 1
    assert leftovers() == []


def test_progress_goes_to_standard_error(tiny, capfd):
    obtain(tiny)
    out, err = capfd.readouterr()
    assert out == ""
    assert "100%" in err


@pytest.mark.parametrize("trouble", ["busy", "broken_off", "altered", "short_but_complete"])
def test_a_passing_trouble_is_survived(tiny, server, placed, trouble):
    server.answers = [getattr(Server, trouble), Server.whole]
    obtain(tiny, progress=False)
    assert placed.read_bytes() == CONTENT
    assert server.requests == 2
    assert leftovers() == []


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("busy", "503"),
        ("broken_off", "the connection broke off"),
        ("altered", "what came is altered or truncated"),
        ("short_but_complete", "what came is altered or truncated"),
    ],
)
def test_a_lasting_trouble_is_reported_and_leaves_nothing(tiny, server, placed, trouble, reason):
    server.answers = [getattr(Server, trouble)]
    with pytest.raises(InputError, match=reason) as caught:
        obtain(tiny, progress=False)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("tiny", "DSLSTUDY_MIRROR is not set", server.url.format(path="folder/part.bin"), str(placed), SHA256):
        assert part in message
    assert server.requests == 1 + fetching.RETRIES
    assert not placed.exists()
    assert leftovers() == []
    server.answers = [Server.whole]
    obtain(tiny, progress=False)
    assert placed.read_bytes() == CONTENT


def test_a_silent_server_is_given_up(tiny, server, placed, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", (0.3, 0.3))
    monkeypatch.setattr(fetching, "RETRIES", 0)
    server.answers = [lambda handler: threading.Event().wait(3)]
    with pytest.raises(InputError, match="timed out"):
        obtain(tiny, progress=False)
    assert not placed.exists()


def test_a_refused_connection_is_an_answer(monkeypatch):
    monkeypatch.setattr(fetching, "RETRIES", 0)
    with Server() as gone:
        url = gone.url
    with pytest.raises(InputError, match="connection refused"):
        obtain(spec_of(Source("url", url=url)), progress=False)


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], b"x" + CONTENT[1:], CONTENT + b"x"])
def test_a_damaged_file_in_the_cache_is_repaired(tiny, server, placed, damage):
    placed.parent.mkdir(parents=True)
    placed.write_bytes(damage)
    obtain(tiny, progress=False)
    assert placed.read_bytes() == CONTENT


def test_a_damaged_file_is_never_used(tiny, server, placed):
    server.answers = [Server.busy]
    placed.parent.mkdir(parents=True)
    placed.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=f"{placed} is there but altered"):
        obtain(tiny, progress=False)
    with pytest.raises(InputError, match="is altered"):
        read_verified(tiny.forms[0].files[0])
    placed.unlink()
    with pytest.raises(InputError, match="cannot read"):
        read_verified(tiny.forms[0].files[0])


OBTAIN = """
import sys
from dslstudy.data.fetch import obtain
from dslstudy.data.registry import DatasetSpec, FileSpec, Form, Source
form = Form("none", (FileSpec("tiny/folder/part.bin", sys.argv[2]),), (Source("url", url=sys.argv[1]),))
obtain(DatasetSpec(name="tiny", title="", task="", licence="", terms="", cite="", citation="", users=1, items=1,
                   interactions=1, forms=(form,)), progress=False)
"""


def other_process(server):
    return subprocess.Popen([sys.executable, "-c", OBTAIN, server.url, SHA256], stderr=subprocess.PIPE)


def test_a_killed_download_leaves_nothing_that_looks_finished(tiny, server, placed):
    started = threading.Event()

    def never_ending(handler):
        handler.reply(200, CONTENT[:5000], length=len(CONTENT))
        started.set()
        threading.Event().wait(20)

    server.answers = [never_ending, Server.whole]
    with other_process(server) as process:
        assert started.wait(60)
        process.kill()
        process.wait()
    assert not placed.exists()
    obtain(tiny, progress=False)
    assert placed.read_bytes() == CONTENT


def test_processes_at_once_do_not_disturb_each_other(tiny, server, placed):
    def slowly(handler):
        threading.Event().wait(0.3)
        Server.whole(handler)

    server.answers = [slowly]
    processes = [other_process(server) for _ in range(3)]
    for process in processes:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint.decode()
    assert placed.read_bytes() == CONTENT
    assert leftovers() == []


# Mirror


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    (folder / "tiny/folder").mkdir(parents=True)
    (folder / "tiny/folder/part.bin").write_bytes(CONTENT)
    monkeypatch.setenv("DSLSTUDY_MIRROR", str(folder))
    return folder


def test_the_mirror_comes_first(tiny, server, mirror, placed):
    obtain(tiny, progress=False)
    assert placed.read_bytes() == CONTENT
    assert server.requests == 0


def test_an_altered_mirror_is_refused_and_the_next_source_asked(tiny, server, mirror, placed):
    (mirror / "tiny/folder/part.bin").write_bytes(CONTENT[:-1])
    obtain(tiny, progress=False)
    assert placed.read_bytes() == CONTENT
    assert server.requests == 1


def test_offline_an_altered_mirror_is_named(tiny, server, mirror, placed):
    (mirror / "tiny/folder/part.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=r"part\.bin is altered or truncated.*not tried: offline"):
        obtain(tiny, offline=True)
    (mirror / "tiny/folder/part.bin").unlink()
    with pytest.raises(InputError, match=f"the mirror .no {mirror}/tiny/folder/part.bin"):
        obtain(tiny, offline=True)
    assert server.requests == 0
    assert not placed.exists()


def test_a_mirror_that_is_no_folder_is_a_mistake(tiny, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_MIRROR", "/no/such/folder")
    with pytest.raises(InputError, match="DSLSTUDY_MIRROR is /no/such/folder, which is no folder"):
        obtain(tiny)


def test_the_second_form_will_do(server, mirror):
    first = Form("first", (FileSpec("tiny/one.bin", SHA256),), (Source("mirror"),))
    second = Form("second", (FileSpec("tiny/folder/part.bin", SHA256),), (Source("mirror"),))
    spec = spec_of()
    spec = DatasetSpec(**{**vars(spec), "forms": (first, second)})
    assert obtain(spec) is second
    write = cache_dir() / "tiny/one.bin"
    write.write_bytes(CONTENT)
    assert obtain(spec) is first


def test_a_cache_that_cannot_be_made_is_a_mistake(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DSLSTUDY_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(InputError, match="set DSLSTUDY_CACHE to a folder you may write to"):
        obtain(tiny, progress=False)


def test_without_the_variable_the_users_cache_is_used(monkeypatch, tmp_path):
    monkeypatch.delenv("DSLSTUDY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir().name == "dslstudy"
    assert cache_dir().is_absolute()


# By name


@pytest.fixture
def registered(tiny, monkeypatch):
    monkeypatch.setattr("dslstudy.data.registry.registry", lambda task: {"tiny": tiny, "made": spec_of_generated()})
    return tiny


def spec_of_generated():
    return DatasetSpec(**{**vars(spec_of()), "name": "made", "forms": ()})


def test_fetch_and_verify_by_name(registered, placed):
    assert [status.state for status in verify("tiny")] == ["missing"]
    assert fetch("tiny", progress=False) == (placed,)
    (status,) = verify("tiny")
    assert (status.state, status.path, status.found) == ("ok", placed, SHA256)
    placed.write_bytes(b"damage")
    (status,) = verify("tiny")
    assert (status.state, status.expected) == ("altered", SHA256)
    assert status.found == hashlib.sha256(b"damage").hexdigest()
    assert fetch("made") == ()
    assert verify("made") == []


def test_unknown_names_get_near_ones(registered):
    with pytest.raises(InputError, match=r"unknown data set 'tinny': did you mean tiny\?"):
        fetch("tinny")


# Wheels


def write_wheel(folder, members, name="carrier", version="1.0"):
    """Write a wheel the way a build tool would, so that pip takes it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in {**members, **metadata}.items():
            wheel.writestr(member, content)
        wheel.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*members, *metadata]))
    return path


MEMBERS = {
    "carrier/data/part.bin": CONTENT,
    "carrier/data/deep/a.txt": b"a",
    "carrier/__init__.py": b"raise SystemExit",
}


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that pip finds without any index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    return write_wheel(tmp_path / "links", MEMBERS)


def test_a_data_set_comes_out_of_a_wheel(wheel, placed):
    spec = spec_of(Source("mirror"), Source("wheel", requirement="carrier==1.0", folder="carrier/data"))
    obtain(spec)
    assert placed.read_bytes() == CONTENT
    wheel.unlink()
    assert obtain(spec) is spec.forms[0]
    placed.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=r"the package index for carrier==1\.0 .pip: No matching distribution"):
        obtain(spec)
    with pytest.raises(InputError, match=r"carrier==1\.0 .not tried: offline"):
        obtain(spec, offline=True)


def test_the_wheel_itself_may_lie_in_the_mirror(tmp_path, monkeypatch, placed):
    write_wheel(tmp_path / "mirror", MEMBERS)
    monkeypatch.setenv("DSLSTUDY_MIRROR", str(tmp_path / "mirror"))
    spec = spec_of(Source("mirror"), Source("wheel", requirement="carrier==1.0", folder="carrier/data"))
    obtain(spec, offline=True)
    assert placed.read_bytes() == CONTENT


def test_members_of_a_pinned_wheel(wheel, tmp_path):
    pinned = hashlib.sha256(wheel.read_bytes()).hexdigest()
    ask = lambda: fetch_wheel_members(  # noqa: E731
        "carrier==1.0",
        ["carrier/data/"],
        tmp_path / "out",
        strip="carrier",
        wheel_sha256=pinned,
        find_in=[wheel.parent],
        offline=True,
    )
    there = ask()
    assert there == [tmp_path / "out/data/deep/a.txt", tmp_path / "out/data/part.bin"]
    assert there[1].read_bytes() == CONTENT
    intact = wheel.read_bytes()
    wheel.unlink()
    assert ask() == there, "what is intact is not fetched again"
    there[0].write_bytes(b"b")
    with pytest.raises(InputError, match=r"cannot get carrier==1\.0.*PIP_FIND_LINKS"):
        ask()
    wheel.write_bytes(intact)
    assert ask() == there
    assert there[0].read_bytes() == b"a"


def test_members_with_hashes_of_their_own(wheel, tmp_path):
    ask = lambda members, **more: fetch_wheel_members(  # noqa: E731
        "carrier==1.0", members, tmp_path / "out", find_in=[wheel.parent], **more
    )
    member = "carrier/data/part.bin"
    assert ask({member: SHA256}, offline=True) == [tmp_path / "out" / member]
    with pytest.raises(InputError, match="is altered: its sha256 is not 00"):
        ask({member: "00"})
    with pytest.raises(InputError, match=r"holds no carrier/else\.txt"):
        ask({"carrier/else.txt": "00"})
    with pytest.raises(InputError, match="without a sha256 need the wheel's own"):
        ask([member])
    with pytest.raises(InputError, match=r"has sha256 .* expected 11"):
        ask([member], wheel_sha256="11")
    wheel.write_bytes(wheel.read_bytes()[:-100])
    with pytest.raises(InputError, match="is damaged"):
        ask({member: SHA256[::-1]})


def test_a_manifest_that_is_damaged_counts_for_nothing(wheel, tmp_path):
    pinned = hashlib.sha256(wheel.read_bytes()).hexdigest()
    ask = lambda: fetch_wheel_members(  # noqa: E731
        "carrier==1.0", ["carrier/data/"], tmp_path, wheel_sha256=pinned, find_in=[wheel.parent], offline=True
    )
    first = ask()
    (manifest,) = tmp_path.glob(".carrier*.json")
    for damage in (b"", b"[]", b"{}", json.dumps({"request": {}, "files": {}}).encode()):
        manifest.write_bytes(damage)
        assert ask() == first


def test_unsafe_members_are_refused(tmp_path):
    write_wheel(tmp_path / "links", {"carrier/../../evil.txt": b"x"})
    with pytest.raises(InputError, match="unsafe path"):
        fetch_wheel_members(
            "carrier==1.0", {"carrier/../../evil.txt": hashlib.sha256(b"x").hexdigest()}, tmp_path / "out",
            find_in=[tmp_path / "links"],
        )  # fmt: skip
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_python_without_pip_is_named(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=f"{python} has no pip"):
        fetch_wheel_members("carrier==1.0", {"a": SHA256}, tmp_path / "out")


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    fetching.write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        fetching.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_cached_path_is_below_the_cache():
    assert cached_path(FileSpec("a/b.txt", "")) == cache_dir() / "a/b.txt"
