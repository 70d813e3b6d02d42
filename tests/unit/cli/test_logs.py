"""The parts' logs: whole lines, bounded files."""

import json
from pathlib import Path

from haas_cli.fleet.logs import FILES_KEPT, PartLog


def test_a_line_that_comes_in_pieces_is_written_once_whole(tmp_path: Path) -> None:
    log = PartLog(tmp_path / "a.log", "a")
    assert log.feed(b'{"n":') == []
    assert log.feed(b" 1}\nre") == [b'{"n": 1}']
    log.close()
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert json.loads(lines[0]) == {"n": 1}
    assert json.loads(lines[1])["message"] == "re"


def test_files_are_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    log = PartLog(tmp_path / "a.log", "a", bytes_max=100)
    for number in range(20):
        log.feed(b'{"number": %d, "padding": "%s"}\n' % (number, b"x" * 60))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == FILES_KEPT + 1
    assert all(file.stat().st_size <= 100 for file in files)
    assert json.loads((tmp_path / "a.log").read_text())["number"] == 19
    assert json.loads((tmp_path / "a.log.1").read_text())["number"] == 18


def test_output_without_newlines_does_not_grow_in_memory(tmp_path: Path) -> None:
    log = PartLog(tmp_path / "a.log", "a")
    assert log.feed(b"y" * 70_000) == [b"y" * 70_000]
    assert log.feed(b"z\n") == [b"z"]
    log.close()
