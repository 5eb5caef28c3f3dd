"""A file server for tests: starlette's files behind uvicorn, with range requests, a log, and faults on demand.

Run as ``python file_server.py folder``; prints its port. ``POST /-/plan`` sets a fault, ``GET /-/log`` tells what was
asked for. With ``--store port`` it passes everything on to an S3 server instead, so that the same is known of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import urllib3
import uvicorn
from starlette.responses import FileResponse, Response


class Folder:
    """Files of a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).resolve()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = self.folder / scope["path"].lstrip("/")
        response = FileResponse(path) if path.is_file() else Response("no such file", 404)
        await response(scope, receive, send)


class Store:
    """An S3 server on another port. It answers parts of a file with 200, where S3 has 206; that is put right here."""

    def __init__(self, port: str) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.http = urllib3.PoolManager(maxsize=16, retries=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        query = scope["query_string"].decode()
        url = self.root + scope["raw_path"].decode() + (f"?{query}" if query else "")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        answer = await asyncio.to_thread(
            self.http.request, scope["method"], url, headers=headers, body=body, redirect=False
        )
        status = 206 if answer.status == 200 and "Content-Range" in answer.headers else answer.status
        hop = ("connection", "transfer-encoding", "date", "server")
        kept = [(n.lower().encode(), v.encode()) for n, v in answer.headers.items() if n.lower() not in hop]
        await send({"type": "http.response.start", "status": status, "headers": kept})
        await send({"type": "http.response.body", "body": answer.data})


class Watched:
    """Logs what is asked for and how much was sent, and misbehaves as the plan says.

    The plan's ``kind`` befalls paths that contain ``path``, from request number ``skip`` on, ``times`` times.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.plan: dict[str, Any] = {}
        self.log: list[dict[str, Any]] = []
        self.due = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/-/plan":
            body = (await receive()).get("body", b"")
            self.plan, self.log, self.due = json.loads(body), [], 0
            return await Response("[]")(scope, receive, send)
        if scope["path"] == "/-/log":
            return await Response(json.dumps(self.log))(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        entry = {"method": scope["method"], "path": scope["path"], "range": headers.get("range"), "sent": 0}
        entry |= {"payer": headers.get("x-amz-request-payer"), "query": scope["query_string"].decode()}
        self.log.append(entry)
        plan = self.plan
        if plan.get("kind") and plan.get("path", "") in scope["path"]:
            number, self.due = self.due, self.due + 1
            first = plan.get("skip", 0)
            if first <= number < first + plan.get("times", 10**9):
                return await self.fault(plan, scope, receive, send)

        async def counting(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
            entry["sent"] += len(message.get("body", b""))
            await send(message)

        return await self.app(scope, receive, counting)

    async def fault(self, plan: dict[str, Any], scope: Any, receive: Any, send: Any) -> None:
        if plan["kind"] == "status":
            headers = {"retry-after": str(plan["after"])} if "after" in plan else {}
            return await Response("out of order", plan["status"], headers)(scope, receive, send)
        if plan["kind"] == "hang":
            await asyncio.sleep(plan["seconds"])
        if plan["kind"] == "die":
            os._exit(1)
        if plan["kind"] == "whole":  # no range requests
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
        if plan["kind"] == "truncate":

            async def half(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.body":
                    body = message.get("body", b"")
                    message = {**message, "body": body[: len(body) // 2], "more_body": False}
                await send(message)

            return await self.app(scope, receive, half)
        return await self.app(scope, receive, send)


def main() -> None:
    app = Store(sys.argv[2]) if sys.argv[1] == "--store" else Folder(sys.argv[1])
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(Watched(app), log_level="critical", lifespan="off"))
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
