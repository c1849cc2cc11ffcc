"""Starts ranks by forking: a process that has imported everything is ready at once.

Reads a JSON list a line: `["start", worker module, job file, log file, variables]` is answered
with the process number, `["wait", number]` with the exit code (minus the signal, if killed).
"""

import json
import os
import sys

import diffucoder.training.adaptation
import diffucoder.training.backbone
import diffucoder.training.grpo
import diffucoder.training.instruction  # noqa: F401
from diffucoder.engine.worker import main


def start(module: str, job_file: str, log_file: str, variables: dict[str, str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.environ.update(variables)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    os._exit(main(module, job_file))


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print({"start": start, "wait": wait}[command](*arguments), flush=True)
