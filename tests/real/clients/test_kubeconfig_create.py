"""`reconciler kubeconfig create`: a person's kubeconfig, used by kubectl, and what the command says when it may not."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.clients.served import ROOT, Kubectl, Outcome

pytestmark = pytest.mark.needs("kubectl")


def create(*words: str, kubeconfig: Path) -> Outcome:
    command = [
        sys.executable,
        "-m",
        "reconciler.cli.main",
        "kubeconfig",
        "create",
        *words,
        "--kubeconfig",
        str(kubeconfig),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_person_gets_a_kubeconfig_and_the_rights_that_are_bound_to_them(kubectl: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "ada"
    admin = kubectl.server.kubeconfig
    made = create("ada", "--group", "dev", "--group", "ops", "--duration", "1h", "--out", str(file), kubeconfig=admin)
    assert made.code == 0, made.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ada = ["--kubeconfig", str(file)]
    who = kubectl("auth", "whoami", *ada)
    assert [word for word in ("ada", "dev", "ops", "system:authenticated") if word not in who] == []
    assert 'User "ada" cannot list resource "pods"' in kubectl.refused("get", "pods", *ada)
    kubectl("create", "rolebinding", "dev", "--clusterrole=view", "--group=dev")
    assert kubectl("get", "pods", *ada) == ""
    # She may not make one for somebody else, and is told what that would take.
    refused = create("bob", kubeconfig=file)
    assert refused.code == 3
    assert "certificatesigningrequests/approval" in refused.err


def test_what_cannot_be_made_is_refused_with_the_reason(kubectl: Kubectl) -> None:
    admin = kubectl.server.kubeconfig
    masters = create("root", "--group", "system:masters", kubeconfig=admin)
    assert masters.code == 3
    assert "bind a ClusterRole" in masters.err
    assert create("system:node:x", kubeconfig=admin).code == 2
    assert create("ada", "--duration", "5m", kubeconfig=admin).code == 2
    assert create("ada", "--server", "no address", kubeconfig=admin).code == 2
