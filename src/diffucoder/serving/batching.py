"""Requests of many clients decoded together, by one thread that owns the model.

A request waits in line until a slot is free, joins the rows between two steps, and leaves when it
is finished, cancelled or out of time.
"""

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from diffucoder.decoding import Completion, Request, Session
from diffucoder.serving.speaker import Speaker


class Busy(Exception):
    """The line is full."""


class OutOfTime(Exception):
    """A request took longer than it may."""


class Failed(Exception):
    """Decoding ended in an error that is not the client's."""


@dataclass(eq=False)
class Job:
    """A request on its way.

    Attributes:
        request: what is asked.
        deadline: on the monotonic clock.
        written: int per canvas position, None while masked.
        completion: once it is finished.
    """

    request: Request
    deadline: float
    mask: int
    loop: asyncio.AbstractEventLoop
    written: list[int | None] = field(init=False)
    completion: Completion | None = None
    error: Exception | None = None
    cancelled: bool = False
    row: int | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        canvas = self.request.canvas
        self.written = [None if token == self.mask else token for token in canvas]

    @property
    def done(self) -> bool:
        """Whether there is nothing more to come."""
        return self.completion is not None or self.error is not None

    def settled(self) -> list[int]:
        """Tokens written so far without a gap, from the canvas's start."""
        tokens: list[int] = []
        for token in list(self.written):
            if token is None:
                break
            tokens.append(token)
        return tokens

    def notify(self) -> None:
        """Wake who waits for the job; from any thread."""
        # A loop that has been closed has nobody waiting in it.
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.changed.set)


class Batcher:
    """Decodes jobs in a thread of its own.

    Args:
        speaker: the checkpoint.
        slots: rows that are decoded together.
        line: requests that may wait for a slot.
        seconds: that a request may take, waiting included.

    Attributes:
        forwards: model calls so far.
    """

    def __init__(self, speaker: Speaker, slots: int, line: int, seconds: float) -> None:
        self.speaker, self.slots, self.line, self.seconds = speaker, slots, line, seconds
        self._session = self._new_session()
        self._waiting: deque[Job] = deque()
        self._active: dict[int, Job] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        self._thread.start()

    @property
    def forwards(self) -> int:
        return self._session.forwards

    @property
    def load(self) -> tuple[int, int]:
        """Requests that are decoded, and that wait."""
        with self._wake:
            return len(self._active), len(self._waiting)

    def submit(self, requests: list[Request]) -> list[Job]:
        """Put requests in line, all or none; called from an event loop.

        Raises:
            Busy: if the line has no room for them.
        """
        loop, deadline = asyncio.get_running_loop(), time.monotonic() + self.seconds
        mask = self.speaker.special.mask
        jobs = [Job(request, deadline, mask, loop) for request in requests]
        with self._wake:
            free = self.slots - len(self._active)
            if len(self._waiting) + len(jobs) > self.line + free:
                raise Busy
            self._waiting.extend(jobs)
            self._wake.notify()
        return jobs

    def cancel(self, job: Job) -> None:
        """Give a job's slot, or its place in the line, to others; harmless when it is done."""
        with self._wake:
            job.cancelled = True
            self._wake.notify()

    def close(self) -> None:
        """Stop after the step that is being taken; jobs that are left fail."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _new_session(self) -> Session:
        special = self.speaker.special
        return Session(self.speaker.model, special.mask, special.pad)

    def _run(self) -> None:
        while self._admit():
            try:
                steps = self._session.step()
            except Exception as error:
                # One batch's misfortune, such as no memory, must not end the server.
                self._end(list(self._active.values()), Failed(f"{type(error).__name__}: {error}"))
                self._active, self._session = {}, self._new_session()
                continue
            for step in steps:
                job = self._active[step.row]
                for place, token in zip(step.places, step.tokens, strict=True):
                    job.written[place] = token
                if step.completion is not None:
                    job.completion = step.completion
                    with self._wake:
                        del self._active[step.row]
                job.notify()

    def _admit(self) -> bool:
        """Let rows go and come; waits until there is something to do. False ends the thread."""
        with self._wake:
            while True:
                self._expire()
                for row in [row for row, job in self._active.items() if job.cancelled or job.done]:
                    self._session.remove(row)
                    del self._active[row]
                self._waiting = deque(
                    job for job in self._waiting if not job.cancelled and not job.done
                )
                while self._waiting and len(self._active) < self.slots:
                    self._start(self._waiting.popleft())
                if self._closed:
                    left = [*self._active.values(), *self._waiting]
                    self._end(left, Failed("the server is stopping"))
                    return False
                if self._active:
                    return True
                self._wake.wait()

    def _start(self, job: Job) -> None:
        try:
            self._active[self._session.add(job.request)] = job
        except ValueError as error:
            self._end([job], error)

    def _expire(self) -> None:
        late = [
            job
            for job in (*self._active.values(), *self._waiting)
            if time.monotonic() > job.deadline
        ]
        self._end(late, OutOfTime(f"not finished within {self.seconds:g} s"))

    def _end(self, jobs: list[Job], error: Exception) -> None:
        for job in jobs:
            job.error = error
            job.notify()
