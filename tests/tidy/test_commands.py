"""Every command exists, and docs/operations.md names it with each of its options and every exit code."""

from __future__ import annotations

import argparse
import importlib
import re

import pytest

from reconciler.cli.exit_codes import Exit
from reconciler.cli.main import VERBS
from tests.tidy.tree import table_rows, text_of

PAGE = "docs/operations.md"


def section_of(verb: str) -> str:
    """What operations.md says of a command: from its heading to the next."""
    found = re.search(rf"^### `{verb}`$(.*?)(?=^##|\Z)", text_of(PAGE), re.MULTILINE | re.DOTALL)
    assert found, f"{PAGE} has no section ### `{verb}`"
    return found[1]


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=verb, add_help=False)
    importlib.import_module(f"reconciler.cli.{verb}").configure(parser)
    return parser


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_command_is_documented_with_its_options(verb: str) -> None:
    section = section_of(verb)
    missing = [
        option
        for action in parser_of(verb)._actions
        for option in (action.option_strings or [action.dest.upper()])
        if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", section)
    ]
    assert not missing, f"{PAGE}, section {verb}: name {', '.join(missing)}"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_command_documents_no_option_it_lacks(verb: str) -> None:
    known = {option for action in parser_of(verb)._actions for option in action.option_strings}
    # The first cell of a table row; prose may speak of other commands.
    named = set(re.findall(r"^\| `(-[\w-]+)", section_of(verb), re.MULTILINE))
    assert named <= known


def test_only_commands_have_a_section() -> None:
    assert set(re.findall(r"^### `([a-z]+)`$", text_of(PAGE), re.MULTILINE)) == set(VERBS)


def test_every_exit_code_is_documented() -> None:
    assert {int(code) for code in table_rows(PAGE, "### Exit codes")} == {*(int(code) for code in Exit), 130}
