"""Kubeconfigs: what we write we can read, what we cannot use is refused with its reason."""

from __future__ import annotations

import pytest

from cluster.client.kubeconfig import ClusterAccess, KubeconfigError, kubeconfig_of, load_kubeconfig

ACCESS = ClusterAccess(
    host="127.0.0.1", port=6443, ca=b"CA", certificate=b"CERT", key=b"KEY", token="t0ken", namespace="shop"
)


def write(tmp_path, text: str | bytes):
    path = tmp_path / "config"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_kubeconfig_we_write_gives_the_same_access(tmp_path):
    assert load_kubeconfig(write(tmp_path, kubeconfig_of(ACCESS, name="reconciler"))) == ACCESS


def test_an_ipv6_server_is_bracketed(tmp_path):
    access = ClusterAccess(host="::1", port=6443)
    assert load_kubeconfig(write(tmp_path, kubeconfig_of(access, name="x"))).host == "::1"


def test_secrets_are_not_shown_when_printed():
    assert "KEY" not in repr(ACCESS) and "t0ken" not in repr(ACCESS)


def test_files_are_read_relative_to_the_kubeconfig(tmp_path):
    (tmp_path / "ca.crt").write_bytes(b"CA")
    (tmp_path / "token").write_text("abc\n")
    path = write(
        tmp_path,
        "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: ca.crt}}]\n"
        "users: [{name: u, user: {tokenFile: token}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n",
    )
    access = load_kubeconfig(path)
    assert (access.port, access.ca, access.token) == (443, b"CA", "abc")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "is not a kubeconfig"),
        ("a: [", "not valid YAML"),
        ("contexts: []", "names no current-context"),
        ("current-context: x", "has no context named 'x'"),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
            "clusters: [{name: c, cluster: {server: 'https://h'}}]\nusers: [{name: u, user: {exec: {command: rm}}}]",
            "runs other programs",
        ),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\n"
            "clusters: [{name: c, cluster: {server: 'http://h'}}]",
            "has no https server",
        ),
    ],
)
def test_an_unusable_file_is_refused_with_its_reason(tmp_path, text, why):
    with pytest.raises(KubeconfigError, match=why):
        load_kubeconfig(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KubeconfigError, match="absent"):
        load_kubeconfig(tmp_path / "absent")
