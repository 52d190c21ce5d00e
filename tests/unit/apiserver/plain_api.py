"""An API server for tests that are plain functions: one loop, asked one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qs

import orjson

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, Reply
from tests.apiservers import ADMIN, running


class Api:
    """A server and the loop it lives on.  Called, it returns the object that is answered and fails the test on a refusal."""

    def __init__(self, runner: asyncio.Runner, server: ApiServer) -> None:
        self._runner = runner
        self.server = server

    def reply(
        self, method: str, path: str, body: Any = None, media: str = "json", accept: str = "", **query: str
    ) -> Reply:
        """A body that is not bytes is sent as JSON; parameters may stand in `path` or, with `_` after keywords, in `query`."""
        headers = {"content-type": f"application/{media}", "user-agent": "law/1"} | (
            {"accept": accept} if accept else {}
        )
        sent = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        path, _, asked = path.partition("?")
        parameters: Mapping[str, Any] = {
            **parse_qs(asked, keep_blank_values=True),
            **{name.rstrip("_"): [value] for name, value in query.items()},
        }
        return self._runner.run(self.server(ApiRequest(method, path, ADMIN, parameters, headers, sent)))

    def __call__(self, method: str, path: str, body: Any = None, media: str = "json", **query: str) -> Any:
        reply = self.reply(method, path, body, media, **query)
        content = content_of(reply)
        assert reply.status < 300, content
        return content

    def refused(self, method: str, path: str, body: Any = None, media: str = "json", **query: str) -> Any:
        """The Status of a request that must fail."""
        reply = self.reply(method, path, body, media, **query)
        status = content_of(reply)
        assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", reply.status), status
        return status


def content_of(reply: Reply) -> Any:
    return orjson.loads(reply.body) if reply.body else reply.obj


@contextmanager
def plain_api() -> Iterator[Api]:
    with asyncio.Runner() as runner:
        entered = AsyncExitStack()
        yield Api(runner, runner.run(entered.enter_async_context(running())))
        runner.run(entered.aclose())
