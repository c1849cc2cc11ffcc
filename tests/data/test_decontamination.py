import inspect
import json
import json.decoder

import pytest

from diffucoder.data.decontamination import ContaminationIndex, benchmark_texts
from diffucoder.data.shingles import word_hashes
from diffucoder.data.tabular import read_rows
from diffucoder.errors import BadData

REFERENCE = """def f(xs):
    total = 0
    for x in xs:
        if x % 3 == 1:
            total += x * x
    return total
"""
PROMPT = "Return the sum of the squares of the numbers in xs that leave rest one by three."
CLEAN = inspect.getsource(json.decoder)


@pytest.fixture
def contamination(params) -> ContaminationIndex:
    texts = [("task-1", PROMPT), ("task-1", REFERENCE), ("tiny", "return x")]
    return ContaminationIndex(texts, params.decontamination)


@pytest.mark.parametrize("quoted", [PROMPT, REFERENCE, REFERENCE.replace("    ", "\t\t")])
def test_a_document_that_quotes_a_problem_is_found(contamination, quoted) -> None:
    found = contamination.reason_to_reject(word_hashes(f"{CLEAN}\n{quoted}\n{CLEAN}"))
    assert found == ("contaminated", "100% of the n-grams of task-1")


def test_part_of_a_problem_counts_by_its_share(contamination) -> None:
    lines = REFERENCE.splitlines()
    assert contamination.reason_to_reject(word_hashes("\n".join(lines[:2]) + CLEAN)) is None
    assert contamination.reason_to_reject(word_hashes("\n".join(lines[:5]) + CLEAN)) is not None


def test_clean_code_passes(contamination) -> None:
    assert contamination.reason_to_reject(word_hashes(CLEAN)) is None
    assert contamination.reason_to_reject(word_hashes("return x")) is None
    assert contamination.reason_to_reject(word_hashes("")) is None


def test_without_evaluation_problems_nothing_is_rejected(params) -> None:
    assert (
        ContaminationIndex([], params.decontamination).reason_to_reject(word_hashes(CLEAN)) is None
    )


def test_a_shared_ngram_counts_for_each_of_its_problems(params) -> None:
    shared = " ".join(f"w{i}" for i in range(12))
    contamination = ContaminationIndex(
        [("long", shared + " " + " ".join(f"v{i}" for i in range(30))), ("short", shared)],
        params.decontamination,
    )
    found = contamination.reason_to_reject(word_hashes(shared))
    assert found.detail == "100% of the n-grams of short"


def test_every_benchmark_solution_is_found(params, benchmarks_dir) -> None:
    rules = params.decontamination.model_copy(update={"benchmarks": str(benchmarks_dir)})
    texts = list(benchmark_texts(rules))
    assert {name.split(":")[0] for name, _ in texts} >= {"HumanEval.jsonl.gz", "mbpp.jsonl"}
    contamination = ContaminationIndex(texts, rules)
    for row in read_rows(benchmarks_dir / "HumanEval.jsonl.gz"):
        document = f"import os\n\n{row['prompt']}{row['canonical_solution']}"
        assert contamination.reason_to_reject(word_hashes(document)), row["task_id"]
    assert contamination.reason_to_reject(word_hashes(CLEAN)) is None


def test_sanitized_mbpp_is_a_json_list_and_is_read(params, tmp_path) -> None:
    row = {"task_id": 2, "prompt": PROMPT, "code": REFERENCE, "test_list": []}
    path = tmp_path / "sanitized-mbpp.json"
    path.write_text(json.dumps([row], indent=2))
    rules = params.decontamination.model_copy(update={"benchmarks": str(tmp_path)})
    name = "sanitized-mbpp.json:2"
    assert list(benchmark_texts(rules)) == [(name, PROMPT), (name, REFERENCE)]
    path.write_text(json.dumps({"rows": [row]}))
    with pytest.raises(BadData, match=r"sanitized-mbpp\.json: expected a list of objects"):
        list(benchmark_texts(rules))


def test_an_absent_benchmark_folder_adds_nothing(params) -> None:
    assert list(benchmark_texts(params.decontamination)) == []


def test_a_benchmark_file_that_cannot_be_read_is_named(params, tmp_path) -> None:
    (tmp_path / "HumanEval.jsonl.gz").write_bytes(b"not gzip")
    rules = params.decontamination.model_copy(update={"benchmarks": str(tmp_path)})
    with pytest.raises(BadData, match=r"HumanEval\.jsonl\.gz"):
        list(benchmark_texts(rules))
