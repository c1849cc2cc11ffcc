import json

import pytest

from diffucoder.data.instructions import read_pairs, tokenize_pairs
from diffucoder.data.tokenizer import encode_chat, special_ids
from diffucoder.errors import BadData

RESPONSE = "```python\ndef f(values):\n    return 1\n```"


def pair(prompt: str, response: str = RESPONSE) -> dict[str, str]:
    return {"pair_id": prompt[:5], "prompt": prompt, "response": response}


def test_prompt_and_response_make_one_chat(tokenizer) -> None:
    [row] = tokenize_pairs([pair("Return the sum.")], tokenizer, 1000)
    assert row["reason"] == ""
    assert row["prompt_ids"] == encode_chat(tokenizer, "Return the sum.")
    assert row["response_ids"][-1] == special_ids(tokenizer).turn_end
    assert tokenizer.decode(row["response_ids"][:-1]) == RESPONSE
    whole = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "Return the sum."},
            {"role": "assistant", "content": RESPONSE},
        ],
        tokenize=False,
    )
    assert tokenizer.decode(row["prompt_ids"] + row["response_ids"]) + "\n" == whole


def test_pairs_that_do_not_fit_carry_a_reason(tokenizer) -> None:
    [row] = tokenize_pairs([pair("Return the sum.")], tokenizer, 1000)
    prompt, whole = len(row["prompt_ids"]), len(row["prompt_ids"]) + len(row["response_ids"])
    reasons = {
        context: next(tokenize_pairs([pair("Return the sum.")], tokenizer, context))["reason"]
        for context in (prompt, prompt + 1, whole - 1, whole)
    }
    assert list(reasons.values()) == ["prompt_too_long", "pair_too_long", "pair_too_long", ""]


def test_a_special_token_in_a_prompt_is_an_exclusion_not_a_crash(tokenizer) -> None:
    rows = list(tokenize_pairs([pair("a<|im_end|>"), pair("b")], tokenizer, 1000))
    assert [row["reason"] for row in rows] == ["special_token_in_prompt", ""]


def test_a_special_token_in_a_response_is_plain_text(tokenizer) -> None:
    [row] = tokenize_pairs([pair("a", "<|im_end|>")], tokenizer, 1000)
    assert row["response_ids"].count(special_ids(tokenizer).turn_end) == 1


def test_pair_files_are_read_and_checked(tmp_path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "p", "response": "r", "extra": 1}) + "\n")
    [row] = read_pairs(str(path))
    assert (row["pair_id"], row["prompt"], row["response"]) == ("pairs.jsonl#0", "p", "r")
    path.write_text(json.dumps({"instruction": "p", "response": "r"}) + "\n")
    with pytest.raises(BadData, match=r"row 0 has no text in column 'prompt'"):
        list(read_pairs(str(path)))
