"""Scheduler: one thread writes several texts in turn, one token of each at a time, while others wait in a queue.

A model computes one thing at a time, and several clients want texts. If each text were written to its end before the
next one begins, a short answer would wait for a long one. So the texts take turns. Each is an iterator with a state of
its own (key/value cache, random generator), so taking turns changes no text.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

POLL = 0.1  # seconds after which a consumer that waits looks whether its client is still there
JOIN = 5.0  # seconds that `close` waits for the token that is being computed

Begin = Callable[[], Iterator[Any]]


class Busy(Exception):
    """So many texts are being written or waiting that no more are accepted."""


class Stopped(Exception):
    """The scheduler was closed before the text was complete."""


class Text:
    """One text of an order: how it begins, and the iterator that writes it, once it has begun."""

    def __init__(self, order: "Order", index: int, begin: Begin) -> None:
        self.order, self.index, self.begin = order, index, begin
        self.iterator: Iterator[Any] | None = None

    def step(self) -> bool:
        """Write one more item. Returns whether the text goes on; its end or its error goes to the order's queue."""
        try:
            if self.iterator is None:
                self.iterator = self.begin()
            self.order.arrived.put((self.index, next(self.iterator)))
            return True
        except StopIteration:
            self.order.arrived.put(None)
        except Exception as error:  # whatever is wrong with this text, the others go on
            self.order.arrived.put(error)
        return False

    def close(self) -> None:
        """End the iterator, which frees its key/value cache."""
        if (close := getattr(self.iterator, "close", None)) is not None:
            close()


class Order:
    """Texts that were ordered together. Their items arrive in one queue, in the order in which they are written."""

    def __init__(self, scheduler: "Scheduler", begins: Sequence[Begin]) -> None:
        self.texts = [Text(self, index, begin) for index, begin in enumerate(begins)]
        self.arrived: SimpleQueue[tuple[int, Any] | Exception | None] = SimpleQueue()  # None: a text is complete
        self.cancelled = False
        self._scheduler = scheduler

    def items(self, check: Callable[[], object] = lambda: None) -> Iterator[tuple[int, Any]]:
        """Yield (index of the text, item) until all texts are complete.

        Parameters
        ----------
        check : callable
            Called before each item, and every `POLL` seconds while there is none. If it raises an exception, because
            the client has left, the order is cancelled.

        Raises
        ------
        Stopped
            If the scheduler is closed.
        Exception
            If an iterator raises it, or ``check``. The other texts of the order are cancelled.
        """
        going = len(self.texts)
        try:
            while going:
                check()
                try:
                    arrived = self.arrived.get(timeout=POLL)
                except Empty:
                    continue
                if isinstance(arrived, Exception):
                    raise arrived
                if arrived is None:
                    going -= 1
                else:
                    yield arrived
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Give up what is not complete: waiting texts leave the queue now, running ones before their next token."""
        self._scheduler.cancel(self)


class Scheduler:
    """Writes up to ``places`` texts at a time, in one thread. The others wait, in the order in which they came.

    Parameters
    ----------
    places : int
        Texts that take turns. Each has a key/value cache, so this limits the memory.
    most : int
        Texts that are written or wait. If there are as many, `submit` raises `Busy`.
    """

    def __init__(self, places: int = 4, most: int = 32) -> None:
        self.places, self.most = places, most
        self._running: list[Text] = []
        self._waiting: deque[Text] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="scheduler", daemon=True)
        self._worker.start()

    def submit(self, begins: Sequence[Begin]) -> Order:
        """Order texts. Each function is called when its text begins, and returns the iterator that writes it.

        An order may exceed ``most`` by its own texts, so that a large one is accepted when there is little to do.

        Raises
        ------
        Busy, Stopped
        """
        order = Order(self, begins)
        with self._changed:
            if self._closed:
                raise Stopped("the server is stopping")
            if sum(self.load()) >= self.most:
                raise Busy(f"{self.most} texts are being written or waiting, which is the most: try again later")
            self._waiting.extend(order.texts)
            self._changed.notify()
        return order

    def cancel(self, order: Order) -> None:
        """See `Order.cancel`."""
        with self._changed:
            order.cancelled = True
            self._waiting = deque(text for text in self._waiting if text.order is not order)

    def load(self) -> tuple[int, int]:
        """The numbers of texts that are being written, and that wait."""
        return len(self._running), len(self._waiting)

    def close(self) -> None:
        """Stop after the token that is being computed. Orders that are not complete get `Stopped`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join(JOIN)

    def _work(self) -> None:
        """The thread: rounds in which each running text writes one item."""
        while texts := self._next_round():
            for text in texts:
                if text.order.cancelled or not text.step():
                    text.close()
                    with self._changed:
                        self._running.remove(text)

    def _next_round(self) -> list[Text]:
        """Wait until there is something to do; fill free places, and return the running texts. Empty: closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or self._running)
            if self._closed:
                for text in [*self._running, *self._waiting]:
                    text.order.arrived.put(Stopped("the server is stopping"))
                self._running.clear()
                self._waiting.clear()
            while self._waiting and len(self._running) < self.places:
                self._running.append(self._waiting.popleft())
            return list(self._running)
