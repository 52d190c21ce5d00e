"""Addresses, refs and paths from API objects, checked before any program sees them.  Pure.

Record behind the rules: option injection through leading dashes, `ext::` transports, `$VAR` in URLs, `..` in paths
(Flux CVE-2022-24877, Argo CD CVE-2022-24348, GitPython's advisories).
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.errors import source_error

_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9_/~][A-Za-z0-9_./~+-]*\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])\Z")
_REMOTE_PATH = re.compile(r"/[A-Za-z0-9_./~+%@-]+\Z")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@=-]*\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")

SCHEMES = ("https", "ssh")


def checked_url(url: str) -> str:
    """`url` when it is https, ssh or user@host:path without credentials.  Raises StageError naming the rule it breaks."""
    if not url.isascii() or not url.isprintable() or " " in url:
        # Before urlsplit, which drops line breaks and tabs without a word.
        raise source_error("url contains characters that are not allowed")
    if _SCP.match(url) and ".." not in url:
        return url
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise source_error(
            f"url must begin with https:// or ssh://, or be user@host:path, not {parts.scheme or 'this'!r}"
        )
    if parts.password is not None or (parts.scheme == "https" and parts.username is not None):
        raise source_error("url must not contain credentials: put them into a Secret and name it in secretRef")
    host = parts.hostname or ""
    if not _HOST.match(f"[{host}]" if ":" in host else host) or host.startswith("-"):
        raise source_error("url names no valid host")
    if parts.username is not None and not _REF.match(parts.username):
        raise source_error("url names no valid user")
    if not _REMOTE_PATH.match(parts.path) or ".." in parts.path or parts.query or parts.fragment:
        raise source_error("url has a path with characters that are not allowed")
    return url


def checked_ref(name: str) -> str:
    """A branch or tag name as git-check-ref-format allows it, and no option.  Raises StageError."""
    bad = not _REF.match(name) or ".." in name or "//" in name or "@{" in name or name.endswith(("/", ".", ".lock"))
    if bad or any(part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        raise source_error(f"{name!r} is no valid branch or tag name")
    return name


def checked_commit(commit: str) -> str:
    if not _COMMIT.match(commit):
        raise source_error(f"{commit!r} is no full commit id")
    return commit


def checked_path(path: str) -> str:
    """A path inside a source, without leading or trailing slashes; `.` is the empty path.  Raises StageError."""
    if "\0" in path or "\\" in path:
        raise source_error("path contains characters that are not allowed")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise source_error("path must not leave the repository")
    return "/".join(parts)


def checked_directory(path: str, allowed: tuple[Path, ...]) -> Path:
    """An existing host directory below one that the operator allows, symbolic links resolved.  Raises StageError."""
    if not path.startswith("/"):
        raise source_error(f"{path!r} must be an absolute path on the server's host")
    resolved = Path(path).resolve()
    if not any(resolved.is_relative_to(root.resolve()) for root in allowed):
        raise source_error(f"{path} is not below a directory that the operator allows (source roots)")
    if not resolved.is_dir():
        raise source_error(f"{path} is not a directory on the server's host", retryable=True)
    return resolved
