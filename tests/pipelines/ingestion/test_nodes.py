import json
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner

from diffucoder.config.ingestion import IngestionParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.data import tables
from diffucoder.data.packed_row import FILLER
from diffucoder.data.packing import ShardReader
from diffucoder.data.tokenizer import open_tokenizer, special_ids
from diffucoder.errors import BadData
from diffucoder.pipelines.ingestion import nodes
from diffucoder.pipelines.ingestion.pipeline import create_pipeline

ROOT = Path(__file__).parents[3]
GOOD = {
    "problem_id": "own-1",
    "prompt": "Return the number one, whatever comes.",
    "entry_point": "one",
    "reference": "def one(x):\n    return 1\n",
    "tests": ["assert one(3) == 1"],
}


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Some of the standard library, and files that must not come through."""
    folder = tmp_path / "code"
    stdlib = Path(sysconfig.get_path("stdlib"))
    for package in ("json", "html"):
        shutil.copytree(stdlib / package, folder / package)
    shutil.copy(stdlib / "json" / "decoder.py", folder / "decoder_again.py")
    (folder / "latin.py").write_bytes("name = 'M\xfcller'\n".encode("latin-1") * 30)
    (folder / "broken.py").write_text("def broken(:\n" * 30)
    return folder


def catalog_of(folder: Path, parameters: dict[str, Any]) -> DataCatalog:
    """The project's own catalog entries under another root."""
    text = (ROOT / "conf/base/catalog/ingestion.yml").read_text()
    catalog = DataCatalog.from_config(yaml.safe_load(text.replace("${globals:data}", str(folder))))
    for name, value in parameters.items():
        catalog[f"params:{name}"] = value
    return catalog


@pytest.fixture
def run(tmp_path, corpus, ingestion, problems_params) -> DataCatalog:
    catalog = catalog_of(
        tmp_path / "data", {"ingestion": ingestion, "problems": problems_params, "seed": 0}
    )
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog


@pytest.mark.slow
def test_the_whole_stage_leaves_what_the_next_ones_need(run, tmp_path) -> None:
    rejected = {row["path"]: row["reason"] for row in run.load("rejected_documents").rows()}
    assert rejected["latin.py"] == "not_utf8"
    assert rejected["broken.py"] == "does_not_parse"
    assert rejected["json/decoder.py"] == "exact_duplicate"
    assert rejected["html/entities.py"] == "mostly_data"
    clean = list(run.load("clean_documents").rows())
    assert {"decoder_again.py", "html/parser.py"} <= {row["path"] for row in clean}
    assert not {row["path"] for row in clean} & rejected.keys()

    # Unpacked and decoded, the shards are the clean documents again.
    tokenizer = open_tokenizer(run.load("tokenizer"))
    reader = ShardReader(run.load("token_shards").path)
    texts: dict[int, list[int]] = {}
    for input_ids, document_ids in reader.rows():
        for token, number in zip(input_ids.tolist(), document_ids.tolist(), strict=True):
            texts.setdefault(number, []).append(token)
    texts.pop(FILLER, None)
    end = special_ids(tokenizer).end_of_text
    assert all(tokens[-1] == end for tokens in texts.values())
    decoded = [tokenizer.decode(tokens[:-1]) for tokens in texts.values()]
    assert decoded == [row["text"] for row in clean]

    curated = run.load("curated_shards").metadata["origins"]
    pairs = run.load("instruction_pairs")
    assert curated["functions"] > 0
    assert curated["solved_tasks"] == int((~pairs["flawed"]).sum()) > 0

    problems = run.load("problems")
    assert problems["split"].value_counts().to_dict() == {
        "sft": 6,
        "rl": 4,
        "validation": 3,
        "heldout": 3,
    }
    assert set(pairs["problem_id"]) == set(problems.query("split == 'sft'")["problem_id"])
    assert set(run.load("tokenized_pairs")["pair_id"]) == set(pairs["pair_id"])

    report = json.loads((tmp_path / "data/08_reporting/data_report.json").read_text())
    assert report["documents"][0]["documents_in"] == len(run.load("documents"))
    assert report["documents"][-1]["documents_out"] == len(clean)
    tokens = sum(len(tokens) for tokens in texts.values())
    assert report["token_shards"]["tokens"] == tokens
    assert report["pairs"] == report["pairs"] | {"in": 12, "out": 12, "rejected": []}


def test_every_entry_of_the_pipeline_is_in_the_catalog() -> None:
    entries = yaml.safe_load((ROOT / "conf/base/catalog/ingestion.yml").read_text())
    assert create_pipeline().all_outputs() == entries.keys()
    assert all(entry["metadata"]["kedro-viz"]["layer"] for entry in entries.values())


def problem_file(tmp_path: Path, rows: list[dict[str, Any]], split: str) -> dict[str, Any]:
    path = tmp_path / f"{split}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path), "split": split, "hard": None}


def with_files(params: ProblemsParams, *files: dict[str, Any]) -> ProblemsParams:
    return ProblemsParams.model_validate(params.model_dump() | {"files": list(files)})


def test_a_reference_that_fails_its_tests_is_reported_and_excluded(
    tmp_path, problems_params, ingestion
) -> None:
    rows = [
        GOOD,
        GOOD | {"problem_id": "wrong", "reference": "def one(x):\n    return 2\n"},
        GOOD | {"problem_id": "loops", "reference": "def one(x):\n    return undefined\n"},
        GOOD | {"problem_id": "none", "reference": ""},
        GOOD | {"problem_id": "rated", "reference": "", "pass_rates": [0.0, 0.5]},
    ]
    params = with_files(problems_params, problem_file(tmp_path, rows, "rl"))
    kept, rejected = nodes.make_problems(params, ingestion, 0)
    assert set(kept["problem_id"]) >= {"own-1", "rated"}
    assert len(kept) == 16 + 2
    assert dict(zip(rejected["problem_id"], rejected["reason"], strict=True)) == {
        "wrong": "reference_fails",
        "loops": "reference_fails",
        "none": "no_reference",
    }
    tables.Problems.validate(kept)
    tables.RejectedProblems.validate(rejected)


def test_a_training_problem_that_quotes_an_evaluation_problem_is_excluded(
    tmp_path, problems_params, ingestion
) -> None:
    body = "    y = x * 3 + 5\n    z = y - x\n    return (z - z + y - y) + 1\n"
    long = GOOD | {"reference": f"def one(x):\n{body}"}
    copy = long | {"problem_id": "copy", "prompt": "Another wording."}
    params = with_files(
        problems_params,
        problem_file(tmp_path, [long], "eval"),
        problem_file(tmp_path, [copy], "rl"),
    )
    kept, rejected = nodes.make_problems(params, ingestion, 0)
    assert "own-1" in set(kept["problem_id"])
    assert rejected[["problem_id", "reason"]].to_numpy().tolist() == [["copy", "contaminated"]]


def test_problems_and_pairs_follow_from_the_seed(problems_params, ingestion) -> None:
    first, _ = nodes.make_problems(problems_params, ingestion, 3)
    again, _ = nodes.make_problems(problems_params, ingestion, 3)
    other, _ = nodes.make_problems(problems_params, ingestion, 4)
    pd.testing.assert_frame_equal(first, again)
    assert set(first["problem_id"]) != set(other["problem_id"])


def test_pair_files_are_added_unless_they_quote_a_held_out_problem(
    tmp_path, problems_params, ingestion
) -> None:
    problems, _ = nodes.make_problems(problems_params, ingestion, 0)
    heldout = problems.query("split == 'heldout'").iloc[0]
    rows = [
        {"prompt": "Say hello.", "response": "```python\nprint('hello')\n```"},
        {"prompt": f"Please: {heldout['prompt']}", "response": heldout["reference"]},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = problems_params.model_copy(update={"pair_files": [str(path)]})
    pairs, rejected = nodes.make_instruction_pairs(problems, params, ingestion, 0)
    assert "pairs.jsonl#0" in set(pairs["pair_id"])
    assert len(pairs) == 12 + 1
    assert rejected.to_dict("records") == [
        {"pair_id": "pairs.jsonl#1", "step": "decontaminate", "reason": "contaminated"}
    ]
    tables.InstructionPairs.validate(pairs)


@pytest.mark.parametrize("lacking", ["files", "pair_files"])
def test_an_absent_file_stops_ingestion_at_its_first_node(
    tmp_path, problems_params, ingestion, lacking
) -> None:
    path = str(tmp_path / "absent.parquet")
    entry = {"files": {"path": path, "split": "rl"}, "pair_files": path}[lacking]
    params = ProblemsParams.model_validate(problems_params.model_dump() | {lacking: [entry]})
    assert create_pipeline().nodes[0].func is nodes.make_problems
    with pytest.raises(BadData, match=r"absent\.parquet: there is no such file"):
        nodes.make_problems(params, ingestion, 0)


def test_no_pair_at_all_is_one_clear_error(tmp_path, problems_params, ingestion) -> None:
    problems, _ = nodes.make_problems(problems_params, ingestion, 0)
    unpractised = problems[problems["split"] != "sft"]
    heldout = problems.query("split == 'heldout'").iloc[0]
    path = tmp_path / "pairs.jsonl"
    quoting = {"prompt": f"Please: {heldout['prompt']}", "response": heldout["reference"]}
    path.write_text(json.dumps(quoting) + "\n")
    params = problems_params.model_copy(update={"pair_files": [str(path)]})
    with pytest.raises(BadData, match=r"no instruction pair.*1 quote.*problems\.counts\.sft"):
        nodes.make_instruction_pairs(unpractised, params, ingestion, 0)


def test_an_empty_source_folder_is_one_clear_error(tmp_path, ingestion) -> None:
    (tmp_path / "code").mkdir()
    with pytest.raises(BadData, match=r"source code .*gives no document"):
        nodes.read_documents(ingestion)


def test_a_prompt_longer_than_the_context_is_excluded_and_recorded(run, raw_ingestion) -> None:
    pairs = run.load("instruction_pairs")
    longest = pairs.loc[0].to_dict() | {"pair_id": "long", "prompt": "Return it. " * 300}
    pairs = pd.concat([pairs, pd.DataFrame([longest])], ignore_index=True)
    params = IngestionParams.model_validate(raw_ingestion)
    kept, excluded = nodes.tokenize_pairs(pairs, run.load("tokenizer"), params)
    assert len(kept) == len(pairs) - 1
    assert excluded.to_dict("records") == [
        {"pair_id": "long", "step": "tokenize", "reason": "prompt_too_long"}
    ]
    tiny = params.model_copy(update={"context": 5})
    with pytest.raises(BadData, match=r"none of the 13 .*prompt_too_long.*ingestion\.context"):
        nodes.tokenize_pairs(pairs, run.load("tokenizer"), tiny)


def test_a_tokenizer_can_be_loaded_and_is_completed(run, raw_ingestion, tmp_path) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(run.load("tokenizer"), lacking)
    for file in lacking.glob("*.json"):
        file.write_text(file.read_text().replace("<|mask|>", "<|other|>"))
    raw_ingestion["tokenizer"]["load"] = str(lacking)
    params = IngestionParams.model_validate(raw_ingestion)
    with pytest.raises(BadData, match="lacks"):
        nodes.pack_documents(run.load("clean_documents"), lacking, params)
    made = nodes.make_tokenizer(run.load("clean_documents"), run.load("instruction_pairs"), params)
    assert special_ids(open_tokenizer(made)).mask == len(open_tokenizer(lacking))


def test_curated_sources_go_to_mid_training_only(run, raw_ingestion, tmp_path) -> None:
    extra = tmp_path / "extra"
    shutil.copytree(Path(sysconfig.get_path("stdlib")) / "collections", extra)
    raw_ingestion["sources"][0]["include"] = ["json/*.py"]
    raw_ingestion["sources"].append(
        raw_ingestion["sources"][0]
        | {"path": str(extra), "name": "extra", "curated": True, "include": ["*.py"]}
    )
    raw_ingestion["curation"] = {"functions": None, "pairs": False}
    params = IngestionParams.model_validate(raw_ingestion)
    run.save("clean_documents", nodes.read_documents(params))
    clean, tokenizer = run.load("clean_documents"), run.load("tokenizer")
    run.save("token_shards", nodes.pack_documents(clean, tokenizer, params))
    pairs = run.load("instruction_pairs")
    run.save("curated_shards", nodes.pack_curated_documents(clean, pairs, tokenizer, params))
    assert run.load("token_shards").metadata["origins"].keys() == {"code"}
    assert run.load("curated_shards").metadata["origins"] == {"extra": 2}


def test_functions_need_documents_that_parse(raw_ingestion) -> None:
    raw_ingestion["filters"]["must_parse"] = False
    with pytest.raises(ValueError, match=r"curation\.functions needs filters\.must_parse"):
        IngestionParams.model_validate(raw_ingestion)
