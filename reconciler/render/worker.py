"""The parser's own process: large files are parsed where a hang, a crash or greed for memory hurts nobody else.

Frames on standard input and output: four bytes of length, big-endian, then the file; four bytes, then JSON.  After its
imports the process may open nothing any more: no file, no socket.  It knows no repository, no API and no credentials.
"""

from __future__ import annotations

import resource
import struct
import sys
from typing import BinaryIO

import orjson

from reconciler.render.parsed import parse

MEMORY_MAX_BYTES = 1024 * 1024 * 1024
CPU_MAX_S = 3600
"""Of the whole process; one file's time is limited by who asks."""

LENGTH = struct.Struct(">I")


def main() -> None:
    """Answer until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_MAX_S, CPU_MAX_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Standard input, output and error are open; the next descriptor would be the fourth.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    while len(head := questions.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        answer = answer_to(questions.read(size))
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


def answer_to(data: bytes) -> bytes:
    try:
        parsed = parse(data)
        rows = [(part.obj, part.line, part.digest) for part in parsed.parts]
        return orjson.dumps({"parts": rows, "error": parsed.error, "line": parsed.error_line})
    except (MemoryError, RecursionError):
        return orjson.dumps({"parts": [], "error": "the file needs too much memory to parse", "line": 0})


if __name__ == "__main__":
    main()
