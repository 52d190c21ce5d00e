"""What the server says about a Secret never carries the Secret's values any further."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cluster.machinery.errors import BadRequest, Cause, Invalid
from reconciler.apply.refusal import refusal_of
from reconciler.render.parsed import parse

PLANTED = "correct-horse-battery"
ENCODED = base64.b64encode(PLANTED.encode()).decode()


def secret(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, **fields}


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (secret(stringData={"p": PLANTED}), f'Invalid value: "{PLANTED}": too short'),
        (secret(stringData={"p": PLANTED}), f'cannot decode {{"data":{{"p":"{ENCODED}"}}}}'),
        (secret(data={"p": ENCODED}), f'Invalid value: "{PLANTED}"'),
        (secret(data={"p": ENCODED}), f'json: cannot unmarshal "{ENCODED}"'),
        (secret(data={"p": "not base64!"}), "illegal base64 data in not base64!"),
        (secret(stringData={"p": {"deep": [PLANTED]}}), f"unexpected {PLANTED}"),
        (secret(stringData={"pin": 481516}), "cannot convert 481516 to text"),
        (secret(stringData={"pin": "4815"}), "cannot use 4815"),
        # A server that shortens what it quotes still quotes a part of it.
        (secret(stringData={"p": PLANTED}), 'Invalid value: "correct-ho...": must match'),
        (secret(stringData={"p": f"a\n{PLANTED}\nb"}), f"unexpected {PLANTED}"),
    ],
)
def test_a_message_that_repeats_a_value_is_withheld(obj: dict[str, Any], message: str) -> None:
    error = Invalid(message, causes=[Cause("FieldValueInvalid", message, "data[p]")])
    told = refusal_of(obj, error)
    assert told == "Invalid at data[p]: the server's message repeats the Secret's values and is not shown"


def test_a_field_path_made_of_a_value_is_withheld_too() -> None:
    error = Invalid(f"{PLANTED} is no field", causes=[Cause("FieldValueInvalid", "", f"data[{PLANTED}]")])
    assert PLANTED not in refusal_of(secret(stringData={"p": PLANTED}), error)


def test_other_messages_about_secrets_and_other_kinds_stay() -> None:
    error = BadRequest('Secret in version "v1" cannot be handled: illegal base64 data at input byte 3')
    assert refusal_of(secret(data={"p": "!!!!!!"}), error) == error.message
    echo = Invalid(f'spec.x: Invalid value: "{PLANTED}"')
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"p": PLANTED}}
    assert refusal_of(config_map, echo) == echo.message


@pytest.mark.parametrize("value", [f"*{PLANTED}", f"!{PLANTED} x"])
def test_a_secret_that_is_no_yaml_is_reported_without_its_text(value: str) -> None:
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData:\n  password: {value}\n"
    parsed = parse(text.encode())
    assert parsed.error
    assert parsed.error_line == 5
    assert "correct" not in parsed.error
    assert "correct" in parse(text.replace("kind: Secret", "kind: ConfigMap").encode()).error
