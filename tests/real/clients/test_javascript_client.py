"""@kubernetes/client-node: an informer, objects of any kind, every patch, logs and a command in a container."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import CLIENT_NODE
from tests.real.clients.served import Server

PROGRAM = Path(__file__).parent / "node" / "javascript.mjs"

pytestmark = pytest.mark.needs("node", "client-node")


def test_a_javascript_program_finds_everything_as_it_expects(server: Server, namespace: str, tmp_path: Path) -> None:
    # Node looks for modules beside the program that imports them.
    shutil.copy(PROGRAM, tmp_path)
    (tmp_path / "node_modules").symlink_to(CLIENT_NODE / "node_modules")
    command = ["node", str(tmp_path / PROGRAM.name), str(server.kubeconfig), namespace]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["seen"] == ["add first", "add second", "update second", "delete first"]
    assert told["cached"] == ["second"]
    assert (told["made"], told["strategic"], told["json"]) == ({"a": "1"}, {"a": "1", "b": "2"}, {"b": "2"})
    # Who names no manager is known by what its User-Agent begins with.
    assert told["applied"] == [{"b": "2", "c": "3"}, ["javascript Apply", "node-fetch Update"]]
    assert (told["refusal"], told["gone"]) == ([409, "AlreadyExists"], 404)
    assert (told["log"], told["command"]) == ("", "Success")
