"""ImageStore over the Docker Engine API, and importing an image we made ourselves."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from cluster.kubelet.runtime.api import EngineError, Image, RegistryAuth
from cluster.kubelet.runtime.docker_api import DockerApi, DockerRefused

PROGRESS_LINE_MAX_BYTES = 1 << 20


class Credentials(Protocol):
    """Implementations: `docker_host.HostCredentials`, `NoCredentials`."""

    async def for_image(self, image: str) -> Sequence[RegistryAuth]:
        """What this host knows for the image's registry."""
        ...


class NoCredentials:
    async def for_image(self, image: str) -> Sequence[RegistryAuth]:
        return ()


class DockerImages:
    """`credentials` are tried after those a pull is given, before none."""

    def __init__(self, api: DockerApi, *, credentials: Credentials) -> None:
        self._api = api
        self._credentials = credentials

    async def find(self, image: str) -> Image | None:
        try:
            return image_of(await self._api.call("GET", f"/images/{quote(image, safe='/:@')}/json"))
        except DockerRefused as refused:
            if refused.status == 404:
                return None
            reason = "InvalidImageName" if refused.status == 400 else "ImageInspectError"
            raise EngineError(reason, refused.message) from None

    async def pull(self, image: str, auth: Sequence[RegistryAuth]) -> Image:
        failure = EngineError("ErrImagePull", f"cannot pull {image}")
        known = [*auth, *await self._credentials.for_image(image)]
        attempts: list[Mapping[str, str]] = [{"X-Registry-Auth": registry_auth_header(one)} for one in known]
        for headers in [*attempts, {}]:
            try:
                await self._pull(image, headers)
            except DockerRefused as refused:
                reason = "InvalidImageName" if "invalid reference format" in refused.message else "ErrImagePull"
                failure = EngineError(reason, refused.message)
                continue
            found = await self.find(image)
            if found is None:
                raise EngineError("ErrImagePull", f"{image} was pulled and is not there")
            return found
        raise failure

    async def import_tar(self, image: str, content: bytes, *, changes: Sequence[str]) -> None:
        """Make `image` (name:tag) of one layer, the tar `content`, with Dockerfile instructions `changes`."""
        name, tag = split_image(image)
        query = {"fromSrc": "-", "repo": name, "tag": tag}
        if changes:
            query["changes"] = "\n".join(changes)
        await self._api.call("POST", "/images/create", query=query, raw_body=content)

    async def remove(self, image: str) -> None:
        """Remove that name, and the image with its last name; absent or in use: left."""
        try:
            await self._api.call("DELETE", f"/images/{quote(image, safe='/:@')}")
        except DockerRefused as refused:
            if refused.status not in (404, 409):
                raise

    async def _pull(self, image: str, headers: Mapping[str, str]) -> None:
        name, tag = split_image(image)
        query = {"fromImage": name, "tag": tag} if tag else {"fromImage": name}
        pending = b""
        async with self._api.stream("POST", "/images/create", query=query, headers=headers) as response:
            while data := await response.read():
                *lines, pending = (pending + data).split(b"\n")
                if len(pending) > PROGRESS_LINE_MAX_BYTES:
                    raise EngineError("ErrImagePull", "the container engine's progress report is beyond all bounds")
                for line in [one for one in lines if one.strip()]:
                    progress = orjson.loads(line)
                    if "error" in progress:  # the status was sent before the registry answered
                        raise DockerRefused(500, str(progress["error"]))


def split_image(image: str) -> tuple[str, str]:
    """Name and tag; without a tag `latest`, as every client means it; with a digest the tag is empty."""
    if "@" in image:
        return image, ""
    name, _, tag = image.rpartition(":")
    return (name, tag) if name and "/" not in tag else (image, "latest")


def registry_auth_header(auth: RegistryAuth) -> str:
    """The X-Registry-Auth header: base64url of JSON (Engine API, section Authentication)."""
    if auth.identity_token:
        credentials = {"identitytoken": auth.identity_token, "serveraddress": auth.server}
    else:
        credentials = {"username": auth.username, "password": auth.password, "serveraddress": auth.server}
    return base64.urlsafe_b64encode(orjson.dumps(credentials)).decode()


def image_of(inspected: Mapping[str, Any]) -> Image:
    config = inspected.get("Config") or {}
    return Image(
        id=inspected["Id"],
        tags=tuple(inspected.get("RepoTags") or ()),
        digests=tuple(inspected.get("RepoDigests") or ()),
        size_bytes=inspected.get("Size", 0),
        user=config.get("User") or "",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
    )
