"""Requests of many clients decoded together, by one thread that owns the model.

A request waits in a queue until there is room in the batch, joins the rows between two steps, and
leaves when it is finished, cancelled or out of time.
"""

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from diffucoder.decoding import Completion, Request, Sampler
from diffucoder.serving.chat_model import ChatModel


class QueueFull(Exception):
    """The queue has no room for a request."""


class RequestTimeout(Exception):
    """A request took longer than it may."""


class DecodingFailed(Exception):
    """Decoding ended in an error that is not the client's."""


@dataclass(eq=False)
class RequestState:
    """A request and how far it has come.

    The decoding thread writes it, and the event loop of the client reads it.

    Attributes:
        request: what to decode.
        deadline: when it times out, in seconds of the monotonic clock.
        mask: the mask token.
        loop: the event loop in which the client waits.
        written: tokens of the canvas so far, None where a position is masked.
        completion: the result, once it is finished.
        error: why it ended without a result, if it did.
        cancelled: whether the client no longer wants it.
        changed: set whenever something above may have changed; whoever waits clears it.
    """

    request: Request
    deadline: float
    mask: int
    loop: asyncio.AbstractEventLoop
    written: list[int | None] = field(init=False)
    completion: Completion | None = None
    error: Exception | None = None
    cancelled: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        canvas = self.request.canvas
        self.written = [None if token == self.mask else token for token in canvas]

    @property
    def done(self) -> bool:
        """Whether there is nothing more to come."""
        return self.completion is not None or self.error is not None

    def stable_tokens(self) -> list[int]:
        """Tokens written so far without a gap, from the canvas's start."""
        tokens: list[int] = []
        for token in list(self.written):
            if token is None:
                break
            tokens.append(token)
        return tokens

    def notify(self) -> None:
        """Wake the client's task; from any thread."""
        # Nothing waits in a loop that has been closed.
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.changed.set)


class Batcher:
    """Decodes requests in a thread of its own.

    Args:
        chat_model: the checkpoint.
        max_batch_size: most rows that are decoded together.
        max_queue: most requests that may wait.
        seconds: time that a request may take, waiting included.

    Attributes:
        chat_model: as given.
        max_batch_size: as given.
        max_queue: as given.
        seconds: as given.
    """

    def __init__(
        self, chat_model: ChatModel, max_batch_size: int, max_queue: int, seconds: float
    ) -> None:
        self.chat_model, self.seconds = chat_model, seconds
        self.max_batch_size, self.max_queue = max_batch_size, max_queue
        self._sampler = self._new_sampler()
        self._waiting: deque[RequestState] = deque()
        self._active: dict[int, RequestState] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        self._thread.start()

    @property
    def forwards(self) -> int:
        """Number of model calls so far."""
        return self._sampler.forwards

    @property
    def load(self) -> tuple[int, int]:
        """Number of requests that are being decoded, and of those that wait."""
        with self._wake:
            return len(self._active), len(self._waiting)

    def submit(self, requests: list[Request]) -> list[RequestState]:
        """Queue requests, all or none; called from an event loop.

        Args:
            requests: what to decode.

        Returns:
            A state for each request.

        Raises:
            QueueFull: if the queue has no room for them.
        """
        loop, deadline = asyncio.get_running_loop(), time.monotonic() + self.seconds
        mask = self.chat_model.special.mask
        states = [RequestState(request, deadline, mask, loop) for request in requests]
        with self._wake:
            free = self.max_batch_size - len(self._active)
            if len(self._waiting) + len(states) > self.max_queue + free:
                raise QueueFull
            self._waiting.extend(states)
            self._wake.notify()
        return states

    def cancel(self, state: RequestState) -> None:
        """Give a request's place in the batch or queue to others; harmless when it is done."""
        with self._wake:
            state.cancelled = True
            self._wake.notify()

    def close(self) -> None:
        """Stop after the current step; requests that are left fail."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _new_sampler(self) -> Sampler:
        return Sampler(self.chat_model.model, self.chat_model.special)

    def _run(self) -> None:
        while self._admit():
            try:
                steps = self._sampler.step()
            except Exception as error:
                # An error in one batch, such as no memory, must not end the server.
                failed = DecodingFailed(f"{type(error).__name__}: {error}")
                self._end(list(self._active.values()), failed)
                self._active, self._sampler = {}, self._new_sampler()
                continue
            for step in steps:
                state = self._active[step.row]
                for position, token in zip(step.positions, step.tokens, strict=True):
                    state.written[position] = token
                if step.completion is not None:
                    state.completion = step.completion
                    with self._wake:
                        del self._active[step.row]
                state.notify()

    def _admit(self) -> bool:
        """Remove and add rows; waits until there is something to do. False ends the thread."""
        with self._wake:
            while True:
                self._expire()
                ended = [
                    row for row, state in self._active.items() if state.cancelled or state.done
                ]
                for row in ended:
                    self._sampler.remove(row)
                    del self._active[row]
                self._waiting = deque(
                    state for state in self._waiting if not state.cancelled and not state.done
                )
                while self._waiting and len(self._active) < self.max_batch_size:
                    self._start(self._waiting.popleft())
                if self._closed:
                    left = [*self._active.values(), *self._waiting]
                    self._end(left, DecodingFailed("the server is stopping"))
                    return False
                if self._active:
                    return True
                self._wake.wait()

    def _start(self, state: RequestState) -> None:
        try:
            self._active[self._sampler.add(state.request)] = state
        except ValueError as error:
            self._end([state], error)

    def _expire(self) -> None:
        late = [
            state
            for state in (*self._active.values(), *self._waiting)
            if time.monotonic() > state.deadline
        ]
        self._end(late, RequestTimeout(f"not finished within {self.seconds:g} s"))

    def _end(self, states: list[RequestState], error: Exception) -> None:
        for state in states:
            state.error = error
            state.notify()
