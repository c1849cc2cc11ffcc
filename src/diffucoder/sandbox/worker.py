"""One judge process and the socket to it."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffucoder.errors import SandboxUnavailable
from diffucoder.sandbox.inside import judge, wire

_FOLDER = str(Path(__file__).parent)


class Worker:
    """Starts a judge, and talks to it.

    The thread that makes a worker must outlive it: the kernel kills the judge with that thread.

    Args:
        options: Arguments of `inside.judge.Judge`: tier, memory_mb, cpu_s, wall_s, libraries.

    Raises:
        SandboxUnavailable: If the judge cannot contain its guests.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._socket, theirs = socket.socketpair()
        call = f"main({theirs.fileno()}, {os.getpid()}, {_FOLDER!r}, {dict(options)!r})"
        self._process = subprocess.Popen(
            [sys.executable, *judge.FLAGS, "-c", judge.BOOT.format(_FOLDER, "judge", call)],
            pass_fds=[theirs.fileno()],
            env=judge.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Ctrl-C goes to the parent, which then ends its workers.
            start_new_session=True,
        )
        theirs.close()
        try:
            answer = wire.receive(self._socket.fileno())
        except (wire.Closed, wire.Malformed):
            answer = {"error": "its process ended at the start; its message is on standard error"}
        if not isinstance(answer, dict) or "tier" not in answer:
            self.end()
            reason = answer.get("error") if isinstance(answer, dict) else answer
            raise SandboxUnavailable(f"the sandbox could not start: {reason}")

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Judge one program.

        Args:
            message: Arguments of `inside.judge.Judge.judge`.

        Returns:
            The judge's answer: `outcomes`, `seconds` and, if requested, `lines`.

        Raises:
            wire.Closed: If the judge ended instead.
        """
        wire.send(self._socket.fileno(), dict(message))
        answer = wire.receive(self._socket.fileno())
        assert isinstance(answer, dict)
        return answer

    def kill(self) -> None:
        """Kill the judge; the kernel ends its zygote and guests. Safe from any thread."""
        self._process.kill()

    def end(self) -> int:
        """Kill and reap the judge.

        Returns:
            Its exit status; minus the signal if one ended it.
        """
        self.kill()
        self._socket.close()
        return self._process.wait()
