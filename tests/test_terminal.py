"""What a command prints."""

import io
import json
import sys

from search.terminal import box, emit_json, progress, table, take_any_names


def test_commands_in_a_summary_stay_whole_lines_and_prose_is_wrapped(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    command = "  escsearch predict models:/esc10@champion " + "x" * 80
    text = box("study s", f"exam      {'words ' * 30}\n\n{command}")
    lines = text.splitlines()
    assert command in lines
    assert all(len(line) <= 60 for line in lines if line != command)
    assert lines[0].startswith("── study s ─")
    assert lines[2].startswith(" " * 10 + "words")


def test_a_table_that_nobody_looks_at_is_not_cut(capsys):
    wide = "a" * 100
    assert wide in table(("one", "two"), [(wide, 2)])


def test_progress_without_a_terminal_is_plain_lines_on_stderr(capsys):
    with progress("decoding") as tick:
        tick(1, 3)
        tick(3, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "decoding: 3/3\n"


def test_names_that_are_no_utf_8_come_and_go_as_they_are(monkeypatch):
    given, printed = (io.TextIOWrapper(io.BytesIO(content), "utf-8") for content in (b"caf\xe9\n", b""))
    monkeypatch.setattr(sys, "stdin", given)
    monkeypatch.setattr(sys, "stdout", printed)
    take_any_names()
    print(sys.stdin.readline(), end="", flush=True)
    assert printed.buffer.getvalue() == b"caf\xe9\n"


def test_json_is_one_document_on_stdout(capsys):
    emit_json({"a": [1, 2]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, 2]}
