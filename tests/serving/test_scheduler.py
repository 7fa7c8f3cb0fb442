"""The scheduler: texts take turns, others wait, and who leaves frees a place at once."""

import threading

import pytest

from numpylm.serving.scheduler import Busy, Scheduler, Stopped
from tests.serving.serving import until


@pytest.fixture
def scheduler():
    scheduler = Scheduler(places=2, most=4)
    yield scheduler
    scheduler.close()


class Gate:
    """Texts that write an item whenever the test lets them."""

    def __init__(self):
        self.permits, self.log, self.closed = threading.Semaphore(0), [], []

    def text(self, name, length):
        try:
            for n in range(length):
                self.permits.acquire()
                self.log.append(name)
                yield f"{name}{n}"
        finally:
            self.closed.append(name)

    def begin(self, name, length=1000):
        return lambda: self.text(name, length)

    def open(self, count=10_000):
        self.permits.release(count)


def contents(order):
    return [item for _, item in order.items()]


def test_two_texts_take_turns_and_the_third_waits_for_a_place(scheduler):
    gate = Gate()
    first, second, third = (scheduler.submit([gate.begin(name, n)]) for name, n in (("a", 3), ("b", 5), ("c", 2)))
    until(lambda: scheduler.load() == (2, 1))
    gate.open()
    assert contents(third) == ["c0", "c1"]
    assert contents(first) == ["a0", "a1", "a2"]
    assert contents(second) == ["b0", "b1", "b2", "b3", "b4"]
    turns = "".join(gate.log)
    assert sorted(turns) == list("aaabbbbbcc")
    assert turns.index("c") > turns.rindex("a")  # it got the place that a had
    assert "bb" not in turns[: turns.rindex("a")]
    assert scheduler.load() == (0, 0)


def test_the_texts_of_an_order_arrive_with_their_numbers(scheduler):
    gate = Gate()
    gate.open()
    order = scheduler.submit([gate.begin(name, 3) for name in "abc"])
    arrived = list(order.items())
    for index, name in enumerate("abc"):
        assert [item for i, item in arrived if i == index] == [f"{name}0", f"{name}1", f"{name}2"]


def test_too_many_texts_are_refused_until_one_ends(scheduler):
    gate = Gate()
    orders = [scheduler.submit([gate.begin(name, 1)]) for name in "abcd"]
    with pytest.raises(Busy, match="4 texts are being written or waiting"):
        scheduler.submit([gate.begin("e")])
    gate.open()
    for order in orders:
        contents(order)
    assert contents(scheduler.submit([gate.begin(name, 1) for name in "efghijk"]))  # large, but nothing else to do


def test_a_cancelled_text_leaves_before_its_next_item_and_a_waiting_one_at_once(scheduler):
    gate = Gate()
    running, other, waiting = (scheduler.submit([gate.begin(name)]) for name in "abc")
    until(lambda: scheduler.load() == (2, 1))
    waiting.cancel()
    assert scheduler.load() == (2, 0)
    running.cancel()
    gate.open(5)
    until(lambda: gate.log.count("b") >= 3)
    assert gate.log.count("a") <= 1
    assert gate.closed == ["a"]  # the iterator is closed, which frees its cache
    other.cancel()
    gate.open()
    until(lambda: scheduler.load() == (0, 0))


def test_a_consumer_whose_client_has_left_cancels_its_order(scheduler):
    gate = Gate()
    order = scheduler.submit([gate.begin("a")])

    def gone():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(order.items(gone))
    gate.open(1)
    until(lambda: scheduler.load() == (0, 0))
    assert len(gate.log) <= 1


def test_the_client_is_looked_for_while_nothing_arrives(scheduler):
    gate, looks = Gate(), []
    order = scheduler.submit([gate.begin("a")])

    def look():
        looks.append(1)
        if len(looks) == 3:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        list(order.items(look))
    gate.open()


def test_an_error_reaches_the_order_that_it_belongs_to_and_no_other(scheduler):
    gate = Gate()
    gate.open()

    def broken():
        yield "x"
        raise ValueError("not finite")

    def impossible():
        raise MemoryError

    bad, good, worse = (scheduler.submit([begin]) for begin in (broken, gate.begin("a", 20), impossible))
    items = bad.items()
    assert next(items) == (0, "x")
    with pytest.raises(ValueError, match="not finite"):
        next(items)
    with pytest.raises(MemoryError):
        contents(worse)
    assert len(contents(good)) == 20


def test_closing_ends_every_order(scheduler):
    gate = Gate()
    orders = [scheduler.submit([gate.begin(name)]) for name in "abc"]
    gate.open(7)
    until(lambda: len(gate.log) == 7)
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    until(lambda: scheduler._closed)
    gate.open()
    closing.join()
    for order in orders:
        with pytest.raises(Stopped):
            contents(order)
    with pytest.raises(Stopped):
        scheduler.submit([gate.begin("d")])
