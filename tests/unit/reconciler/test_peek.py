"""The small question to a remote, and what is believed of its answer."""

from __future__ import annotations

import pytest

from reconciler.source.peek import commit_in, question_for

COMMIT, TAG = "1" * 40, "2" * 40


def line(text: str) -> bytes:
    return f"{len(text) + 4:04x}{text}".encode()


def test_the_question_names_the_ref_alone():
    assert question_for("HEAD").endswith(b"0014ref-prefix HEAD\n0000")
    assert question_for("HEAD").startswith(b"0014command=ls-refs\n")


def test_the_ref_itself_is_found_among_those_that_begin_like_it():
    body = line(f"{TAG} refs/heads/main-2\n") + line(f"{COMMIT} refs/heads/main\n") + b"0000"
    assert commit_in(body, "refs/heads/main") == COMMIT


def test_an_annotated_tag_is_its_commit():
    body = line(f"{TAG} refs/tags/v1 peeled:{COMMIT}\n") + b"0000"
    assert commit_in(body, "refs/tags/v1") == COMMIT


@pytest.mark.parametrize("body", [b"", b"0000", b"<html>", b"zzzz", b"0003", b"ffff", line("x\n") + b"0000"])
def test_anything_else_names_nothing(body: bytes):
    assert commit_in(body, "HEAD") == ""
