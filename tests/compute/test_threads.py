"""The number of threads follows what is fastest at the moment."""

import pytest
import torch

from mincurate.compute import threads
from mincurate.compute.threads import Threads


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only in steps."""

    class Clock:
        now = 0.0

    def read():
        return Clock.now

    monkeypatch.setattr(threads.time, "perf_counter", read)
    monkeypatch.setattr(threads.time, "monotonic", read)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield Clock
    torch.set_num_threads(before)


def work(chooser, clock, seconds, steps):
    """Steps that take ``seconds[number of threads]``; the numbers that were used."""
    used = []
    for _ in range(steps):
        with chooser.step():
            used.append(torch.get_num_threads())
            clock.now += seconds[used[-1]]
    return used


def test_the_fastest_number_is_found_and_kept_and_left_when_the_machine_changes(clock):
    chooser = Threads()
    busy, free = {4: 10.0, 2: 1.0, 1: 0.5}, {4: 0.25, 2: 0.5, 1: 1.0}
    used = work(chooser, clock, busy, 40)
    assert chooser.chosen == 1 and used[-20:] == [1] * 20
    assert used.count(4) < threads.TRIES < used.count(1), "hopeless numbers get few steps"
    work(chooser, clock, free, 2000)
    assert chooser.chosen == 4
    assert torch.get_num_threads() == 4, "outside of steps nothing is changed"


def test_a_short_job_beside_it_holds_up_a_long_one_for_little_longer_than_itself(clock):
    chooser, free = Threads(), {4: 0.25, 2: 0.5, 1: 1.0}
    work(chooser, clock, free, 400)
    before = clock.now
    while clock.now < before + 60:
        work(chooser, clock, {4: 10.0, 2: 1.0, 1: 0.5}, 1)
    assert chooser.chosen == 1
    over = clock.now
    while chooser.chosen != 4:
        work(chooser, clock, free, 1)
    assert clock.now - over < 90


def test_a_slow_start_does_not_count_against_all_threads(clock):
    chooser = Threads()
    work(chooser, clock, {4: 60.0, 2: 60.0, 1: 60.0}, 1)
    assert work(chooser, clock, {4: 0.25, 2: 0.5, 1: 1.0}, 40)[-20:] == [4] * 20


def test_trying_costs_little_where_nothing_changes(clock):
    chooser = Threads()
    used = work(chooser, clock, {4: 10.0, 2: 1.0, 1: 0.5}, 8000)
    spent = {number: used.count(number) for number in (4, 2, 1)}
    assert 10.0 * spent[4] + spent[2] < 0.1 * 0.5 * spent[1]


def test_on_a_gpu_nothing_is_tried(clock):
    assert set(work(Threads("cuda"), clock, {4: 1.0}, 5)) == {4}
