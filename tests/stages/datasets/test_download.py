from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stages.datasets import cache, download
from stages.datasets.loading import load_test_split
from stages.errors import DataError
from stages.settings import Data


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    images, labels = np.arange(8 * 4 * 4, dtype=np.uint8).reshape(8, 4, 4), np.arange(8) % 2
    np.savez(buffer, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return buffer.getvalue()


SET = npz_bytes()
SHA256 = hashlib.sha256(SET).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves SET; says nothing of its length at /chunked.npz and breaks off at /short.npz."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path == "/absent.npz":
            return self.send_error(404)
        if self.path == "/slow-head.npz":
            return self.drip(b"HTTP/1.0 200 OK")
        self.send_response(200)
        if self.path != "/chunked.npz":
            self.send_header("Content-Length", str(len(SET)))
        self.end_headers()
        if self.path == "/slow-body.npz":
            return self.drip(SET)
        self.wfile.write(SET[:100] if self.path == "/short.npz" else SET)

    def drip(self, content: bytes) -> None:
        """Send a byte now and then, until the test is over or the other side has had enough."""
        with contextlib.suppress(OSError):
            for byte in itertools.cycle(content):
                self.wfile.write(bytes([byte]))
                if self.server.is_over.wait(0.05):  # type: ignore[attr-defined]
                    return

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test's output is not its own."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.asked, httpd.is_over = [], threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield httpd
        httpd.is_over.set()  # type: ignore[attr-defined]
        httpd.shutdown()
        thread.join()


def address(server: HTTPServer, name: str = "set.npz") -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}"


def test_an_npz_by_its_address_is_fetched_once_and_read(server: HTTPServer) -> None:
    data = Data(name="npz", path=address(server), sha256=SHA256.upper())
    assert data.external_files() == []
    for _ in range(2):
        split = load_test_split(data)
        assert split.images[7, 3, 3, 0] == 127
    assert server.asked == ["/set.npz"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["set.npz", "chunked.npz"])
def test_a_file_that_is_too_large_is_refused_and_not_kept(
    server: HTTPServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=rf"{name} has more than .* allows, 0 MiB"):
        download.fetch(address(server, name), None, 0)
    assert list(cache.folder().iterdir()) == []


def test_a_file_with_another_checksum_is_refused_and_not_kept(server: HTTPServer) -> None:
    data = Data(name="npz", path=address(server), sha256="0" * 64)
    with pytest.raises(DataError, match=rf"set.npz has the SHA-256 {SHA256}, data.sha256 is 000"):
        load_test_split(data)
    assert list(cache.folder().iterdir()) == []


def test_another_checksum_fetches_anew(server: HTTPServer) -> None:
    download.fetch(address(server), None, 1)
    download.fetch(address(server), SHA256, 1)
    assert len(server.asked) == 2  # type: ignore[attr-defined]


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_kept_file_that_changed_is_fetched_again(server: HTTPServer, sha256: str | None) -> None:
    kept = download.fetch(address(server), sha256, 1)
    flip_a_bit(kept)
    assert download.fetch(address(server), sha256, 1).read_bytes() == SET
    assert len(server.asked) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["slow-head.npz", "slow-body.npz"])
def test_a_server_that_drips_is_given_up(
    server: HTTPServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "WINDOW_SECONDS", 0.2)
    with pytest.raises(DataError, match=rf"{name} cannot be fetched \(\d+ bytes in 0.2 s, exp"):
        download.fetch(address(server, name), None, 1)
    assert not list(cache.folder().iterdir())


def test_a_download_has_a_deadline(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "DEADLINE_SECONDS", 0.1)
    with pytest.raises(DataError, match="not finished after"):
        download.fetch(address(server, "slow-body.npz"), None, 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("absent.npz", "Not Found"), ("short.npz", "ended after 100 of|Incomplete")],
)
def test_a_download_that_fails_names_address_and_reason(
    server: HTTPServer, name: str, reason: str
) -> None:
    with pytest.raises(DataError, match=rf"{name} cannot be fetched \(.*({reason})"):
        download.fetch(address(server, name), None, 1)
    assert list(cache.folder().iterdir()) == []


def test_a_server_that_does_not_answer_is_named(server: HTTPServer) -> None:
    # The discard port: refused at once.
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/x\.npz cannot be fetched") as caught:
        download.fetch("http://127.0.0.1:9/x.npz", None, 1)
    assert "data.path=FILE" in caught.value.hint


@pytest.mark.parametrize("path", ["file:///etc/passwd", "ftp://host/set.npz"])
def test_only_http_is_fetched(path: str) -> None:
    with pytest.raises(ValidationError, match="a path, or an address that begins with http"):
        Data(name="npz", path=path)


def test_pickled_arrays_by_address_are_never_loaded(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(buffer, x_train=objects, y_train=objects, x_test=objects, y_test=objects)
    monkeypatch.setattr(f"{__name__}.SET", buffer.getvalue())
    with pytest.raises(DataError, match=r"set\.npz holds pickled objects"):
        load_test_split(Data(name="npz", path=address(server)))
