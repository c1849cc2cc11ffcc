"""Requests of many clients, decoded together.

One thread owns the model. Rows enter and leave the running batch between two steps, so a request
waits for a place, never for the batch before it to end.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from diffucoder.decoding import Request, Session, Step
from diffucoder.decoding.request import check_request
from diffucoder.errors import DiffucoderError


class QueueFull(DiffucoderError):
    """As many requests wait as may."""


class TooLate(DiffucoderError):
    """A request took longer than it may."""


class Closing(DiffucoderError):
    """The server is being stopped."""


Deliver = Callable[[Step | Exception], None]


@dataclass(eq=False)
class Ticket:
    """A request on its way.

    Attributes:
        request: what is asked.
        deliver: called from the batcher's thread with each step, the last of which has the
            completion, or with the exception that ended the request.
        latest: when it is given up, on the monotonic clock.
        cancelled: whether nobody wants it any more.
    """

    request: Request
    deliver: Deliver
    latest: float
    cancelled: bool = field(default=False)


class Batcher:
    """A thread that decodes what is submitted.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        mask_token_id: the mask token.
        pad_token_id: filler.
        rows: rows decoded together at most.
        queue: rows that may wait besides.
        seconds: from submission to completion, at most.

    Raises:
        BadCheckpoint: for a model without a mask token.
    """

    def __init__(
        self,
        model: nn.Module,
        mask_token_id: int,
        pad_token_id: int,
        rows: int,
        queue: int,
        seconds: float,
    ) -> None:
        self._open = lambda: Session(model, mask_token_id, pad_token_id)
        self._model, self._mask = model, mask_token_id
        self.rows, self.queue, self.seconds = rows, queue, seconds
        self._session = self._open()
        self._running: dict[int, Ticket] = {}
        self._waiting: deque[Ticket] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="decoding", daemon=True)
        self._thread.start()

    @property
    def load(self) -> tuple[int, int]:
        """Rows being decoded, and rows that wait."""
        with self._change:
            return len(self._running), len(self._waiting)

    def submit(self, requests: list[tuple[Request, Deliver]]) -> list[Ticket]:
        """Queue requests, all or none of them.

        Raises:
            BadData: for a request that cannot be answered.
            BadParameters: likewise, for its config.
            Closing: once `close` was called.
            QueueFull: if there is no room for them.
        """
        for number, (request, _) in enumerate(requests):
            check_request(self._model, request, self._mask, number)
        latest = time.monotonic() + self.seconds
        tickets = [Ticket(request, deliver, latest) for request, deliver in requests]
        with self._change:
            if self._closed:
                raise Closing("the server is being stopped: ask again later")
            room = self.queue + self.rows - len(self._running) - len(self._waiting)
            if len(tickets) > room:
                raise QueueFull(
                    f"{len(self._waiting)} requests wait already and the queue holds "
                    f"{self.queue}: ask again later"
                )
            self._waiting += tickets
            self._change.notify()
        return tickets

    def cancel(self, tickets: list[Ticket]) -> None:
        """Let requests go, wherever they are; their places are free before the next step."""
        with self._change:
            for ticket in tickets:
                ticket.cancelled = True
            self._change.notify()

    def close(self) -> None:
        """End the thread; what is not finished gets `Closing`."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _serve(self) -> None:
        while self._admit():
            try:
                steps = self._session.step()
            except Exception as error:
                # Such as memory that ran out: these rows are lost, the next ones may fit.
                self._fail(error)
                continue
            for step in steps:
                ticket = self._running[step.row]
                ticket.deliver(step)
                if step.completion is not None:
                    with self._change:
                        del self._running[step.row]

    def _admit(self) -> bool:
        """Wait for work and take it in; False when the batcher is to end."""
        with self._change:
            self._drop()
            while not (self._running or self._waiting or self._closed):
                self._change.wait()
                self._drop()
            if self._closed:
                for ticket in [*self._running.values(), *self._waiting]:
                    ticket.deliver(Closing("the server was stopped before the answer was there"))
                return False
            while self._waiting and len(self._running) < self.rows:
                ticket = self._waiting.popleft()
                self._running[self._session.add(ticket.request)] = ticket
        return True

    def _drop(self) -> None:
        """Let go what nobody wants any more, and what is too late."""
        now = time.monotonic()
        for ticket in [*self._running.values(), *self._waiting]:
            if not ticket.cancelled and now > ticket.latest:
                ticket.deliver(TooLate(f"no answer within {self.seconds:g} s: ask for less"))
                ticket.cancelled = True
        for number, ticket in list(self._running.items()):
            if ticket.cancelled:
                self._session.remove(number)
                del self._running[number]
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.cancelled)

    def _fail(self, error: Exception) -> None:
        with self._change:
            for ticket in self._running.values():
                ticket.deliver(error)
            self._running.clear()
            self._session = self._open()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
