"""A Hugging Face hub of one machine: its cache layout, and a server that speaks its protocol."""

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"

# One process for many sources: the libraries read their environment when they are imported.
_OPEN = """
import json, sys
from pathlib import Path
from frostline.errors import FrostlineError
from frostline.inits import open_source
for source in sys.argv[1:]:
    try:
        found = open_source(source, Path())
        answer = {"name": found.name, "sha256": found.sha256, "tensors": len(found.checkpoint)}
        if found.normalisation:
            answer["mean"] = found.normalisation.mean
    except FrostlineError as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(answer))
"""


def put_in_cache(
    home: Path, repo: str, file: str, content: bytes, *, ref: str = "main", commit: str = COMMIT
) -> None:
    """Lay a file down as ``huggingface_hub`` does: a blob, a snapshot that links to it, a ref."""
    root = home / "hub" / f"models--{repo.replace('/', '--')}"
    blob = root / "blobs" / hashlib.sha256(content).hexdigest()
    snapshot = root / "snapshots" / commit / file
    for folder in (blob.parent, snapshot.parent, (root / "refs" / ref).parent):
        folder.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    snapshot.symlink_to(os.path.relpath(blob, snapshot.parent))
    (root / "refs" / ref).write_text(commit)


def open_sources(*sources: str, **environment: str) -> list[dict[str, Any]]:
    """What ``open_source`` says of each in a process of its own, under that environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, *sources],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def closed_port() -> str:
    """An address of this machine at which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def hub(files: Mapping[str, bytes]) -> Iterator[str]:
    """A hub whose repositories are those that ``files`` names (``owner/repo/file``)."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            repo, _, rest = self.path.strip("/").partition("/resolve/")
            content = files.get(f"{repo}/{rest.partition('/')[2]}")
            known = any(name.startswith(f"{repo}/") for name in files)
            if repo.startswith("broken/"):
                self.send_response(503)
            elif rest.startswith("gone/"):
                self.send_response(404)
                self.send_header("X-Error-Code", "RevisionNotFound")
            elif content is None:
                self.send_response(404 if known else 401)
                self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            else:
                self.send_response(200)
                published = b"" if repo.startswith("tampered/") else content
                self.send_header("ETag", f'"{hashlib.sha256(published).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if with_body and content:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
