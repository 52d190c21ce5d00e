"""`pods/NAME/log`.  Upstream: registry/core/pod/rest/log.go."""

from __future__ import annotations

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.http import Reply
from cluster.apiserver.streams import IteratedSource
from cluster.apiserver.subresources.pods import target_of
from cluster.client.node_channel import LogOptions
from cluster.machinery.errors import BadRequest
from cluster.machinery.numbers import whole_number


async def read_log(backend: Backend, call: Call) -> Result:
    target = target_of(backend, call)
    source = IteratedSource(target.channel.logs(target.container, _options_of(call)))
    await source.started()
    return Reply(stream=source, content_type="text/plain")


def _options_of(call: Call) -> LogOptions:
    since_s, since_time = _number(call, "sinceSeconds"), call.request.parameter("sinceTime")
    if since_s is not None and since_time:
        raise BadRequest("at most one of `sinceTime` or `sinceSeconds` may be specified")
    return LogOptions(
        follow=call.is_set("follow"),
        previous=call.is_set("previous"),
        timestamps=call.is_set("timestamps"),
        since_s=since_s,
        since_time=since_time,
        tail_lines=_number(call, "tailLines"),
        limit_bytes=_number(call, "limitBytes"),
    )


def _number(call: Call, name: str) -> int | None:
    text = call.request.parameter(name)
    if not text:
        return None
    if (number := whole_number(text)) is None:
        raise BadRequest(f'{name}: Invalid value: "{text}": must be a number that is not negative')
    return number
