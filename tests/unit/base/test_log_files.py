"""Log files keep two generations and never lose a line that a reader has not seen."""

from __future__ import annotations

import os

from loguru import logger

from cluster.base.log import LogFiles, configure
from cluster.base.log_files import GENERATION_MAX_BYTES, LogFile, begin_anew_when_full, older


def test_a_full_file_becomes_the_older_one_and_its_predecessor_goes(tmp_path):
    path = tmp_path / "log"
    file = LogFile(path, size_max_bytes=10)
    for line in (b"11111\n", b"22222\n", b"33333\n"):
        file.write(line)
    file.close()
    assert (older(path).read_bytes(), path.read_bytes()) == (b"22222\n", b"33333\n")


def test_half_a_line_of_a_crash_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"whole\nhal")
    file = LogFile(path)
    file.write(b"next\n")
    file.close()
    assert path.read_bytes() == b"whole\nhal\nnext\n"


def test_a_disk_that_takes_nothing_costs_the_line_only(tmp_path):
    (tmp_path / "log").mkdir()
    LogFile(tmp_path / "log").write(b"lost\n")


def test_output_to_a_full_file_goes_on_in_a_new_one_under_the_same_descriptor(tmp_path):
    path = tmp_path / "daemon.log"
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.truncate(path, GENERATION_MAX_BYTES + 1)
        begin_anew_when_full(path, streams=(output,))
        os.write(output, b"on it goes\n")
    finally:
        os.close(output)
    assert path.read_bytes() == b"on it goes\n"
    assert older(path).stat().st_size == GENERATION_MAX_BYTES + 1


def test_a_full_file_that_is_not_our_output_is_left_alone(tmp_path):
    path, elsewhere = tmp_path / "daemon.log", tmp_path / "mine.txt"
    path.touch()
    os.truncate(path, GENERATION_MAX_BYTES + 1)
    with elsewhere.open("wb") as output:
        begin_anew_when_full(path, streams=(output.fileno(),))
    assert path.stat().st_size == GENERATION_MAX_BYTES + 1


def test_the_file_gets_the_records_of_its_part_alone_without_credentials(tmp_path, capsys):
    files = LogFiles(records=tmp_path / "records", part="tests", output=tmp_path / "output")
    configure(files=files)
    try:
        logger.patch(lambda record: record.update(name="tests.unit")).info("kept", app="web", reason="token=abc")
        logger.patch(lambda record: record.update(name="other.part")).info("not kept")
    finally:
        logger.remove()
    text = (tmp_path / "records").read_text()
    assert text.count("\n") == 1 and '"message":"kept","app":"web","reason":"token=***"' in text
    assert "not kept" in capsys.readouterr().err
