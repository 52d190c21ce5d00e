"""Entries as journald's protocol wants them, sent to a socket of the test's own."""

from __future__ import annotations

import io
import os
import socket
import struct

import pytest

from cluster.base.journal import JournalSocket, entry_of, field_name, is_journal


@pytest.fixture
def journald(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        receiver.settimeout(5)
        yield receiver


@pytest.fixture
def sender(journald, tmp_path):
    connection = JournalSocket(str(tmp_path / "socket"))
    yield connection
    connection.close()


def test_a_value_with_a_line_break_is_sent_by_length_so_that_it_forges_no_field():
    value = "two\nPRIORITY=0"
    assert entry_of({"MESSAGE": value, "PRIORITY": "6"}) == (
        b"MESSAGE\n" + struct.pack("<Q", len(value)) + value.encode() + b"\nPRIORITY=6\n"
    )


@pytest.mark.parametrize(
    ("key", "name"), [("duration_ms", "DURATION_MS"), ("a-b.c", "A_B_C"), ("é", "_"), ("x" * 70, "X" * 64)]
)
def test_a_key_becomes_a_name_that_journald_takes(key, name):
    assert field_name(key) == name


def test_an_entry_arrives_as_one_datagram(journald, sender):
    sender.send(b"MESSAGE=hello\n")
    assert journald.recv(100) == b"MESSAGE=hello\n"


def test_an_entry_too_big_for_a_datagram_arrives_as_a_file_that_nobody_can_change(journald, sender):
    entry = b"MESSAGE=" + b"x" * 4_000_000 + b"\n"
    sender.send(entry)
    data, descriptors, _, _ = socket.recv_fds(journald, 10, 1)
    with os.fdopen(descriptors[0], "r+b") as file:
        assert data == b"" and os.pread(file.fileno(), len(entry) + 1, 0) == entry
        with pytest.raises(PermissionError):
            os.pwrite(file.fileno(), b"y", 0)


def test_a_journald_that_hangs_costs_entries_and_the_next_one_tells_how_many(journald, sender):
    # Nobody reads: the queue of the socket fills up.
    for _ in range(10_000):
        sender.send(b"MESSAGE=x\n")
        if sender.dropped == 3:
            break
    assert sender.dropped == 3
    journald.recv(100)
    sender.send(b"MESSAGE=y\n")
    assert sender.dropped == 0


def test_without_journald_the_sender_is_told(tmp_path):
    connection = JournalSocket(str(tmp_path / "nobody"))
    with pytest.raises(FileNotFoundError):
        connection.send(b"MESSAGE=x\n")
    connection.close()


def test_stderr_is_the_journal_only_when_systemd_named_its_inode(tmp_path):
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert is_journal(stream, f"{status.st_dev}:{status.st_ino}")
        assert not is_journal(stream, f"{status.st_dev}:{status.st_ino + 1}")
        assert not is_journal(stream, "")
    assert not is_journal(io.StringIO(), "1:2")
