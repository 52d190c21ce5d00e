"""`reconciler kubeconfig create USER`: a kubeconfig for a person, with a client certificate of the cluster's own authority.

The certificate is asked for and approved through the cluster's API, as whoever runs the command, so that RBAC decides and
the audit log has it.  The private key is made here and goes nowhere but into the file.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.base.files import write_atomically
from cluster.client.kubeconfig import KubeconfigError, kubeconfig_of, load_kubeconfig
from cluster.machinery.errors import ApiError, Forbidden
from cluster.machinery.objects import Key, Obj, field_of, name_of
from cluster.resources.builtin import CERTIFICATE_SIGNING_REQUESTS
from reconciler.cli.access import chosen_kubeconfig, configure_cluster, with_transport
from reconciler.cli.exit_codes import CommandError, Exit

if TYPE_CHECKING:
    from cluster.client.transport import Transport

SIGNER = "kubernetes.io/kube-apiserver-client"
DURATION_DEFAULT = "90d"
DURATION_MIN_S = 600
DURATION_MAX_S = 365 * 86_400
SIGNED_WITHIN_S = 15.0
SIGNED_POLL_S = 0.1
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SERVER = re.compile(r"(?:https://)?(?:\[([0-9a-fA-F:]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?/?")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("create",))
    parser.add_argument("user", help="who the certificate says its holder is")
    parser.add_argument("--group", action="append", default=[], help="a group of the user; may be repeated")
    parser.add_argument("--duration", default=DURATION_DEFAULT, help="how long it is valid (default: %(default)s)")
    parser.add_argument("--server", default="", help="the API's address as the user reaches it (default: as you do)")
    parser.add_argument("-n", "--namespace", default="default", help="the context's namespace (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="the file to write, readable by you only (default: standard output)")
    configure_cluster(parser)


def run(args: argparse.Namespace) -> int:
    user: str = args.user
    if not user or user.startswith("system:"):
        raise CommandError(
            f"{user!r} cannot be a person's name: names that begin with `system:` are those of components",
            hint="choose another name",
            code=Exit.USAGE,
        )
    seconds = seconds_of(args.duration)
    try:
        access = load_kubeconfig(chosen_kubeconfig(args), context=args.context)
    except KubeconfigError as error:
        raise CommandError(str(error), hint="name the operator's with --kubeconfig STATE/kubeconfig") from error
    if args.server:
        access = replace(access, **address_of(args.server, access.port), server_name="")

    async def act(transport: Transport) -> int:
        # Only this verb needs it, and it loads the cryptography library.
        from cluster.base.certificate_requests import create_request

        pair = create_request(user, args.group)
        certificate = await issued(transport, user, pair.certificate, seconds)
        theirs = replace(access, certificate=certificate, key=pair.key, token="", namespace=args.namespace)
        text = kubeconfig_of(theirs, name=user)
        if args.out is None:
            sys.stdout.write(text.decode())
            return Exit.OK
        try:
            write_atomically(args.out, text)
        except OSError as error:
            raise CommandError(f"cannot write {args.out}: {error.strerror}") from error
        print(f"{args.out}: {user}, valid for {args.duration}")
        return Exit.OK

    return with_transport(args, act)


def seconds_of(duration: str) -> int:
    """`30d`, `12h`, `90m`, `600s`.  Raises CommandError."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", duration)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not DURATION_MIN_S <= seconds <= DURATION_MAX_S:
        raise CommandError(
            f"--duration {duration!r}: 10 minutes to 365 days are possible",
            hint="for example 12h or 30d",
            code=Exit.USAGE,
        )
    return seconds


def address_of(server: str, port: int) -> dict[str, Any]:
    """`HOST`, `HOST:PORT` or `https://HOST:PORT` as fields of a ClusterAccess.  Raises CommandError."""
    match = _SERVER.fullmatch(server)
    if match is None:
        raise CommandError(
            f"--server {server!r} is no address", hint="for example https://10.0.0.4:6443", code=Exit.USAGE
        )
    return {"host": match[1] or match[2], "port": int(match[3] or port)}


async def issued(transport: Transport, user: str, request: bytes, seconds: int) -> bytes:
    """The certificate, PEM: asked for, approved and waited for.  Raises CommandError, ApiError."""
    try:
        asked = await transport.create(CERTIFICATE_SIGNING_REQUESTS, _request_of(user, request, seconds))
        await transport.update(CERTIFICATE_SIGNING_REQUESTS, _approved(asked), subresource="approval")
    except Forbidden as error:
        raise CommandError(error.message, hint=_hint_of(error)) from error
    return await _signed(transport, Key("", name_of(asked)))


def _request_of(user: str, request: bytes, seconds: int) -> Obj:
    return {
        "apiVersion": CERTIFICATE_SIGNING_REQUESTS.api_version,
        "kind": CERTIFICATE_SIGNING_REQUESTS.kind,
        "metadata": {"generateName": "kubeconfig-"},
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": SIGNER,
            "expirationSeconds": seconds,
            "usages": ["digital signature", "client auth"],
        },
    }


def _approved(asked: Obj) -> Obj:
    condition = {
        "type": "Approved",
        "status": "True",
        "reason": "KubeconfigCreate",
        "message": "Asked for and approved by `reconciler kubeconfig create`.",
    }
    return {**asked, "status": {"conditions": [condition]}}


def _hint_of(error: ApiError) -> str:
    if "system:masters" in error.message:
        return "the operator's own kubeconfig is the only one of that group; bind a ClusterRole to the user or to another group"
    return (
        "who issues kubeconfigs may create certificatesigningrequests, update certificatesigningrequests/approval and "
        f"approve the signer {SIGNER}; the operator's kubeconfig (--kubeconfig STATE/kubeconfig) may"
    )


async def _signed(transport: Transport, key: Key) -> bytes:
    for _ in range(int(SIGNED_WITHIN_S / SIGNED_POLL_S)):
        request = await transport.get(CERTIFICATE_SIGNING_REQUESTS, key)
        if certificate := field_of(request, "status", "certificate"):
            return base64.b64decode(certificate)
        for condition in field_of(request, "status", "conditions", default=()):
            if condition.get("type") in ("Failed", "Denied"):
                raise CommandError(f"the request {key.name} was not signed: {condition.get('message', '')}")
        await asyncio.sleep(SIGNED_POLL_S)
    raise CommandError(
        f"the request {key.name} was approved, and nobody signed it within {SIGNED_WITHIN_S:.0f} s",
        hint=f"is a signer for {SIGNER} running? `kubectl describe csr {key.name}` says more",
    )
