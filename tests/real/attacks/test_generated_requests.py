"""Requests generated from our own OpenAPI documents, sound and unsound: no answer is the server's own fault.

Which requests are sent follows from a fixed seed; how many, from GENERATED_REQUESTS_S, the seconds they may take.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode

from tests.real.clients.served import Server, serving

SEED = 20_240_607
BUDGET_S = float(os.environ.get("GENERATED_REQUESTS_S", "15"))
ROUNDS_MAX = 1_000
MEBIBYTE = 1 << 20
FAULTS = (500, 502)
"""What no input may cause.  503 and 504 are what upstream answers where a pod or a node cannot be reached."""


def operations(server: Server) -> list[Any]:
    """Every operation of every document of the index, in an order of chance that is always the same."""
    found = []
    index = server.request("GET", "/openapi/v3").obj["paths"]
    for name in sorted(index):
        # Without the hash, which may be outdated by a definition that is still being made.
        document = server.request("GET", index[name]["serverRelativeURL"].partition("?")[0]).obj
        found += [each.ok() for each in schemathesis.openapi.from_dict(document).get_all_operations()]
    random.Random(SEED).shuffle(found)
    # Writes first: they have bodies.
    return sorted(found, key=lambda each: each.method in ("get", "delete"))


def session_to(server: Server, directory: Path) -> requests.Session:
    session = requests.Session()
    ca = directory / "ca.pem"
    ca.write_text(server.ca)
    session.verify, session.cert, session.trust_env = str(ca), str(server.state / "client.pem"), False
    return session


@pytest.mark.filterwarnings("ignore")
def test_no_generated_request_is_the_servers_fault(tmp_path: Path) -> None:
    # Of its own, since deletions are generated too.
    state = tmp_path / "state"
    state.mkdir()
    with serving(state) as server, session_to(server, tmp_path) as session:
        found = operations(server)
        assert len(found) > 500
        before = server.resident_bytes()
        end = time.monotonic() + BUDGET_S
        answered: Counter[int] = Counter()

        def send(case: Any) -> None:
            if time.monotonic() > end:
                return
            sent = case.as_transport_kwargs(base_url=server.url)
            try:
                # A watch has no end: the status is enough.
                with session.request(**sent, stream=True, timeout=30, allow_redirects=False) as answer:
                    status = answer.status_code
                    said = answer.content[:500] if status in FAULTS else b""
            except (ValueError, UnicodeError, requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader):
                return  # the sender's own library refuses to send it
            answered[status] += 1
            assert status not in FAULTS, (sent, said)

        for number in range(ROUNDS_MAX):
            for operation in found:
                if time.monotonic() > end:
                    break
                name = {"namespace": "default", "name": f"n{number}"}
                chosen = {key: name[key] for key in name if "{" + key + "}" in operation.path}
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    strategy = operation.as_strategy(mode, path_parameters=chosen)
                    options = settings(
                        max_examples=2, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
                    )
                    seed(SEED + number)(options(given(strategy)(send)))()
        assert sum(answered.values()) > 50, answered
        assert server.request("GET", "/readyz").status == 200
        assert server.resident_bytes() - before < 100 * MEBIBYTE
