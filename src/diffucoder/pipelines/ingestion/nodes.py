"""Ingestion's nodes: each streams large tables and returns what Kedro saves."""

import atexit
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from diffucoder.config.ingestion import IngestionParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.data import curation, report, screening, sources, tables
from diffucoder.data.decontamination import ContaminationIndex, benchmark_texts
from diffucoder.data.families import generate, instruction_pairs
from diffucoder.data.filters import Reason
from diffucoder.data.problem_files import read_problems, require_disjoint
from diffucoder.data.problems import Problem
from diffucoder.data.references import wrong_references
from diffucoder.data.shards import Rows, Shards
from diffucoder.data.shingles import word_hashes
from diffucoder.data.tabular import table_files
from diffucoder.errors import BadData
from diffucoder.progress import track
from diffucoder.sandbox import Sandbox

# Splits that measure; nothing that quotes them is trained on.
MEASURED = ("validation", "heldout", "eval")


def make_problems(
    problems: ProblemsParams, ingestion: IngestionParams, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Generate and read problems; keep those whose reference passes its own tests.

    Args:
        problems: What to generate, and files to read.
        ingestion: Decontamination, and the sandbox's limits.
        seed: Random seed.

    Returns:
        The problems, and those left out with the reason.

    Raises:
        BadData: If a file cannot be used, a pair file is absent, or a composition is in two
            splits.
        SandboxUnavailable: If references cannot be run safely on this machine.
    """
    from diffucoder.tracking import tag_active_run

    # Checked here: documents, which may take days, are read before pairs are.
    for path in [*(file.path for file in problems.files), *problems.pair_files]:
        table_files(path)
    read = [problem for file in problems.files for problem in read_problems(file)]
    candidates = generate(problems, seed) + read
    require_disjoint(candidates)
    contamination = _contamination_index([problem.record() for problem in candidates], ingestion)
    contaminated = {problem.problem_id: _contaminated(problem, contamination) for problem in read}
    remaining = [problem for problem in candidates if not contaminated.get(problem.problem_id)]
    with Sandbox(**ingestion.sandbox.options()) as sandbox:
        tag_active_run("sandbox_tier", sandbox.tier)
        reasons = contaminated | wrong_references(remaining, sandbox)
    accepted = [problem.record() for problem in candidates if not reasons.get(problem.problem_id)]
    rejected = [
        {
            "problem_id": problem.problem_id,
            "source": problem.source,
            "split": problem.split,
            "reason": reason.name,
            "detail": reason.detail,
        }
        for problem in candidates
        if (reason := reasons.get(problem.problem_id))
    ]
    return tables.frame(accepted, tables.Problems), tables.frame(rejected, tables.RejectedProblems)


def _contaminated(problem: Problem, index: ContaminationIndex) -> Reason | None:
    if problem.split in MEASURED:
        return None
    return index.reason_to_reject(word_hashes(f"{problem.prompt}\n{problem.reference}"))


def make_instruction_pairs(
    problems: pd.DataFrame, params: ProblemsParams, ingestion: IngestionParams, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make instruction pairs from the problems, and read those in files.

    Args:
        problems: The problem table.
        params: Pairs per problem, the share of mistakes, and files to read.
        ingestion: Decontamination.
        seed: Random seed.

    Returns:
        The pairs, and those from files that quote an evaluation problem.

    Raises:
        BadData: If a file cannot be used, or no pair is left.
    """
    from diffucoder.data.instructions import read_pairs

    records = problems.to_dict("records")
    generated = instruction_pairs([Problem.from_record(record) for record in records], params, seed)
    contamination = _contamination_index(records, ingestion)
    read, rejected = [], []
    for pair in chain.from_iterable(read_pairs(path) for path in params.pair_files):
        words = word_hashes(f"{pair['prompt']}\n{pair['response']}")
        reason = contamination.reason_to_reject(words)
        if reason:
            row = {"pair_id": pair["pair_id"], "step": "decontaminate", "reason": reason.name}
            rejected.append(row)
        else:
            read.append(pair)
    if not generated and not read:
        raise BadData(
            f"no instruction pair: no generated problem has the split `sft`, and of those in "
            f"problems.pair_files {params.pair_files} {len(rejected)} quote evaluation problems, "
            "0 are left; set problems.counts.sft above 0, or name a file with other pairs"
        )
    accepted = tables.frame(generated + read, tables.InstructionPairs)
    return accepted, tables.frame(rejected, tables.RejectedPairs)


def read_documents(ingestion: IngestionParams) -> Rows:
    """Stream the documents of all sources.

    Args:
        ingestion: The sources.

    Returns:
        The table of documents.

    Raises:
        BadData: If a source is missing or empty, before anything is written.
    """
    documents = track(sources.documents(ingestion.sources), "reading documents")
    return Rows(tables.DOCUMENTS, map(screening.as_row, documents))


def find_rejected_documents(
    documents: Shards, problems: pd.DataFrame, ingestion: IngestionParams
) -> Rows:
    """Stream a record of every document to leave out.

    Args:
        documents: All documents.
        problems: The problem table, whose measuring splits must not be quoted.
        ingestion: Filters, decontamination and deduplication.

    Returns:
        The table of rejected documents.
    """
    contamination = _contamination_index(problems.to_dict("records"), ingestion)
    stream = track(map(screening.as_document, documents.rows()), "screening", len(documents))
    rejected = screening.find_rejected(stream, ingestion, contamination)
    return Rows(tables.REJECTED_DOCUMENTS, map(screening.as_row, rejected), rows_per_group=4096)


def drop_rejected_documents(documents: Shards, rejected_documents: Shards) -> Rows:
    """Stream the documents that no step rejected.

    Args:
        documents: All documents.
        rejected_documents: Those to leave out.

    Returns:
        The table of clean documents.
    """
    clean = screening.drop_rejected(documents.rows(), rejected_documents.rows(["index"]))
    return Rows(tables.DOCUMENTS, clean)


def make_tokenizer(
    clean_documents: Shards, instruction_pairs: pd.DataFrame, ingestion: IngestionParams
) -> Path:
    """Train a tokenizer, or load one and add the special tokens that it lacks.

    Args:
        clean_documents: Code to learn from.
        instruction_pairs: Chat turns to learn from.
        ingestion: The size of the vocabulary, or a tokenizer to load.

    Returns:
        A temporary directory with the tokenizer.
    """
    from diffucoder.data import tokenizer as tokenizers

    params = ingestion.tokenizer
    if params.load:
        learned = tokenizers.complete(tokenizers.open_tokenizer(params.load))
    else:
        code_bytes = sum(row["bytes"] for row in clean_documents.rows(["bytes"]))
        code_bytes = min(code_bytes, params.train_bytes or code_bytes)
        turns = curation.turns(instruction_pairs.to_dict("records"))
        turn_bytes = sum(len(turn.encode()) for turn in turns)
        target_bytes = code_bytes * params.pair_share / (1 - params.pair_share)
        repeats = math.ceil(target_bytes / max(turn_bytes, 1))
        code = track(_up_to(_texts(clean_documents), code_bytes), "learning the vocabulary")
        learned = tokenizers.train(chain(turns * repeats, code), params.vocabulary)
    tokenizers.special_ids(learned)
    directory = tempfile.mkdtemp(prefix="diffucoder-tokenizer-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    learned.save_pretrained(directory)
    return Path(directory)


def pack_documents(clean_documents: Shards, tokenizer: Path, ingestion: IngestionParams) -> Rows:
    """Stream packed rows of the pretraining documents.

    Args:
        clean_documents: Documents; the curated ones are left out.
        tokenizer: Directory of the tokenizer.
        ingestion: The length of rows.

    Returns:
        The table of packed rows.

    Raises:
        BadData: If the tokenizer lacks a special token.
    """
    from diffucoder.data.packed_corpus import packed_table
    from diffucoder.data.tokenizer import open_tokenizer

    rows = track(clean_documents.rows(), "packing documents", len(clean_documents))
    texts = ((row["source"], row["text"]) for row in rows if not row["curated"])
    return packed_table(texts, open_tokenizer(tokenizer), ingestion.packing)


def pack_curated_documents(
    clean_documents: Shards,
    instruction_pairs: pd.DataFrame,
    tokenizer: Path,
    ingestion: IngestionParams,
) -> Rows:
    """Stream packed rows for mid-training: curated sources, good functions, solved tasks.

    Args:
        clean_documents: Documents.
        instruction_pairs: Pairs; the flawed ones are left out.
        tokenizer: Directory of the tokenizer.
        ingestion: What is curated, and the length of rows.

    Returns:
        The table of packed rows.

    Raises:
        BadData: If the tokenizer lacks a special token.
    """
    from diffucoder.data.packed_corpus import packed_table
    from diffucoder.data.tokenizer import open_tokenizer

    rows = track(clean_documents.rows(), "packing curated", len(clean_documents))
    right = instruction_pairs[~instruction_pairs["flawed"]]
    texts = curation.curated_texts(rows, right.to_dict("records"), ingestion.curation)
    return packed_table(texts, open_tokenizer(tokenizer), ingestion.packing)


def tokenize_pairs(
    instruction_pairs: pd.DataFrame, tokenizer: Path, ingestion: IngestionParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Encode the pairs.

    Args:
        instruction_pairs: The pairs.
        tokenizer: Directory of the tokenizer.
        ingestion: The longest pair.

    Returns:
        The encoded pairs, and those left out with the reason.

    Raises:
        BadData: If the tokenizer lacks a special token, or no pair fits the context.
    """
    from diffucoder.data import instructions
    from diffucoder.data import tokenizer as tokenizers

    pairs = track(instruction_pairs.to_dict("records"), "encoding pairs", len(instruction_pairs))
    rows = list(
        instructions.tokenize_pairs(pairs, tokenizers.open_tokenizer(tokenizer), ingestion.context)
    )
    encoded = [
        {key: row[key] for key in row if key != "reason"} for row in rows if not row["reason"]
    ]
    excluded = [
        {"pair_id": row["pair_id"], "step": "tokenize", "reason": row["reason"]}
        for row in rows
        if row["reason"]
    ]
    if rows and not encoded:
        raise BadData(
            f"none of the {len(rows)} instruction pairs can be used, the first because of "
            f"{excluded[0]['reason']}; raise ingestion.context ({ingestion.context} tokens)"
        )
    left_out = tables.frame(excluded, tables.RejectedPairs)
    return tables.frame(encoded, tables.TokenizedPairs), left_out


def report_data(
    documents: Shards,
    rejected_documents: Shards,
    clean_documents: Shards,
    token_shards: Shards,
    curated_shards: Shards,
    problems: pd.DataFrame,
    rejected_problems: pd.DataFrame,
    instruction_pairs: pd.DataFrame,
    rejected_pairs: pd.DataFrame,
    tokenized_pairs: pd.DataFrame,
    excluded_pairs: pd.DataFrame,
) -> dict[str, Any]:
    """Count what went in and out of each step, with reasons.

    Args:
        documents: All documents.
        rejected_documents: Documents that were left out.
        clean_documents: Documents that were not.
        token_shards: Packed rows of the pretraining documents.
        curated_shards: Packed rows for mid-training.
        problems: The problem table.
        rejected_problems: Problems that were left out.
        instruction_pairs: Pairs.
        rejected_pairs: Pairs that quote an evaluation problem.
        tokenized_pairs: Encoded pairs.
        excluded_pairs: Pairs that could not be encoded.

    Returns:
        The data report, nested counts.
    """
    lost_pairs = [*rejected_pairs.to_dict("records"), *excluded_pairs.to_dict("records")]
    return {
        "documents": report.document_steps(
            documents.rows(["bytes"]), rejected_documents.rows(["step", "reason", "bytes"])
        ),
        "sources": report.by_source(clean_documents.rows(["source", "licence", "bytes"])),
        "token_shards": {"rows": len(token_shards)} | token_shards.metadata,
        "curated_shards": {"rows": len(curated_shards)} | curated_shards.metadata,
        "problems": {
            "in": len(problems) + len(rejected_problems),
            "out": len(problems),
            "splits": report.tally(problems.to_dict("records"), "source", "split"),
            "rejected": report.tally(rejected_problems.to_dict("records"), "source", "reason"),
        },
        "pairs": {
            "in": len(instruction_pairs) + len(rejected_pairs),
            "out": len(tokenized_pairs),
            "flawed": int(instruction_pairs["flawed"].sum()),
            "prompt_tokens": _total(tokenized_pairs["prompt_ids"]),
            "response_tokens": _total(tokenized_pairs["response_ids"]),
            "rejected": report.tally(lost_pairs, "step", "reason"),
        },
    }


def _total(lists: pd.Series) -> int:
    return int(lists.map(len).sum())


def _contamination_index(
    problems: list[dict[str, Any]], ingestion: IngestionParams
) -> ContaminationIndex:
    """Index all texts that measure: those of problems and of benchmark files."""
    own = (
        (problem["problem_id"], problem[text])
        for problem in problems
        if problem["split"] in MEASURED
        for text in ("prompt", "reference")
    )
    params = ingestion.decontamination
    return ContaminationIndex(chain(own, benchmark_texts(params)), params)


def _texts(documents: Shards) -> Iterator[str]:
    return (row["text"] for row in documents.rows(["text"]))


def _up_to(texts: Iterable[str], max_bytes: int) -> Iterator[str]:
    total = 0
    for text in texts:
        if total >= max_bytes:
            return
        total += len(text.encode())
        yield text
