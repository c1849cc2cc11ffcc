"""Ingestion's nodes: each streams what can be large and returns what Kedro saves."""

import atexit
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from diffucoder.config.ingestion import IngestionParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.config.rewards import SandboxParams
from diffucoder.data import curation, report, screening, sources, tables
from diffucoder.data.decontamination import ContaminationIndex, benchmark_texts
from diffucoder.data.families import generate, instruction_pairs
from diffucoder.data.packing import pack
from diffucoder.data.problem_files import read_problems, require_disjoint
from diffucoder.data.problems import Problem
from diffucoder.data.shards import Rows, Shards
from diffucoder.data.shingles import word_hashes
from diffucoder.data.tabular import table_files
from diffucoder.errors import BadData
from diffucoder.progress import track

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MEASURED = ("validation", "heldout", "eval")
PROGRAMS_AT_A_TIME = 64


def make_problems(
    problems: ProblemsParams, ingestion: IngestionParams, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Generate and read problems; keep those whose reference passes its own tests.

    Returns:
        The problems, and those left out with the reason.

    Raises:
        BadData: if a file cannot be used, a pair file is absent, or a composition is in two
            splits.
        SandboxUnavailable: if references cannot be run safely on this machine.
    """
    # Documents are read before pairs are, which may take days.
    for path in [*(file.path for file in problems.files), *problems.pair_files]:
        table_files(path)
    read = [problem for file in problems.files for problem in read_problems(file)]
    candidates = generate(problems, seed) + read
    require_disjoint(candidates)
    quotations = _quotations([problem.record() for problem in candidates], ingestion)
    quoting = {problem.problem_id: _quoted(problem, quotations) for problem in read}
    reasons = quoting | _wrong_references(
        [problem for problem in candidates if not quoting.get(problem.problem_id)],
        ingestion.sandbox,
    )
    kept = [problem.record() for problem in candidates if not reasons.get(problem.problem_id)]
    rejected = [
        {
            "problem_id": problem.problem_id,
            "source": problem.source,
            "split": problem.split,
            "reason": found[0],
            "detail": found[1],
        }
        for problem in candidates
        if (found := reasons.get(problem.problem_id))
    ]
    return _frame(kept, tables.Problems), _frame(rejected, tables.RejectedProblems)


def _quoted(problem: Problem, quotations: ContaminationIndex) -> tuple[str, str] | None:
    if problem.split in MEASURED:
        return None
    return quotations.reason_to_reject(word_hashes(f"{problem.prompt}\n{problem.reference}"))


def _wrong_references(problems: list[Problem], limits: SandboxParams) -> dict[str, tuple[str, str]]:
    """Run references against their tests; return (reason, detail) of the problems that fail.

    A problem without a reference is taken if a reference model passed some of its tests.
    """
    from diffucoder.sandbox import Sandbox
    from diffucoder.tracking import tag_active_run

    reasons = {
        problem.problem_id: ("no_reference", "neither a reference nor a positive pass rate")
        for problem in problems
        if not problem.reference and max(problem.pass_rates, default=0.0) == 0.0
    }
    checkable = [problem for problem in problems if problem.reference]
    programs = [problem.program(problem.reference) for problem in checkable]
    with Sandbox(**limits.options()) as sandbox:
        tag_active_run("sandbox_tier", sandbox.tier)
        batches = range(0, len(programs), PROGRAMS_AT_A_TIME)
        verdicts = [
            verdict
            for begin in track(batches, "checking references, batches")
            for verdict in sandbox.run(programs[begin : begin + PROGRAMS_AT_A_TIME])
        ]
    for problem, verdict in zip(checkable, verdicts, strict=True):
        if verdict.status != "passed":
            detail = f"{verdict.status}, passes {verdict.pass_rate:.0%} of its tests"
            reasons[problem.problem_id] = "reference_fails", detail
    return reasons


def make_instruction_pairs(
    problems: pd.DataFrame, params: ProblemsParams, ingestion: IngestionParams, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make instruction pairs from the problems, and read those in files.

    Returns:
        The pairs, and those from files that quote an evaluation problem.

    Raises:
        BadData: if a file cannot be used, or no pair is left.
    """
    from diffucoder.data.instructions import read_pairs

    records = problems.to_dict("records")
    made = instruction_pairs([Problem.from_record(record) for record in records], params, seed)
    quotations = _quotations(records, ingestion)
    kept, rejected = [], []
    for pair in chain.from_iterable(read_pairs(path) for path in params.pair_files):
        reason = quotations.reason_to_reject(word_hashes(f"{pair['prompt']}\n{pair['response']}"))
        if reason:
            row = {"pair_id": pair["pair_id"], "step": "decontaminate", "reason": reason.name}
            rejected.append(row)
        else:
            kept.append(pair)
    if not made and not kept:
        raise BadData(
            f"no instruction pair: no generated problem has the split `sft`, and of those in "
            f"problems.pair_files {params.pair_files} {len(rejected)} quote evaluation problems, "
            "0 are left; set problems.counts.sft above 0, or name a file with other pairs"
        )
    return _frame(made + kept, tables.InstructionPairs), _frame(rejected, tables.RejectedPairs)


def read_documents(ingestion: IngestionParams) -> Rows:
    """Stream the documents of all sources.

    Raises:
        BadData: if a source is missing or empty, before anything is written.
    """
    documents = track(sources.documents(ingestion.sources), "reading documents")
    return Rows(tables.DOCUMENTS, map(screening.as_row, documents))


def find_rejected_documents(
    documents: Shards, problems: pd.DataFrame, ingestion: IngestionParams
) -> Rows:
    """Stream a record of every document to leave out."""
    quotations = _quotations(problems.to_dict("records"), ingestion)
    stream = track(map(screening.as_document, documents.rows()), "screening", len(documents))
    found = screening.rejections(stream, ingestion, quotations)
    return Rows(tables.REJECTED_DOCUMENTS, map(screening.as_row, found), rows_per_group=4096)


def drop_rejected_documents(documents: Shards, rejected_documents: Shards) -> Rows:
    """Stream the documents that no step rejected."""
    kept = screening.without(documents.rows(), rejected_documents.rows(["index"]))
    return Rows(tables.DOCUMENTS, kept)


def make_tokenizer(
    clean_documents: Shards, instruction_pairs: pd.DataFrame, ingestion: IngestionParams
) -> Path:
    """Train a tokenizer, or load one and add the special tokens that it lacks.

    Returns:
        A temporary directory with it.
    """
    from diffucoder.data import tokenizer as tokenizers

    params = ingestion.tokenizer
    if params.load:
        made = tokenizers.complete(tokenizers.open_tokenizer(params.load))
    else:
        code_bytes = sum(row["bytes"] for row in clean_documents.rows(["bytes"]))
        code_bytes = min(code_bytes, params.train_bytes or code_bytes)
        pairs = _turns(instruction_pairs)
        pair_bytes = sum(len(turn.encode()) for turn in pairs)
        wanted_bytes = code_bytes * params.pair_share / (1 - params.pair_share)
        repeats = math.ceil(wanted_bytes / max(pair_bytes, 1))
        code = track(_up_to(_texts(clean_documents), code_bytes), "learning the vocabulary")
        made = tokenizers.train(chain(pairs * repeats, code), params.vocabulary)
    tokenizers.special_ids(made)
    directory = tempfile.mkdtemp(prefix="diffucoder-tokenizer-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    made.save_pretrained(directory)
    return Path(directory)


def pack_documents(clean_documents: Shards, tokenizer: Path, ingestion: IngestionParams) -> Rows:
    """Stream packed rows of the pretraining documents.

    Raises:
        BadData: if the tokenizer lacks a special token.
    """

    def texts(origins: dict[str, int]) -> Iterator[str]:
        for row in track(clean_documents.rows(), "packing documents", len(clean_documents)):
            if not row["curated"]:
                yield _counted(row["text"], row["source"], origins)

    return _packed(texts, tokenizer, ingestion)


def pack_curated_documents(
    clean_documents: Shards,
    instruction_pairs: pd.DataFrame,
    tokenizer: Path,
    ingestion: IngestionParams,
) -> Rows:
    """Stream packed rows for mid-training: curated sources, good functions, solved tasks.

    Raises:
        BadData: if the tokenizer lacks a special token.
    """
    rule = ingestion.curation.functions

    def texts(origins: dict[str, int]) -> Iterator[str]:
        for row in track(clean_documents.rows(), "packing curated", len(clean_documents)):
            if row["curated"]:
                yield _counted(row["text"], row["source"], origins)
            elif rule:
                for function in curation.good_functions(row["text"], rule):
                    yield _counted(function, "functions", origins)
        if ingestion.curation.pairs:
            for text in _pair_texts(instruction_pairs[~instruction_pairs["flawed"]]):
                yield _counted(text, "solved_tasks", origins)

    return _packed(texts, tokenizer, ingestion)


def tokenize_pairs(
    instruction_pairs: pd.DataFrame, tokenizer: Path, ingestion: IngestionParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Encode the pairs.

    Returns:
        The encoded pairs, and those left out with the reason.

    Raises:
        BadData: if the tokenizer lacks a special token, or no pair fits the context.
    """
    from diffucoder.data import instructions
    from diffucoder.data import tokenizer as tokenizers

    pairs = track(instruction_pairs.to_dict("records"), "encoding pairs", len(instruction_pairs))
    rows = list(
        instructions.tokenize_pairs(pairs, tokenizers.open_tokenizer(tokenizer), ingestion.context)
    )
    kept = [{key: row[key] for key in row if key != "reason"} for row in rows if not row["reason"]]
    excluded = [
        {"pair_id": row["pair_id"], "step": "tokenize", "reason": row["reason"]}
        for row in rows
        if row["reason"]
    ]
    if rows and not kept:
        raise BadData(
            f"none of the {len(rows)} instruction pairs can be used, the first because of "
            f"{excluded[0]['reason']}; raise ingestion.context ({ingestion.context} tokens)"
        )
    return _frame(kept, tables.TokenizedPairs), _frame(excluded, tables.RejectedPairs)


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
    """Count what went in and out of each step, with reasons."""
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


def _quotations(problems: list[dict[str, Any]], ingestion: IngestionParams) -> ContaminationIndex:
    """An index of everything that measures: problems' texts and benchmark files."""
    own = (
        (problem["problem_id"], problem[text])
        for problem in problems
        if problem["split"] in MEASURED
        for text in ("prompt", "reference")
    )
    params = ingestion.decontamination
    return ContaminationIndex(chain(own, benchmark_texts(params)), params)


def _packed(
    texts: Callable[[dict[str, int]], Iterable[str]], tokenizer: Path, ingestion: IngestionParams
) -> Rows:
    """Encode and pack texts; the manifest tells how many, of which origin, and their tokens."""
    from diffucoder.data import tokenizer as tokenizers

    loaded: PreTrainedTokenizerBase = tokenizers.open_tokenizer(tokenizer)
    end_token_id = tokenizers.special_ids(loaded).end_of_text
    length = ingestion.packing.length
    metadata: dict[str, Any] = {"length": length, "documents": 0, "tokens": 0, "origins": {}}

    def counted(documents: Iterable[list[int]]) -> Iterator[list[int]]:
        for tokens in documents:
            metadata["documents"] += 1
            metadata["tokens"] += len(tokens) + 1
            yield tokens

    tokens = counted(tokenizers.encode_texts(loaded, texts(metadata["origins"])))
    return Rows(
        tables.packed_rows(length),
        pack(tokens, length, end_token_id),
        metadata,
        rows_per_group=ingestion.packing.tokens_per_group // length,
    )


def _counted(text: str, origin: str, origins: dict[str, int]) -> str:
    origins[origin] = origins.get(origin, 0) + 1
    return text


def _texts(documents: Shards) -> Iterator[str]:
    return (row["text"] for row in documents.rows(["text"]))


def _up_to(texts: Iterable[str], max_bytes: int) -> Iterator[str]:
    taken = 0
    for text in texts:
        if taken >= max_bytes:
            return
        taken += len(text.encode())
        yield text


def _pair_texts(pairs: pd.DataFrame) -> list[str]:
    return [
        curation.solved_task(prompt, response)
        for prompt, response in zip(pairs["prompt"], pairs["response"], strict=True)
    ]


def _turns(pairs: pd.DataFrame) -> list[str]:
    """What stands between the marks of a chat, so that the roles' names are learned too."""
    users = [f"user\n{prompt}" for prompt in pairs["prompt"]]
    return users + [f"assistant\n{response}" for response in pairs["response"]]


def _frame(rows: list[dict[str, Any]], model: Any) -> pd.DataFrame:
    """A frame with the model's columns and types, also when it has no rows."""
    columns = model.to_schema().columns
    frame = pd.DataFrame(rows, columns=list(columns))
    return frame.astype({name: str(column.dtype) for name, column in columns.items()})
