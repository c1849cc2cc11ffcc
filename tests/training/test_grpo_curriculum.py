"""StepCoder's curriculum in the stage: when it moves on, and that a resumed run goes on with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.grpo import GrpoParams
from diffucoder.data.tokenizer import special_ids
from diffucoder.engine.context import Interrupted
from diffucoder.engine.stage import new_job
from diffucoder.rl.tables import read_rollouts

# Without its last line it is a program that passes; without its last two it is none.
REFERENCE = "def f(x):\n    return x\n1\n"
GIVEN = {1: "```python\ndef f(x):\n    return x\n", 2: "```python\ndef f(x):\n"}


@pytest.fixture
def silent(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> dict[str, Path]:
    """Inputs of a job: a model that writes nothing but the end token, and one problem."""
    end = special_ids(tokenizer).turn_end
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        # States are all ones then, and twice as much of them speaks for the end token.
        embedding = model.get_input_embeddings().weight.fill_(1.0)
        embedding[end] = 2.0
    model.save_pretrained(tmp_path / "silent")
    tokenizer.save_pretrained(tmp_path / "silent")
    problem = {"prompt": "add 1", "entry_point": "f", "reference": REFERENCE, "check": None}
    rows = [
        problem | {"problem_id": split, "split": split, "tests": ["assert f(3) == 3"]}
        for split in ("rl", "validation")
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "problems.parquet")
    return {"instruct": tmp_path / "silent", "problems": tmp_path / "problems.parquet"}


def test_a_mastered_stage_gives_less_and_a_resumed_run_stays_there(
    parameters: Callable[..., dict[str, Any]],
    silent: dict[str, Path],
    tmp_path: Path,
    train_here: Callable[..., list[dict[str, Any]]],
) -> None:
    def run(name: str, *stop_signals: int) -> tuple[list[float], list[bool]]:
        read = parameters("test", "grpo", work=str(tmp_path / name))
        for decoding in (read["decoding"], read["validation"]["decoding"]):
            decoding |= {"max_new_tokens": 12, "steps": 4}
        read["training"]["engine"]["nproc_per_node"] = 1
        read["training"]["steps"] = 3
        read["curriculum"] = {"stages": 3, "threshold": 0.5}
        job = new_job("grpo", GrpoParams(**read), silent, tmp_path / name, seed=0)
        records = train_here(job, *stop_signals)
        stages = [r["curriculum_stage"] for r in records if "curriculum_stage" in r]
        rollouts = read_rollouts(job.work)
        for step, stage in enumerate(stages, start=1):
            written = set(rollouts.loc[rollouts["step"] == step, "completion"])
            assert written == {GIVEN[stage]}
        return stages, (rollouts.groupby("step")["pass_rate"].mean() == 1).to_list()

    # The whole program but its last line passes; its first line alone does not.
    assert run("whole") == ([1, 2, 2], [True, False, False])
    with pytest.raises(Interrupted, match="stopped and saved after step 1"):
        run("cut", 15)
    assert run("cut") == ([1, 2, 2], [True, False, False])
