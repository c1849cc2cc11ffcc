"""Fixtures shared by all tests; torch is imported where a test asks for a model, not before."""

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from diffucoder.engine.job import Job

# Fixtures that tests of several folders share; they lie in tests/support.
pytest_plugins = ["completion_tables", "sandbox_fixtures", "stage_fixtures"]

ROOT = Path(__file__).parent.parent

# A busy machine is no failure, and neither is an unlucky day: examples are the same each time.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(scope="session")
def benchmarks_dir() -> Path:
    """The folder with HumanEval, MBPP and their relatives; skips where there is none."""
    candidates = [
        os.environ.get("DIFFUCODER_BENCHMARKS"),
        ROOT / "data" / "01_raw" / "benchmarks",
        # A folder that several checkouts share.
        ROOT.parent / "shared" / "data" / "benchmarks",
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / "HumanEval.jsonl.gz").exists():
            return Path(candidate)
    pytest.skip(
        "benchmark files are missing: put HumanEval.jsonl.gz and mbpp.jsonl in "
        "data/01_raw/benchmarks or set DIFFUCODER_BENCHMARKS"
    )


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """`with full_disk():` the system lets no file grow beyond two kilobytes."""

    @contextmanager
    def fill() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return fill


class Ranks:
    """Real ranks of a job, forked from `fork_server.py` so that many runs stay affordable."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def start(self, job: "Job", module: str, count: int = 1) -> list[int]:
        """Start `count` ranks, as a node or a launcher would; returns their process numbers."""
        job.work.mkdir(parents=True, exist_ok=True)
        job_file = job.work / "job.json"
        job.save(job_file)
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = str(probe.getsockname()[1])
        meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
        pids = []
        for rank in map(str, range(count)):
            place = {**meeting, "RANK": rank, "LOCAL_RANK": rank} if count > 1 else {}
            log = str(job.work / f"rank-{rank}.log")
            pids.append(self._ask("start", module, str(job_file), log, place))
        return pids

    def wait(self, *pids: int) -> list[int]:
        """Exit codes of ranks once they have ended; minus the signal for one that was killed."""
        return [self._ask("wait", pid) for pid in pids]

    def close(self) -> None:
        """End the server, and with it every rank that still runs."""
        self._server.kill()
        self._server.communicate()

    def _ask(self, *command: Any) -> int:
        self._server.stdin.write(json.dumps(command) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """Starts real ranks of jobs, quickly."""
    started = Ranks()
    yield started
    started.close()


@pytest.fixture(scope="session")
def make_model() -> "Callable[..., PreTrainedModel]":
    """Makes a bidirectional Qwen2 model small enough for tests of the mathematics."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    def make(
        vocabulary: int, seed: int = 0, dtype: "torch.dtype" = torch.float64, context: int = 64
    ) -> "PreTrainedModel":
        config = Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=context,
            tie_word_embeddings=False,
            attn_implementation="sdpa",
        )
        config.is_causal = False
        model = Qwen2ForCausalLM(config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                # Large enough that every token and position matters to every output.
                noise = 0.4 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise + 1 if "norm" in name else noise)
        return model.to(dtype).eval()

    return make


@pytest.fixture(scope="session")
def process_group() -> Iterator[None]:
    """This process as the only rank."""
    import torch
    import torch.distributed as dist

    with pytest.MonkeyPatch.context() as patch:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"}
        for name, value in alone.items():
            patch.setenv(name, value)
        torch.set_num_threads(1)
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        yield
        dist.destroy_process_group()
