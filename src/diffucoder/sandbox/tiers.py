"""The containment that this machine offers, found by trying it."""

import threading
from functools import cache
from pathlib import Path

from diffucoder.errors import BadParameters, SandboxUnavailable
from diffucoder.sandbox.inside import wire
from diffucoder.sandbox.worker import Worker

# Strongest first. `unsafe` contains nothing and is never chosen by `auto`.
TIERS = ("namespaces+landlock+seccomp", "landlock+seccomp", "namespaces+seccomp", "unsafe")
UNSAFE = TIERS[-1]

# What the probe tries must be refused in every tier but the last.
_ATTEMPTS = """
import os, socket
def read(path): os.close(os.open(path, os.O_RDONLY))
def write(path): os.close(os.open(path, os.O_WRONLY))
def connect(path): socket.socket(socket.AF_UNIX)
def fork(path): os.fork() or os._exit(0)
def refused(name, path):
    try:
        globals()[name](path)
    except PermissionError:
        return True
"""
# Enough for the probe on a machine that is busy.
_LIMITS = {"memory_mb": 256, "cpu_s": 10, "wall_s": 30.0, "libraries": {}}


def choose(tier: str) -> str:
    """Choose the tier to run.

    Args:
        tier: One of `TIERS`, or `auto` for the strongest that works here.

    Returns:
        One of `TIERS`.

    Raises:
        BadParameters: If there is no such tier.
        SandboxUnavailable: If this machine does not offer it.
    """
    if tier not in ("auto", *TIERS):
        raise BadParameters(f"unknown sandbox tier {tier!r}: choose auto or one of {TIERS}")
    if tier == UNSAFE:
        return tier
    reasons = {}
    for name in TIERS[:-1] if tier == "auto" else (tier,):
        reasons[name] = flaw(name)
        if reasons[name] is None:
            return name
    reported = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise SandboxUnavailable(
        f"this machine cannot contain untrusted code ({reported}): use Linux 5.13 or later with "
        "Landlock enabled, or one that allows user namespaces, or accept the risk with "
        f"tier={UNSAFE!r}"
    )


@cache
def flaw(tier: str) -> str | None:
    """Try a tier, once per process.

    Args:
        tier: One of `TIERS`.

    Returns:
        Why it does not contain a program here; None if it does.
    """
    flaws: list[str | None] = []
    # In a thread of its own: the worker must end before the thread that started it.
    thread = threading.Thread(target=lambda: flaws.append(_try(tier)))
    thread.start()
    thread.join()
    return flaws[0]


def _try(tier: str) -> str | None:
    names = ("read", "write", "connect", "fork")
    target = str(Path(__file__).resolve())
    program = {
        "code": _ATTEMPTS,
        "tests": [f"assert refused({name!r}, {target!r})" for name in names],
        "entry_point": "refused",
        "setup": "",
        "max_timeouts": None,
        "lines": False,
    }
    try:
        worker = Worker({"tier": tier, **_LIMITS})
    except SandboxUnavailable as error:
        return str(error)
    try:
        outcomes = worker.ask(program)["outcomes"]
    except wire.Closed:
        return "its processes ended at once"
    finally:
        worker.end()
    failed = [name for name, outcome in zip(names, outcomes, strict=True) if outcome[0] != "passed"]
    return f"a program was not kept from: {', '.join(failed)}" if failed else None
