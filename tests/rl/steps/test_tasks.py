"""Problems as tasks: those with too long a prompt are left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import PreTrainedTokenizerFast

from diffucoder.config.grpo import GrpoParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.data.families import generate
from diffucoder.data.tokenizer import encode_chat
from diffucoder.errors import BadData
from diffucoder.rl.tasks import read_tasks

Parameters = Callable[..., dict[str, Any]]


@pytest.fixture
def problems(parameters: Parameters) -> pd.DataFrame:
    drawn = generate(ProblemsParams(**parameters("test", "problems")), seed=0)
    return pd.DataFrame([problem.record() for problem in drawn])


@pytest.mark.parametrize(
    ("positions", "longest", "reason"),
    [
        (256, 44, "grpo.max_prompt_tokens"),
        (64, 32, "the model's context of 64 less 32 to write"),
    ],
)
def test_prompts_that_do_not_fit_are_left_out_and_counted(
    parameters: Parameters,
    problems: pd.DataFrame,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    positions: int,
    longest: int,
    reason: str,
) -> None:
    params = GrpoParams(**parameters("test", "grpo"))
    kept = problems[problems["split"].isin(["rl", "validation"])].reset_index(drop=True)
    beside = len(encode_chat(tokenizer, ""))
    kept["prompt"] = "+" * (longest - beside)
    kept.loc[kept["split"] == "rl", "prompt"] += pd.Series(["+"] + [""] * 11)
    path = tmp_path / "problems.parquet"
    kept.to_parquet(path)
    tasks = read_tasks(path, tokenizer, params, positions, verbose=True)
    assert len(tasks["rl"]) == 11 and len(tasks["validation"]) == params.validation.problems
    assert {len(task.prompt_tokens) for found in tasks.values() for task in found} == {longest}
    expected = f"grpo: 1 of 16 problems have prompts of more than {longest} tokens ({reason})"
    assert expected in capfd.readouterr().out

    special = kept.copy()
    special.loc[special["split"] == "rl", "prompt"] = ["<|im_end|>"] * 2 + ["+"] * 10
    special.to_parquet(path)
    assert len(read_tasks(path, tokenizer, params, positions, verbose=False)["rl"]) == 10

    kept["prompt"] += "+"
    kept.to_parquet(path)
    with pytest.raises(BadData, match=f"split 'rl' has a prompt of at most {longest} tokens"):
        read_tasks(path, tokenizer, params, positions, verbose=False)
