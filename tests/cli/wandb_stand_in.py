"""A small stand-in for W&B's server, as far as W&B's client asks: runs, curves, files."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "a5ecre7" + "0" * 33


class StandIn(ThreadingHTTPServer):
    """Serves on loopback.

    Args:
        refusing: whether it refuses the curves.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusing = False
        self.runs: dict[str, list[dict[str, Any]]] = {}  # by id: the lines of its history
        self.configs: dict[str, dict[str, Any]] = {}
        self.files: list[str] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads W&B's client to it, and gives up soon."""
        retries = {f"WANDB_X_{kind}_RETRY_MAX": "1" for kind in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")}
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, **retries}

    def graphql(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data of an answer."""
        project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "team"}}
        if name == "RunResumeStatus":
            lines = self.runs.get(given["name"])
            return {"model": {**project, "bucket": None if lines is None else _resumed(given["name"], lines)}}
        if name == "UpsertBucket":
            self.runs.setdefault(given["name"], [])
            self.configs[given["name"]] = json.loads(given.get("config") or "{}")
            bucket = {"id": "r", "name": given["name"], "displayName": given["name"], "config": "{}"}
            return {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}


def _resumed(name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {"historyLineCount": len(lines), "logLineCount": 0, "eventsLineCount": 0}
    tails = {"historyTail": json.dumps([json.dumps(line) for line in lines[-1:]]), "eventsTail": "[]"}
    return {
        "name": name,
        "summaryMetrics": "{}",
        "config": "{}",
        "wandbConfig": '{"t": 1}',
        "tags": [],
        **counts,
        **tails,
    }


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *words: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer({})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.files.append(self.path.removeprefix("/upload/"))
        self._answer({})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/graphql"):
            asked = json.loads(data)
            found = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            assert found is not None
            self._answer({"data": self.server.graphql(found[1], asked.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            if self.server.refusing:
                self._answer({"error": "no"}, 404)
                return
            lines = self.server.runs[self.path.split("/")[-2]]
            for name, part in json.loads(data).get("files", {}).items():
                if name == "wandb-history.jsonl":
                    lines[part["offset"] :] = [json.loads(line) for line in part["content"]]
            self._answer({"limits": {}})
        else:
            self._answer({})

    def _answer(self, answer: dict[str, Any], code: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data if self.command != "HEAD" else b"")


@contextlib.contextmanager
def serving() -> Iterator[StandIn]:
    """One that serves while it lasts."""
    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
