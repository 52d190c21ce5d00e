"""`reconciler resume`: reconcile a suspended application again."""

from __future__ import annotations

import argparse

from reconciler.cli.access import configure_access
from reconciler.cli.suspend import set_suspended


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    configure_access(parser)


def run(args: argparse.Namespace) -> int:
    return set_suspended(args, suspended=False)
