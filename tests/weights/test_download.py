"""Downloads from a server of our own: only whole, verified files arrive, and each of them once."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NoReturn

import pytest

from covidct.errors import WeightsError
from covidct.weights import transfer as transfer_module
from covidct.weights.download import OFFLINE, download

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TAG = '"one"'


class Weights(BaseHTTPRequestHandler):
    """Gives ``CONTENT`` in the way that the path names, and keeps what was asked for."""

    protocol_version = "HTTP/1.1"
    asked: Counter[str]
    ranges: list[str | None]

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        kind = self.path.strip("/").partition(".")[0]
        self.asked[kind] += 1
        self.ranges.append(self.headers["Range"])
        getattr(self, kind)()

    def answer(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None

    def good(self) -> None:
        self.answer(CONTENT)

    def other(self) -> None:
        self.answer(CONTENT[::-1])

    def short(self) -> None:
        self.answer(CONTENT[:1000])

    def long(self) -> None:
        self.answer(CONTENT + b"x")

    def endless(self) -> None:
        """No length at all, and more than the file has."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(CONTENT + b"x")
        self.close_connection = True

    def truncated(self) -> None:
        self.answer(CONTENT[:500_000], length=len(CONTENT))

    def page(self) -> None:
        self.answer(b"<!DOCTYPE html><title>Sign in</title>", Content_Type="text/html; charset=utf-8")

    def hidden_page(self) -> None:
        self.answer(b"\n  <html><title>Sign in</title>", Content_Type="application/octet-stream")

    def absent(self) -> None:
        self.answer(b"gone", status=404)

    def busy(self) -> None:
        """An error at the first time, then the file."""
        self.answer(b"", status=503) if self.asked["busy"] == 1 else self.good()

    def plain(self) -> None:
        self.answer(b"", status=302, Location="http://example.org/good.pth")

    def moved(self) -> None:
        self.answer(b"", status=302, Location="/good.pth")

    def circle(self) -> None:
        self.answer(b"", status=302, Location="/circle.pth")

    def cut(self) -> None:
        """The first half, then the rest for who asks for it with the right tag."""
        begun = int((self.headers["Range"] or "bytes=0-")[len("bytes=") : -1])
        if begun and self.headers["If-Range"] == TAG:
            where = f"bytes {begun}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self.answer(CONTENT[begun:], status=206, ETag=TAG, Content_Range=where)
        else:
            self.answer(CONTENT[:600_000], length=len(CONTENT), ETag=TAG)

    def changed(self) -> None:
        """The first half of another file, then the right one: the tag has changed."""
        if self.asked["changed"] == 1:
            self.answer(CONTENT[::-1][:600_000], length=len(CONTENT), ETag='"before"')
        else:
            self.answer(CONTENT, ETag=TAG)

    def misplaced(self) -> None:
        """A part that begins elsewhere."""
        if self.headers["Range"]:
            self.answer(CONTENT[5:], status=206, Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.answer(CONTENT[:600_000], length=len(CONTENT), ETag=TAG)

    def beyond(self) -> None:
        """Refuses every range."""
        self.answer(b"", status=416) if self.headers["Range"] else self.answer(CONTENT, ETag=TAG)


@pytest.fixture
def handler() -> type[Weights]:
    return type("Handler", (Weights,), {"asked": Counter(), "ranges": []})


@pytest.fixture
def server(handler: type[Weights], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the server, which plain http is taken from here alone; no pauses between tries."""
    monkeypatch.delenv(OFFLINE, raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(transfer_module, "_PLAIN_HTTP", frozenset({"127.0.0.1"}))
    monkeypatch.setattr("covidct.weights.download._PAUSE", 0.0)
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    thread.join()
    made.server_close()


def fetch(folder: Path, *urls: str, sha256: str | None = SHA256, size: int | None = len(CONTENT)) -> Path:
    return download(urls, folder / "cache" / "w.pth", sha256=sha256, size=size)


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "cache").iterdir()} - {"w.pth.lock"}


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_whole_file_arrives_once(server: str, handler: type[Weights], tmp_path: Path, size: int | None) -> None:
    path = fetch(tmp_path, f"{server}/good.pth", size=size)
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == {"w.pth"}
    assert fetch(tmp_path, f"{server}/good.pth") == path
    assert handler.asked == {"good": 1}


def test_a_damaged_file_in_the_cache_is_fetched_anew(server: str, tmp_path: Path) -> None:
    path = fetch(tmp_path, f"{server}/good.pth")
    for damaged in (CONTENT[:-1], CONTENT[:-1] + b"x"):
        path.write_bytes(damaged)
        assert fetch(tmp_path, f"{server}/good.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("other", "its sha256 is"),
        ("short", "it has 1000 bytes instead of 1024000"),
        ("long", "it has 1024001 bytes instead of 1024000"),
        ("endless", "it has more bytes than 1024000"),
        ("page", "web page"),
        ("hidden_page", "web page"),
        ("absent", "the server answers 404"),
        ("plain", r"redirects to http://example\.org, and only https is taken"),
        ("circle", "302"),
    ],
)
def test_nothing_else_stays_in_the_cache(server: str, tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason) as error:
        fetch(tmp_path, f"{server}/{kind}.pth")
    for part in (f"{server}/{kind}.pth", SHA256, str(tmp_path / "cache" / "w.pth"), "on another machine"):
        assert part in str(error.value)
    assert left(tmp_path) == set()


@pytest.mark.parametrize("kind", ["other", "short", "page"])
def test_without_a_known_size_the_digest_decides(server: str, tmp_path: Path, kind: str) -> None:
    with pytest.raises(WeightsError):
        fetch(tmp_path, f"{server}/{kind}.pth", size=None, sha256=SHA256[:8])
    assert left(tmp_path) == set()


def test_a_truncated_body_is_no_file(server: str, handler: type[Weights], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cut after 500000 of 1024000 bytes"):
        fetch(tmp_path, f"{server}/truncated.pth")
    assert left(tmp_path) == {"w.pth.part"}  # not under the name that is read; the next try begins anew
    assert handler.ranges == [None] * 4  # the server said nothing that would validate the part
    assert fetch(tmp_path, f"{server}/good.pth").read_bytes() == CONTENT
    assert left(tmp_path) == {"w.pth"}


def test_a_cut_download_goes_on_where_it_was(server: str, handler: type[Weights], tmp_path: Path) -> None:
    assert fetch(tmp_path, f"{server}/cut.pth").read_bytes() == CONTENT
    assert handler.ranges == [None, "bytes=600000-"]
    assert left(tmp_path) == {"w.pth"}


def test_a_later_process_goes_on_too(
    server: str, handler: type[Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covidct.weights.download._TRIES", 1)
    with pytest.raises(WeightsError, match="cut after 600000"):
        fetch(tmp_path, f"{server}/cut.pth")
    assert left(tmp_path) == {"w.pth.part", "w.pth.part.json"}
    assert fetch(tmp_path, f"{server}/cut.pth").read_bytes() == CONTENT
    assert handler.ranges == [None, "bytes=600000-"]


@pytest.mark.parametrize("kind", ["changed", "busy", "moved", "beyond"])
def test_what_passes_is_tried_again(server: str, tmp_path: Path, kind: str) -> None:
    partial = tmp_path / "cache" / "w.pth.part"
    partial.parent.mkdir()
    if kind == "beyond":
        partial.write_bytes(CONTENT[:900])
        partial.with_name("w.pth.part.json").write_text(json.dumps({"url": f"{server}/{kind}.pth", "validator": TAG}))
    assert fetch(tmp_path, f"{server}/{kind}.pth").read_bytes() == CONTENT
    assert left(tmp_path) == {"w.pth"}


@pytest.mark.parametrize("state", ["damaged", "whole", "of another address", "unreadable"])
def test_parts_of_before(server: str, handler: type[Weights], tmp_path: Path, state: str) -> None:
    partial = tmp_path / "cache" / "w.pth.part"
    partial.parent.mkdir()
    partial.write_bytes({"damaged": bytes(600_000), "whole": CONTENT}.get(state, CONTENT[:600_000]))
    url = f"{server}/cut.pth"
    known = {"url": "https://example.org/w.pth" if state == "of another address" else url, "validator": TAG}
    note = "{" if state == "unreadable" else json.dumps(known)
    partial.with_name("w.pth.part.json").write_text(note)
    assert fetch(tmp_path, url).read_bytes() == CONTENT
    asked = {"damaged": ["bytes=600000-", None, "bytes=600000-"], "whole": []}
    assert handler.ranges == asked.get(state, [None, "bytes=600000-"])


def test_a_part_that_begins_elsewhere_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="another part of the file"):
        fetch(tmp_path, f"{server}/misplaced.pth")
    assert left(tmp_path) == set()


def test_mirrors_are_tried_in_order(server: str, handler: type[Weights], tmp_path: Path) -> None:
    urls = [f"{server}/{kind}.pth" for kind in ("absent", "other", "good", "long")]
    assert fetch(tmp_path, *urls).read_bytes() == CONTENT
    assert handler.asked == {"absent": 1, "other": 1, "good": 1}
    with pytest.raises(WeightsError, match=r"absent\.pth: the server answers 404.*; .*long\.pth: it has"):
        download(urls[::3], tmp_path / "again" / "w.pth", sha256=SHA256, size=len(CONTENT))


@pytest.mark.parametrize("url", ["http://127.0.0.2/w.pth", "ftp://127.0.0.1/w", "file:///etc/hosts", "w.pth"])
def test_only_https_is_taken(server: str, tmp_path: Path, url: str) -> None:
    with pytest.raises(WeightsError, match="only https is taken"):
        fetch(tmp_path, url)


def test_plain_http_is_refused_outside_the_tests() -> None:
    assert frozenset() == transfer_module._PLAIN_HTTP


def test_nobody_at_the_address(server: str, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/w.pth"
    with pytest.raises(WeightsError, match="refused"):
        fetch(tmp_path, url)


def test_offline_opens_no_socket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError

    path = fetch(tmp_path, f"{server}/good.pth")
    monkeypatch.setenv(OFFLINE, "1")
    monkeypatch.setattr(socket, "socket", refuse)
    assert fetch(tmp_path, f"{server}/good.pth") == path
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="COVIDCT_OFFLINE forbids") as error:
        fetch(tmp_path, f"{server}/good.pth")
    for part in (f"{server}/good.pth", SHA256, str(path), "on another machine", "unset it"):
        assert part in str(error.value)


@pytest.mark.parametrize("value", ["", "0", "False", "no", "OFF"])
def test_offline_can_be_denied(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(OFFLINE, value)
    assert fetch(tmp_path, f"{server}/good.pth").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(WeightsError, match=r"cannot be written to .*cache"):
        fetch(tmp_path, f"{server}/good.pth")


def test_a_full_disk_leaves_nothing(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(url: str, partial: Path, **_: object) -> None:
        partial.write_bytes(b"the first")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("covidct.weights.download.transfer", full)
    with pytest.raises(WeightsError, match="No space left"):
        fetch(tmp_path, f"{server}/good.pth")
    assert left(tmp_path) == set()


def test_progress_is_for_terminals(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(tmp_path, f"{server}/good.pth")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    (tmp_path / "cache" / "w.pth").unlink()
    fetch(tmp_path, f"{server}/good.pth")
    assert "w.pth" in capsys.readouterr().err


def test_eight_processes_fetch_once(server: str, handler: type[Weights], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from covidct.weights import transfer; from covidct.weights.download import download\n"
        "transfer._PLAIN_HTTP = frozenset({'127.0.0.1'})\n"
        "path = download([sys.argv[1]], Path(sys.argv[2]), sha256=sys.argv[3], size=int(sys.argv[4]))\n"
        "print(len(path.read_bytes()))"
    )
    arguments = [f"{server}/good.pth", str(tmp_path / "cache" / "w.pth"), SHA256, str(len(CONTENT))]
    started = [
        subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in started] == [str(len(CONTENT))] * 8
    assert handler.asked == {"good": 1}
    assert left(tmp_path) == {"w.pth"}
