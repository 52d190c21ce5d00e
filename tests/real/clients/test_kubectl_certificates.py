"""Certificate requests through kubectl: asked for, approved or denied, and used to log in."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from cluster.base.certificate_requests import create_request
from tests.real.clients.served import Kubectl, until

pytestmark = pytest.mark.needs("kubectl")


def request_of(name: str, pem: bytes) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(pem).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "expirationSeconds": 3600,
                "usages": ["client auth"],
            },
        }
    )


def test_an_approved_request_becomes_a_login(kubectl: Kubectl, tmp_path: Path) -> None:
    name = f"{kubectl.namespace}-jane"
    pair = create_request("jane", ["team"])
    kubectl("apply", "-f", "-", stdin=request_of(name, pair.certificate))
    assert "Pending" in kubectl("get", "csr", name)
    assert f"certificatesigningrequest.certificates.k8s.io/{name} approved" in kubectl("certificate", "approve", name)
    path = "jsonpath={.status.certificate}"
    encoded = until(lambda: kubectl("get", "csr", name, "-o", path), what="the request is signed")
    assert "Approved,Issued" in kubectl("get", "csr", name)
    (tmp_path / "crt").write_bytes(base64.b64decode(encoded))
    (tmp_path / "key").write_bytes(pair.key)
    login = [f"--client-certificate={tmp_path}/crt", f"--client-key={tmp_path}/key", "--kubeconfig=/dev/null"]
    (tmp_path / "ca").write_text(kubectl.server.ca)
    login += [f"--server={kubectl.server.url}", f"--certificate-authority={tmp_path}/ca"]
    who = kubectl("auth", "whoami", *login)
    assert "jane" in who
    assert "team" in who
    assert 'User "jane" cannot list' in kubectl.refused("get", "pods", *login)


def test_a_denied_request_is_never_signed(kubectl: Kubectl) -> None:
    name = f"{kubectl.namespace}-denied"
    kubectl("create", "-f", "-", stdin=request_of(name, create_request("jane", []).certificate))
    assert "denied" in kubectl("certificate", "deny", name)
    assert "Denied" in kubectl("get", "csr", name)
    assert "is already Denied" in kubectl.refused("certificate", "approve", name)
