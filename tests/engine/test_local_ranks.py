"""Which of several failures is the cause."""

import signal
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from diffucoder.engine.local_ranks import say_failure

KILLED, CLOSED, NOTICED = -signal.SIGKILL, -signal.SIGTERM, 1


@pytest.mark.parametrize(
    ("ended", "cause"),
    [
        ([(NOTICED, 0), (KILLED, 0)], "rank 1 ended by signal SIGKILL"),
        ([(NOTICED, 0), (KILLED, 1)], "rank 1 ended by signal SIGKILL"),
        ([(NOTICED, 0), (CLOSED, 0)], "rank 0 ended with exit code 1"),
        ([(CLOSED, 0), (NOTICED, 0)], "rank 1 ended with exit code 1"),
        ([(CLOSED, 0), (KILLED, 1), (NOTICED, 0)], "rank 1 ended by signal SIGKILL"),
        # A rank that hangs is killed by torchrun, half a minute after the first failure.
        ([(KILLED, 30), (NOTICED, 0)], "rank 1 ended with exit code 1"),
        ([(NOTICED, 2), (NOTICED, 1)], "rank 1 ended with exit code 1"),
    ],
)
def test_the_cause_is_named(
    ended: list[tuple[int, int]],
    cause: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures = {}
    for rank, (code, second) in enumerate(ended):
        failures[rank] = ProcessFailure(rank, 100 + rank, code, str(tmp_path / "none"))
        failures[rank].timestamp = second
    say_failure(failures)
    assert capsys.readouterr().out == f"{cause}, so all were ended\n"
