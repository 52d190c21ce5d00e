"""`pods/NAME/exec` and `/attach`: a session over WebSockets, or over SPDY for kubectl before 1.30."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.http import RawConnection, Reply
from cluster.apiserver.subresources import session_spdy, session_websocket
from cluster.apiserver.subresources.pods import connection_target
from cluster.apiserver.subresources.session import Opener, serve_session
from cluster.apiserver.subresources.session_spdy import SpdyPeer, is_spdy, spdy_handshake, spdy_protocol
from cluster.apiserver.subresources.session_websocket import WebSocketPeer
from cluster.apiserver.websocket import WebSocket, accepted_protocol, handshake
from cluster.client.node_channel import ExecSession
from cluster.machinery.errors import BadRequest
from cluster.machinery.objects import Obj


async def exec_in_container(backend: Backend, call: Call) -> Result:
    command = list(call.request.query.get("command", ()))
    if not command:
        raise BadRequest("you must specify at least one command")
    streams = _streams_of(call)
    options = {"kind": "PodExecOptions", **_options_of(call, streams), "command": command}
    target = await connection_target(backend, call, options)
    return _upgraded(call, streams, lambda: target.channel.exec(target.container, command, **streams))


async def attach_to_container(backend: Backend, call: Call) -> Result:
    streams = _streams_of(call)
    target = await connection_target(backend, call, {"kind": "PodAttachOptions", **_options_of(call, streams)})
    return _upgraded(call, streams, lambda: target.channel.attach(target.container, **streams))


def _streams_of(call: Call) -> dict[str, bool]:
    streams = {name: call.is_set(name) for name in ("stdin", "stdout", "stderr", "tty")}
    if not (streams["stdin"] or streams["stdout"] or streams["stderr"]):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    if streams["tty"]:
        # A terminal has one output.
        streams["stderr"] = False
    return streams


def _options_of(call: Call, streams: Mapping[str, bool]) -> Obj:
    container = call.request.parameter("container")
    named = {"container": container} if container else {}
    return {**{name: True for name, is_set in streams.items() if is_set}, **named}


def _upgraded(call: Call, streams: Mapping[str, bool], opener: Opener) -> Reply:
    headers = call.request.headers
    if is_spdy(headers):
        protocol = spdy_protocol(headers, session_spdy.PROTOCOLS)
        wanted = ["error", *(name for name in ("stdin", "stdout", "stderr") if streams[name])]
        if streams["tty"] and protocol in session_spdy.PROTOCOLS[:2]:
            wanted.append("resize")

        async def serve_spdy(connection: RawConnection) -> None:
            peer = SpdyPeer(connection, wanted, protocol)

            async def opened() -> ExecSession:
                await peer.opened()
                return await opener()

            await serve_session(peer, opened)

        return Reply(101, upgrade=serve_spdy, headers=spdy_handshake(protocol))
    chosen = accepted_protocol(headers, session_websocket.PROTOCOLS)

    async def serve(connection: RawConnection) -> None:
        await serve_session(WebSocketPeer(WebSocket(connection), chosen), opener)

    return Reply(101, upgrade=serve, headers=handshake(headers, chosen))
