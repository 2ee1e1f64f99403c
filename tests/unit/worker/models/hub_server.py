"""A hub on this machine, for its client: repositories with files, some gated, some private."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "a" * 40


@dataclass
class Repositories:
    """``files`` by repository; ``gated`` and ``broken`` are names of repositories.

    A file named in ``held`` is sent but for its last byte, until ``go``.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    go: threading.Event = field(default_factory=threading.Event)
    sent: list[str] = field(default_factory=list)
    address: str = ""


class _Answers(BaseHTTPRequestHandler):
    repositories: Repositories
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0].strip("/").split("/")
        rest = path[2:] if path[0] == "api" else path
        name, known = "/".join(rest[:2]), self.repositories
        if name in known.broken:
            return self._answer(500, b"")
        if name not in known.files:
            return self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        if name in known.gated and (path[0] != "api" or "auth-check" in path):
            return self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if path[0] == "api":
            return self._api(name, rest[2:])
        return self._file(name, "/".join(rest[4:]))

    def _api(self, name: str, rest: list[str]) -> None:
        files = self.repositories.files[name]
        rows = [{"rfilename": file, "size": len(data)} for file, data in files.items()]
        info: Any = {"id": name, "sha": SHA, "siblings": rows, "gated": False}
        if name in self.repositories.gated:
            info["gated"] = "manual"
        if rest[:1] == ["tree"]:
            info = [
                {"type": "file", "path": file, "size": len(data), "oid": "b" * 40}
                for file, data in files.items()
            ]
        self._answer(200, json.dumps(info).encode())

    def _file(self, name: str, file: str) -> None:
        data = self.repositories.files[name][file]
        etag = hashlib.sha1(data).hexdigest()
        self._answer(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA}, file)

    def _answer(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, file: str = ""
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if file in self.repositories.held:
            self.wfile.write(data[:-1])
            self.wfile.flush()
            self.repositories.go.wait(60)
            data = data[-1:]
        if file:
            self.repositories.sent.append(file)
        self.wfile.write(data)


@contextmanager
def hub_server(repositories: Repositories) -> Iterator[str]:
    """Serve them; yields the address."""
    handler = type("Handler", (_Answers,), {"repositories": repositories})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        repositories.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
