"""The command line: words to verbs.  A verb's module is imported only when it is asked for, so that a command starts fast."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from reconciler.cli.exit_codes import CommandError, Exit

VERBS = {
    "up": "start the cluster and the daemon here and deploy a source",
    "down": "stop what `up` started; with --purge remove its containers, rules and state",
    "serve": "run the daemon in the foreground, as a service does",
    "server": "run the API, controllers, scheduler and GitOps in the foreground, without root",
    "agent": "run this host's containers, network and DNS in the foreground, as a node of a server",
    "service": "install, show or remove the services of systemd",
    "status": "applications: what is deployed, from which commit, how healthy",
    "history": "what each run of an application changed, and which commit asked for it",
    "logs": "the reconciliation log: what changed, why, which commit asked",
    "sync": "look at the source now and wait for the result",
    "diff": "what a sync would change; exits 1 if anything",
    "plan": "what syncing an application to a commit would do, object by object; a gate for pushes and CI",
    "blame": "who each field of a live object comes from: commit, author and line, a controller, a person",
    "why": "in one line: which commit an object or a container comes from, and how it got there",
    "trace": "the way from commit to container, stage by stage, with the time of each",
    "tree": "applications, their objects, and what controllers made of them, with the health of each",
    "events": "what Kubernetes reports about an application, its objects and their pods",
    "suspend": "stop reconciling an application",
    "resume": "reconcile a suspended application again",
    "rollback": "take an application back to an earlier commit, by a commit",
    "kubeconfig": "make a kubeconfig for a person: a name, groups, and until when",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see `exit_codes`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] == "--version":
        from reconciler.cli.version import version

        print(f"reconciler {version()}")
        return Exit.OK
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return Exit.OK if words else Exit.USAGE
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        print(f"reconciler: unknown command {verb!r}; the commands are: {', '.join(VERBS)}", file=sys.stderr)
        return Exit.USAGE
    module = importlib.import_module(f"reconciler.cli.{verb}")
    parser = argparse.ArgumentParser(prog=f"reconciler {verb}", description=VERBS[verb])
    module.configure(parser)
    try:
        return int(module.run(parser.parse_args(rest)))
    except CommandError as error:
        print(f"reconciler: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    return (
        f"usage: reconciler COMMAND [OPTION ...]\n\n{verbs}\n\n`reconciler COMMAND --help` tells a command's options."
    )


if __name__ == "__main__":
    sys.exit(main())
