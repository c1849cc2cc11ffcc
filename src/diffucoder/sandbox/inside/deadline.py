"""A timer whose signal ends the process without a Python handler.

Python runs a signal's handler between two of its own instructions, so never during one call into
C, such as a sum over an endless range. The kernel ends the process in that case too.
"""

import ctypes
import os
import signal

from .lockdown import check, libc

SIGNAL = signal.SIGPROF
# timer_create and timer_settime; older versions of libc have theirs in another library.
_CALLS = {"x86_64": (222, 223), "aarch64": (107, 110)}


class _Event(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    ]


class _Times(ctypes.Structure):
    _fields_ = [(n, ctypes.c_long) for n in ("every_s", "every_ns", "first_s", "first_ns")]


class Deadline:
    """Ends this process with `SIGNAL` when the time that was set runs out. Linux only.

    Raises:
        OSError: If the kernel makes no timer.
    """

    def __init__(self) -> None:
        signal.signal(SIGNAL, signal.SIG_DFL)
        create, self._set = _CALLS[os.uname().machine]
        self._timer = ctypes.c_int()
        event = _Event(signal=SIGNAL)
        clock = ctypes.c_int(1)  # CLOCK_MONOTONIC
        done = libc.syscall(create, clock, ctypes.byref(event), ctypes.byref(self._timer))
        check(done, "timer_create")

    def set(self, seconds: float) -> None:
        """Set or stop the timer.

        Args:
            seconds: Time until the process ends, from now; 0 stops the timer.
        """
        times = _Times(first_s=int(seconds), first_ns=int(seconds % 1 * 10**9))
        check(libc.syscall(self._set, self._timer, 0, ctypes.byref(times), None), "timer_settime")
