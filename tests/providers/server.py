"""A local server that speaks the four chat APIs, plans by rule, and remembers what it was sent."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.providers.apis import APIS, Api, Refused, Reply, Turn, checked

_ANNOUNCED = re.compile(r"\[image (img_[0-9]+), [0-9]+x[0-9]+\]")
_NAMED = re.compile(r"\b(img_[0-9]+(?:\.c[0-9]+)*)\b")


@dataclass
class Planner:
    """Asks a tool about the image that the user names, else about the newest announced."""

    bodies: list[str] = field(default_factory=list)
    turns: list[Sequence[Turn]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def reply(self, api: Api, body: str) -> Reply:
        self.bodies.append(body)
        turns = checked(api.read(json.loads(body)))
        self.turns.append(turns)
        return self.plan(turns)

    def plan(self, turns: Sequence[Turn]) -> Reply:
        """The next step."""
        last_tool = max((i for i, t in enumerate(turns) if t.role == "tool"), default=-1)
        last_user = max(i for i, t in enumerate(turns) if t.role == "user" and _is_users(t))
        if last_tool > last_user:
            return Reply(f"It says: {turns[last_tool].text}")
        said = turns[last_user].text
        named = _NAMED.findall(_ANNOUNCED.sub("", said)) or self._announced(turns)
        if not named:
            return Reply("There is no image.")
        args = {"image": named[-1], "question": "What colour is it?"}
        return Reply(call=(f"call_{len(self.bodies)}", "grounded_vqa", args))

    def _announced(self, turns: Sequence[Turn]) -> list[str]:
        return _ANNOUNCED.findall(" ".join(turn.text for turn in turns if turn.role == "user"))


def _is_users(turn: Turn) -> bool:
    return not turn.text.lstrip().startswith("Crops cut by")


@contextmanager
def serving(planner: Planner) -> Iterator[str]:
    """The address of the planner's server."""
    by_path = {api.path: api for api in APIS.values()}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            api = by_path[self.path.partition("?")[0]]
            try:
                status, told = 200, api.write(planner.reply(api, body))
            except Refused as refused:
                planner.refusals.append(str(refused))
                status, told = 400, {"error": {"message": str(refused)}}
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
