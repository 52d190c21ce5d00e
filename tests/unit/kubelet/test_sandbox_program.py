"""The generated sandbox program: its bytes, and what it does when this machine can run it."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cluster.kubelet.runtime.program.arm64 import Arm64
from cluster.kubelet.runtime.program.build import build
from cluster.kubelet.runtime.program.machine import (
    Add,
    Data,
    If,
    Jump,
    JumpIf,
    Label,
    LoadByte,
    Move,
    Operation,
    Reg,
    Syscall,
    assemble,
)
from cluster.kubelet.runtime.program.x86_64 import X86_64

NATIVE = platform.machine()
runs_here = pytest.mark.skipif(NATIVE not in ("x86_64", "aarch64"), reason=f"no program for {NATIVE}")


@pytest.fixture
def executable(tmp_path: Path) -> str:
    path = tmp_path / "sandbox"
    path.write_bytes(build(NATIVE))
    path.chmod(0o755)
    return str(path)


def start(executable: str, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    name = os.uname().nodename
    return subprocess.run(
        [executable, name, *command], capture_output=True, text=True, env=env, timeout=20, check=False
    )


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_the_bytes_are_an_elf_and_the_same_every_time(architecture: str) -> None:
    first = build(architecture)
    assert first == build(architecture)
    assert first[:4] == b"\x7fELF"
    assert len(first) < 4096


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        build("riscv64")


@pytest.mark.parametrize(
    ("operation", "x86_64", "arm64"),
    [
        (Move(Reg.A, Reg.F), "4c89c3", "f30318aa"),
        (Move(Reg.F, -1), "49b8ffffffffffffffff", "f8ff9fd2f8ffbff2f8ffdff2f8fffff2"),
        (Add(Reg.B, Reg.A), "4889d94801cd", "e90313aa9402098b"),
        (LoadByte(Reg.C, Reg.B, 3), "4c0fb6ad03000000", "950e4039"),
        (Data(b"abc"), "6162630000000000", "6162630000000000"),
    ],
)
def test_an_operation_is_encoded_as_the_manuals_say(operation: Operation, x86_64: str, arm64: str) -> None:
    assert X86_64().encode(operation, 0, {}).hex() == x86_64
    assert Arm64().encode(operation, 0, {}).hex() == arm64


def test_jumps_reach_back_and_forth() -> None:
    code = assemble([Label("a"), Jump("b"), Jump("a"), Label("b"), Jump("b")], Arm64(), origin=0x1000, known={})
    assert code.hex() == "02000014ffffff1700000014"


def test_labels_are_defined_exactly_once() -> None:
    with pytest.raises(ValueError, match="not defined"):
        assemble([JumpIf(Reg.A, If.EQUAL, 0, "nowhere")], X86_64(), origin=0, known={})
    with pytest.raises(ValueError, match="twice"):
        assemble([Label("a"), Label("a")], X86_64(), origin=0, known={})


def test_a_system_call_without_a_number_is_an_error() -> None:
    with pytest.raises(KeyError):
        X86_64().encode(Syscall(Reg.A, "reboot", ()), 0, {})


@runs_here
def test_start_becomes_the_command_with_its_arguments_and_environment(executable: str) -> None:
    done = start(executable, "sh", "-c", 'echo "$0 $1 $MARK"', "a b", "c", PATH="/nowhere:/usr/bin:/bin", MARK="m")
    assert (done.stdout, done.returncode) == ("a b c m\n", 0)


@runs_here
def test_start_takes_a_path_as_it_is_and_a_default_search_path(executable: str) -> None:
    assert start(executable, "/bin/echo", "x").stdout == "x\n"
    assert start(executable, "echo", "x").stdout == "x\n"


@runs_here
@pytest.mark.parametrize(
    ("command", "code"), [("no-such-program", 127), ("/no/such", 127), ("/etc/passwd", 126), ("", 127), ("passwd", 126)]
)
def test_start_says_why_it_cannot_run_a_command(executable: str, command: str, code: int) -> None:
    done = start(executable, command, PATH="/etc::/nowhere")
    assert done.returncode == code
    assert command in done.stderr


@runs_here
def test_start_waits_for_the_host_name(executable: str) -> None:
    with subprocess.Popen([executable, f"{os.uname().nodename}x", "true"]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.kill()


@runs_here
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pause_ignores_other_signals_and_ends_on_term_and_int(executable: str, number: signal.Signals) -> None:
    with subprocess.Popen([executable]) as process:
        deadline = time.monotonic() + 5
        while not _sleeps(process.pid) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(number)
        assert process.wait(5) == 0


def _sleeps(pid: int) -> bool:
    """Waiting in the kernel as itself, no longer as the interpreter that forked it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return "State:\tS" in status and "sandbox" in status.partition("\n")[0]
