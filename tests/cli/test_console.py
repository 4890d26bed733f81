"""What long work says where the output is no terminal."""

import itertools
import re

import pytest
from conftest import command

from mincurate.cli import console
from mincurate.runs import store


def lines(monkeypatch, capsys, there, per_second, seconds, total=100_000):
    """Rates that a log shows, of work that found ``there`` done and then goes on."""
    clock = itertools.count()
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.Terminal().task("Working", total) as advance:
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
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.Terminal().task("Working", 700) as advance:
        advance(100)
        for _ in range(20):
            advance(10)
    said = capsys.readouterr().out
    assert re.search(r"Working: (\d+) of 700 .*10 images/s, (\d+) s left", said), said
    done, left = map(int, re.search(r"Working: (\d+) of 700 .* (\d+) s left", said).groups())
    assert left == (700 - done) // 10


def test_before_anything_is_done_no_rate_and_no_time_is_made_up(monkeypatch, capsys):
    clock = itertools.count(step=20)
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.Terminal().task("Generating", 128) as advance:
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
    console.Terminal().say("a\x1b[2Jb\u202ec\nnext")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\u202ec\nnext\n"
