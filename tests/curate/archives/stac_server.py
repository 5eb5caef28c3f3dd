"""A STAC API server for tests: stac-fastapi over items in memory, behind a layer that can misbehave.

Run as ``python stac_server.py items.ndjson``; prints its port. Routes, models, validation, landing page and
conformance are stac-fastapi's own; here are only the look-up and the faults. ``POST /-/plan`` sets a fault,
``GET /-/log`` tells which searches came.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import attr
import shapely
import uvicorn
from fastapi import HTTPException
from stac_fastapi.api.app import StacApi
from stac_fastapi.api.models import create_get_request_model, create_post_request_model
from stac_fastapi.extensions.filter import SearchFilterExtension
from stac_fastapi.extensions.pagination import TokenPaginationExtension
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.errors import NotFoundError
from stac_fastapi.types.rfc3339 import str_to_interval

FIRST, LAST = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)


def span(properties: dict[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """When an item was taken, from and to."""
    single = properties.get("datetime")
    texts = properties.get("start_datetime") or single, properties.get("end_datetime") or single
    times = [dt.datetime.fromisoformat(text) if text else None for text in texts]
    times = [time and (time if time.tzinfo else time.replace(tzinfo=dt.UTC)) for time in times]
    return times[0] or FIRST, times[1] or LAST


def takes(expression: Any, properties: dict[str, Any]) -> Any:
    """CQL2, as JSON by its operators, as text by DuckDB, whose conditions are written alike."""
    if isinstance(expression, str):
        import duckdb

        names = [name for name in ("eo:cloud_cover",) if name in expression]
        row = ", ".join(f'?::DOUBLE AS "{name}"' for name in names)
        values = [properties.get(name) for name in names]
        found = duckdb.execute(f"SELECT {expression} FROM (SELECT {row})", values).fetchone()
        return bool(found and found[0])
    if not isinstance(expression, dict):
        return expression
    if "property" in expression:
        return properties.get(expression["property"])
    values = [takes(argument, properties) for argument in expression["args"]]
    if expression["op"] == "isNull":
        return values[0] is None
    if expression["op"] == "<=":
        return None not in values and values[0] <= values[1]
    if expression["op"] == "or":
        return any(values)
    raise HTTPException(400, f"no operator {expression['op']}")


@attr.s
class Memory(BaseCoreClient):
    """Look-up in a list, in the order of ids; a token names the last id of the page before."""

    items: list[dict[str, Any]] = attr.ib(factory=list)

    def __attrs_post_init__(self) -> None:
        shapes = [json.dumps(item["geometry"]) if item.get("geometry") else None for item in self.items]
        self.shapes = shapely.make_valid(shapely.from_geojson(shapes))
        shapely.prepare(self.shapes)

    def find(self, request: Any, asked: dict[str, Any], post: bool) -> dict[str, Any]:
        box = shapely.box(*asked["bbox"]) if asked.get("bbox") else None
        when = asked.get("datetime")
        when = str_to_interval(when) if isinstance(when, str) else when
        start, end = when if isinstance(when, tuple) else (when, when)
        wanted = asked.get("filter", asked.get("filter_expr"))
        if wanted is not None and os.environ.get("STAC_FILTER") == "refuse":
            raise HTTPException(int(os.environ.get("STAC_REFUSES_WITH", "400")), "no filters today")
        inside = [True] * len(self.items) if box is None else shapely.intersects(self.shapes, box)
        matched = []
        for item, near in zip(self.items, inside, strict=True):
            if not near or (asked.get("collections") and item.get("collection") not in asked["collections"]):
                continue
            if wanted is not None and not takes(wanted, item["properties"]):
                continue
            first, last = span(item["properties"])
            if (end is None or first <= end) and (start is None or last >= start):
                matched.append(item)
        after = (asked.get("token") or "next:").removeprefix("next:")
        rest = [item for item in matched if item["id"] > after]
        page = rest[: asked["limit"]]
        links = []
        if len(rest) > len(page):
            token = f"next:{page[-1]['id']}"
            link = {"rel": "next", "type": "application/geo+json", "href": str(request.url).split("?")[0]}
            if post and os.environ.get("STAC_MERGE"):
                links = [{**link, "method": "POST", "merge": True, "body": {"token": token}}]
            elif post:
                body = {key: value for key, value in asked.items() if value is not None}
                links = [{**link, "method": "POST", "body": {**body, "token": token}}]
            else:
                query = {**dict(request.query_params), "token": token}
                links = [{**link, "method": "GET", "href": f"{link['href']}?{urlencode(query)}"}]
        return {"type": "FeatureCollection", "features": page, "links": links, "numberMatched": len(matched)}

    def post_search(self, search_request: Any, **kwargs: Any) -> Any:
        return self.find(kwargs["request"], search_request.model_dump(mode="json", by_alias=True), post=True)

    def get_search(self, **kwargs: Any) -> Any:
        return self.find(kwargs.pop("request"), kwargs, post=False)

    def item_collection(self, collection_id: str, **kwargs: Any) -> Any:
        return self.find(kwargs.pop("request"), {**kwargs, "collections": [collection_id]}, post=False)

    def get_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Any:
        for item in self.items:
            if (item["id"], item.get("collection")) == (item_id, collection_id):
                return item
        raise NotFoundError(item_id)

    def all_collections(self, **kwargs: Any) -> Any:
        names = sorted({item["collection"] for item in self.items if item.get("collection")})
        return {"collections": [self.get_collection(name) for name in names], "links": []}

    def get_collection(self, collection_id: str, **kwargs: Any) -> Any:
        return {
            "type": "Collection",
            "id": collection_id,
            "stac_version": "1.0.0",
            "description": "-",
            "links": [],
        }


class Faults:
    """Answers some of the searches wrongly: the plan's ``times`` after the first ``skip``, or those for more
    than ``above`` items."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.plan: dict[str, Any] = {}
        self.log: list[dict[str, Any]] = []
        self.answers: dict[str, list[dict[str, Any]]] = {}  # first pages, by bbox

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] not in ("/search", "/-/plan", "/-/log", "/token"):
            return await self.app(scope, receive, send)
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"].startswith("/-/"):
            if scope["path"] == "/-/plan":
                self.plan, self.log, self.answers = json.loads(body), [], {}
            return await answer(send, 200, json.dumps(self.log).encode())

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
        asked = json.loads(body) if body else query
        number = len(self.log)
        limit = int(asked.get("limit", 10))
        self.log.append({"limit": limit, "time": time.monotonic(), "asked": asked})
        plan, kind = self.plan, self.plan.get("kind")
        due = plan.get("skip", 0) <= number < plan.get("skip", 0) + plan.get("times", 10**9)
        box = str(asked.get("bbox"))
        if (
            not kind
            or not due
            or limit <= plan.get("above", 0)
            or (kind == "repeat" and box not in self.answers)
        ):
            return await self.app(scope, again, self.remembering(send, self.answers.setdefault(box, [])))
        if kind == "status":
            headers = [(b"retry-after", str(plan["after"]).encode())] if "after" in plan else []
            return await answer(send, plan["status"], b'{"detail": "out of order"}', headers)
        if kind == "html":
            return await answer(send, 200, b"<html>Back soon</html>", content=b"text/html")
        if kind == "error document":
            return await answer(send, 200, b'{"code": "Busy", "description": "Try later"}')
        if kind == "repeat":
            for message in self.answers[box]:
                await send(message)
            return None
        if kind == "hang":
            await asyncio.sleep(plan["seconds"])
        if kind == "truncate":
            return await self.app(scope, again, half(send))
        if kind == "counts":
            plain = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
            return await self.app({**scope, "headers": plain}, again, counting(send, plan["more"]))
        if kind == "die":
            os._exit(1)
        return await self.app(scope, again, send)

    def remembering(self, send: Any, answer: list[dict[str, Any]]) -> Any:
        whole = bool(answer)  # an answer has two messages and more

        async def keep(message: dict[str, Any]) -> None:
            if not whole:
                answer.append(message)
            await send(message)

        return keep


def half(send: Any) -> Any:
    """Passes on half of a body and breaks off."""

    async def cut(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": message["body"][: len(message["body"]) // 2], "more_body": False}
        await send(message)

    return cut


def counting(send: Any, more: int) -> Any:
    """Passes on an answer whose count is too high by *more*, as an estimate may be."""
    body = b""

    async def estimate(message: dict[str, Any]) -> None:
        nonlocal body
        if message["type"] == "http.response.start":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            page = json.loads(body)
            await answer(
                send, 200, json.dumps({**page, "numberMatched": page["numberMatched"] + more}).encode()
            )

    return estimate


async def answer(
    send: Any, status: int, body: bytes, headers: Any = (), content: bytes = b"application/json"
) -> None:
    headers = [(b"content-type", content), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    items = sorted((json.loads(line) for line in lines), key=lambda item: item["id"])
    paging = [
        TokenPaginationExtension(),
        *([SearchFilterExtension()] if os.environ.get("STAC_FILTER") else []),
    ]
    api = StacApi(
        settings=ApiSettings(),
        client=Memory(items=items, extensions=paging),
        extensions=paging,
        search_get_request_model=create_get_request_model(paging),
        search_post_request_model=create_post_request_model(paging),
    )
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(Faults(api.app), log_level="critical", lifespan="off"))
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
