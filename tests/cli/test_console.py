"""What is printed: by long work where the output is no terminal, and wherever it is printed."""

import itertools
import os
import re
import subprocess
import sys

import pytest
from conftest import command

from mincurate import terminal
from mincurate.cli import console
from mincurate.runs import store
from mincurate.terminal import Terminal


def lines(monkeypatch, capsys, there, per_second, seconds, total=100_000):
    """Rates that a log shows, of work that found ``there`` done and then goes on."""
    clock = itertools.count()
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    with Terminal().task("Working", total) as advance:
        advance(there)
        for second in range(seconds):
            advance(per_second(second))
    said = capsys.readouterr().out
    return [int(rate.replace(",", "")) for rate in re.findall(r"([\d,]+) images/s", said)]


def test_what_was_there_before_does_not_count_as_speed(monkeypatch, capsys):
    rates = lines(monkeypatch, capsys, 5000, lambda second: 10, 200)
    assert len(rates) > 5 and set(rates) == {10}


def test_the_rate_is_that_of_the_last_minute(monkeypatch, capsys):
    rates = lines(monkeypatch, capsys, 0, lambda second: 1000 if second < 20 else 10, 200)
    assert rates[0] == 1000 and rates[-1] == 10


def test_the_time_left_follows_from_the_rate(monkeypatch, capsys):
    clock = itertools.count()
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    with Terminal().task("Working", 700) as advance:
        advance(100)
        for _ in range(20):
            advance(10)
    said = capsys.readouterr().out
    assert re.search(r"Working: (\d+) of 700 .*10 images/s, (\d+) s left", said), said
    done, left = map(int, re.search(r"Working: (\d+) of 700 .* (\d+) s left", said).groups())
    assert left == (700 - done) // 10


def test_before_anything_is_done_no_rate_and_no_time_is_made_up(monkeypatch, capsys):
    clock = itertools.count(step=20)
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    with Terminal().task("Generating", 128) as advance:
        advance(0, "step 20 of 250")
        advance(0, "step 40 of 250")
        for _ in range(4):
            advance(5)
    said = capsys.readouterr().out
    assert "Generating: 0 of 128 (0%), step 40 of 250\n" in said
    assert re.search(r"Generating: 15 of 128 \(12%\), 0\.\d+ images/s, \d+ min", said), said


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_output_spells_out_what_its_encoding_lacks(home, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    store.create().update(source={"kind": "folder", "value": "/data/海"}, dataset="[/red] x")
    printed = command(home, "runs", "list")
    assert r"/data/\u6d77" in printed and "[/red] x" in printed
    assert "--rank-by" in command(home, "score", "--help")


def test_a_name_cannot_steer_the_terminal(capsys):
    Terminal().say("a\x1b[2Jb\u202ec\nnext")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\u202ec\nnext\n"


PRINT = r"""
from mincurate.cli import console, main
import sys
from mincurate.terminal import Terminal
console.print_whatever_comes()
terminal = Terminal()
terminal.say("Table: \u4e2d.png")
terminal.warn("\u00e9 \ud83d\ude00 \udce9")
from rich.table import Table
table = Table(title="rarest")
table.add_column("image")
table.add_row(console.cell("\u4e2d\udce9.png"))
terminal.console.print(table)
with terminal.task("\u4e2d", 2) as advance:
    advance(2)
sys.argv = ["mincurate", "runs", "show", "\u4e2d"]
main()
"""


@pytest.mark.parametrize(
    "encoding", ["ascii", "latin-1", "cp1252", "ascii:strict", "utf-8", "cp437"]
)
def test_output_of_any_encoding_spells_out_what_it_lacks(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, env=environment)
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
    name = "\u4e2d".encode(encoding.partition(":")[0], "backslashreplace")
    assert done.stdout.count(name) >= 3 and b"There is no run" in done.stderr


def test_output_that_nobody_reads_ends_without_a_traceback():
    for end in ("| true", ">&-", "2>&-", "> /dev/full"):
        command = f"{sys.executable} -m mincurate --help {end}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


NAMES = {
    "a\x1b[31mred.png": r"a\x1b[31mred.png",
    "a\rb.png": r"a\rb.png",
    "a\u202eb.png": r"a\u202eb.png",
    "[bold]x.png": "[bold]x.png",
    "a\x07\x08.png": r"a\x07\x08.png",
}


@pytest.mark.parametrize("name", NAMES)
def test_control_characters_are_spelled_out(name, capsys):
    reporter = Terminal()
    reporter.say(f"Found {name}\nand more")
    reporter.warn(name)
    from rich.table import Table

    table = Table()
    table.add_column("image")
    table.add_row(console.cell(f"x\n{name}"))
    reporter.console.print(table)
    said = capsys.readouterr().out
    assert said.count(NAMES[name]) == 3 and name not in said.replace(NAMES[name], "")
    assert f"Found {NAMES[name]}\nand more" in said and r"x\n" in said
