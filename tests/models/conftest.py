"""A registry of small models, and a server of their files that misbehaves as it is told to."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tomli_w

from lbpmap import caffe
from lbpmap.cli import main
from lbpmap.emotion import synthetic
from lbpmap.models import download, fetch, known
from lbpmap.models.download import Patience

DEPLOY = """
name: "tiny"
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: OUTPUTS } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
PUBLISHED = {
    "title": "Somebody, Something, 2015",
    "licence": "none stated",
    "non_commercial": True,
    "page": "https://example.org/page",
}


QUIET = {"say": lambda *_: None, "progress": lambda *_: None}


def sha256(raw):
    return hashlib.sha256(raw).hexdigest()


def fetch_weights(root, **options):
    one = known.load()["one"]
    return fetch.fetch(one, one.file("tiny.caffemodel"), root, **QUIET, **options)


def part(tmp_path):
    return tmp_path / "cache" / "downloads" / "one" / "tiny.caffemodel.part"


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Give the bytes of a small net's files: some 150 KB of weights."""
    folder = tmp_path_factory.mktemp("tiny")
    deploy, weights = folder / "deploy.prototxt", folder / "tiny.caffemodel"
    deploy.write_text(DEPLOY.replace("OUTPUTS", "200"))
    synthetic.write_random_weights(deploy, weights, 1)
    mean = caffe.io.array_to_blobproto(np.full((1, 3, 8, 8), 100.0)).SerializeToString()
    return {
        "tiny.caffemodel": weights.read_bytes(),
        "mean.binaryproto": mean,
        "deploy.prototxt": deploy.read_bytes(),
    }


@pytest.fixture
def registry(tmp_path, monkeypatch, files):
    """Write registries: of the sets `one` and `two`, whose weights have a known size."""
    path = tmp_path / "registry.toml"
    monkeypatch.setenv("LBPMAP_REGISTRY", str(path))

    def write(sets=None, **weights):
        about = {"bytes": len(files["tiny.caffemodel"]), **weights}
        about = {key: value for key, value in about.items() if value is not None}
        each = {
            "tiny.caffemodel": about,
            "mean.binaryproto": {},
            "deploy.prototxt": {"optional": True},
        }
        default = {name: {"about": "faces", "files": each} for name in ("one", "two")}
        sets = {name: {"publication": "p", **s} for name, s in (sets or default).items()}
        fields = {"format": 1, "publications": {"p": PUBLISHED}, "sets": sets}
        path.write_text(tomli_w.dumps(fields))
        return path

    write()
    return write


@pytest.fixture
def root(tmp_path, monkeypatch, registry):
    """Give the folder of models that the commands write to; cache and data are in `tmp_path`."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("LBPMAP_MODELS", str(folder))
    monkeypatch.setenv("LBPMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("LBPMAP_OFFLINE", "LBPMAP_MIRROR", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return folder


@pytest.fixture
def run(root, capsys):
    """Run ``lbpmap models``: exit code, lines of output, lines of the error stream."""

    def run(*arguments):
        code = main(["models", *map(str, arguments)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out.splitlines(), said.err.splitlines()

    return run


def tree(folder):
    """List the files below a folder, without locks."""
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if not name.endswith(".lock"))


@dataclass
class Answer:
    """How the server answers one request; the defaults are a good server's."""

    status: int = 200
    body: bytes | None = None
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    length: bool = True
    cut: int | None = None  # bytes after which it hangs up
    wait: float = 0.0  # seconds before the body
    pace: float = 0.0  # seconds after each block of 16 KB
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    path: str
    range: str | None
    if_range: str | None


class Site:
    """A server on this machine: what it holds, how it answers next, and what it was asked."""

    def __init__(self, server):
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.files: dict[str, bytes] = {}
        self.next: list[Answer] = []
        self.always = Answer()
        self.asked: list[Asked] = []


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        site = self.server.site
        asked = Asked(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        site.asked.append(asked)
        answer = site.next.pop(0) if site.next else site.always
        data = site.files.get(self.path) if answer.body is None else answer.body
        if data is None:
            self.send_error(404)
            return
        try:
            self.answer(answer, data, asked)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, answer, data, asked):
        status, start = answer.status, 0
        headers = {"ETag": answer.etag, "Last-Modified": answer.modified}
        same = asked.if_range in (answer.etag, answer.modified)
        if asked.range and answer.ranges and status == 200 and same:
            start = int(asked.range[len("bytes=") : -1])
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if answer.length:
            headers["Content-Length"] = str(len(data) - start)
        self.send_response(status)
        for key, value in {**headers, **answer.headers}.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        self.wfile.flush()
        time.sleep(answer.wait)
        rest = data[start : answer.cut]
        for at in range(0, len(rest), 1 << 14):
            self.wfile.write(rest[at : at + (1 << 14)])
            time.sleep(answer.pace)


@pytest.fixture
def site(monkeypatch, files, root):
    """Serve the files of `one` and `two` as a mirror does; little patience is had with it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.site = site = Site(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in ("one", "two"):
        site.files.update({f"/{name}/{file}": raw for file, raw in files.items()})
    monkeypatch.setenv("LBPMAP_MIRROR", site.url)
    monkeypatch.setattr(download, "PATIENCE", Patience(timeout=10, attempts=3, pause=0.01))
    yield site
    server.shutdown()
    thread.join()
    server.server_close()
