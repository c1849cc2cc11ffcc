"""Each file of `examples/` does what it says."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pydantic import ValidationError

from diffucoder.config.rewards import RewardParams
from diffucoder.data.tokenizer import special_ids
from diffucoder.decoding import trace
from diffucoder.model import load
from diffucoder.rewards.functions import RewardRecord, score
from diffucoder.rl import estimators
from diffucoder.rl.batch import complete
from diffucoder.rl.estimators.options import OwnEstimatorOptions
from diffucoder.sandbox import Verdict

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPT = "Write f(x)."
TOKENS = 12


def record(code: str | None, passed: bool) -> RewardRecord:
    verdict = Verdict("passed" if passed else "failed", (passed,), None, None, 0.0)
    return RewardRecord(PROMPT, f"```python\n{code}\n```", code, verdict)


def test_a_short_program_earns_more_if_it_works(
    example: Callable[[str], ModuleType],
) -> None:
    short = example("own_reward").short
    assert short(record("x", True)) > short(record("x" * 100, True)) > 0
    assert short(record("x", False)) == short(record(None, True)) == 0


def test_it_is_named_by_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    term = {"function": "own_reward.short", "weight": 2.0}
    rewards = RewardParams.model_validate({"terms": {"short": term}})
    [total], [parts] = score([record("x" * 200, True)], rewards)
    assert (total, parts) == (1.0, {"short": 0.5})


def test_an_estimator_of_ones_own_scores_every_token_once(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    options = OwnEstimatorOptions.model_validate({"name": "own_estimator.Folds", "folds": 4})
    model, tokenizer = load(checkpoint)
    special = special_ids(tokenizer)
    estimator = estimators.make(options, mask_token_id=special.mask)
    batch = complete([[1, 2], [3]], [[4, 5, 6], [7]], special.pad)
    views = list(estimator.views(batch, torch.Generator().manual_seed(0)))
    assert len(views) == estimator.forwards == 4
    assert torch.equal(sum(view.masked.int() for view in views), batch.context_mask.int())
    with torch.no_grad():
        first, second = (
            estimator.log_likelihood(model, batch, torch.Generator().manual_seed(0))
            for _ in range(2)
        )
    assert torch.equal(first, second)
    assert (first[batch.completion_mask] < 0).all()
    assert (first[~batch.completion_mask] == 0).all()


def test_its_options_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with pytest.raises(ValidationError, match="folds: Input should be greater than or equal to 2"):
        OwnEstimatorOptions.model_validate({"name": "own_estimator.Folds", "folds": 1})


def test_a_decode_is_shown_step_by_step_and_kept(
    example: Callable[[str], ModuleType],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, page = tmp_path / "trace.parquet", tmp_path / "trace.html"
    arguments = ["--checkpoint", str(checkpoint), "--tokens", str(TOKENS), "--trace", str(file)]
    monkeypatch.setattr("sys.argv", ["decode.py", PROMPT, *arguments])
    example("decode").main()
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == TOKENS
    assert "·" in shown[0]
    assert "·" not in shown[-1]
    [(name, found)] = trace.read(file).items()
    assert name == PROMPT
    assert sorted(found.position) == list(range(TOKENS))

    arguments = ["--checkpoint", str(checkpoint), "--page", str(page)]
    monkeypatch.setattr("sys.argv", ["read_trace.py", str(file), *arguments])
    example("read_trace").main()
    told = capsys.readouterr().out.splitlines()
    assert told[0] == PROMPT
    assert len(told) == TOKENS + 2
    assert "AR-ness" in told[-1]
    assert "<html" in page.read_text(encoding="utf-8")


def test_equal_seeds_give_equal_answers(
    example: Callable[[str], ModuleType], checkpoint: Path
) -> None:
    answer = example("decode").answer
    first, second = (answer(checkpoint, PROMPT, TOKENS) for _ in range(2))
    assert torch.equal(first.canvas, second.canvas)


def test_a_rule_of_ones_own_writes_from_left_to_right(
    example: Callable[[str], ModuleType], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    completion = example("decode").answer(checkpoint, PROMPT, TOKENS, "own_rule.left_to_right")
    assert completion.reveal_step.tolist() == list(range(TOKENS))
