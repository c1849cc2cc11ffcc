"""Options of ingestion: where code comes from, what is kept, how it becomes token rows."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.rewards import SandboxParams


class _Source(Params):
    """What all kinds of source have.

    Attributes:
        name: recorded with each document.
        licence: recorded with each document that carries none of its own.
        max_bytes: stop after this many bytes of text; null takes everything.
        curated: whether its documents go to mid-training instead of pretraining.
    """

    name: str
    licence: str
    max_bytes: int | None = Field(ge=1)
    curated: bool


class FolderSource(_Source):
    """Files under a local folder.

    Attributes:
        kind: names this kind of source.
        path: the folder, or `stdlib` for the standard library of the running interpreter.
        include: glob patterns, relative to the folder; `**` spans folders.
        exclude: glob patterns of files to leave out, the same way.
    """

    kind: Literal["folder"]
    path: str
    include: list[str] = Field(min_length=1)
    exclude: list[str]


class TableSource(_Source):
    """Rows of Parquet or JSONL files.

    Attributes:
        kind: the format of the files.
        path: a file, or a folder whose `.parquet` or `.jsonl[.gz]` files are read by name.
        text_column: the column with the source text.
        path_column: the column that names a document; null numbers the rows.
        licence_column: the column with a licence; null takes `licence` for all.
    """

    kind: Literal["parquet", "jsonl"]
    path: str
    text_column: str
    path_column: str | None
    licence_column: str | None


class HubSource(_Source):
    """A Hugging Face dataset, read as a stream.

    Attributes:
        kind: names this kind of source.
        path: its name on the hub.
        config: its configuration; null for the only one.
        split: its split, such as `train`.
        text_column, path_column, licence_column: as in `TableSource`.
    """

    kind: Literal["hub"]
    path: str
    config: str | None
    split: str
    text_column: str
    path_column: str | None
    licence_column: str | None


Source = Annotated[FolderSource | TableSource | HubSource, Field(discriminator="kind")]


class FilterParams(Params):
    """Which documents are kept.

    Attributes:
        min_bytes, max_bytes: smallest and largest document, in bytes.
        max_line_chars: longest line, in characters.
        max_mean_line_chars: mean line length above which code counts as minified, in characters.
        generated_markers: regular expressions, any letter case, that mark generated code.
        header_lines: how many first lines are searched for them.
        must_parse: whether a document must be Python that parses; false for corpora of other
            text too.
        max_data_share: largest share of lines that module-level literals may take, of documents
            that must parse.
    """

    min_bytes: int = Field(ge=0)
    max_bytes: int = Field(ge=1)
    max_line_chars: int = Field(ge=1)
    max_mean_line_chars: float = Field(gt=0)
    generated_markers: list[str]
    header_lines: int = Field(ge=0)
    must_parse: bool
    max_data_share: float = Field(ge=0, le=1)


class DedupParams(Params):
    """Near-duplicate removal by MinHash.

    Attributes:
        shingle_words: words in a shingle.
        permutations: length of a signature.
        threshold: estimated Jaccard similarity from which a document is a near duplicate.
    """

    shingle_words: int = Field(ge=1)
    permutations: int = Field(ge=16)
    threshold: float = Field(gt=0, le=1)


class DecontaminationParams(Params):
    """Removal of documents that quote evaluation problems.

    Attributes:
        ngram_words: words in an n-gram.
        overlap: share of one problem text's n-grams from which a document counts as quoting it.
        benchmarks: folder with benchmark files; an absent folder adds nothing.
        benchmark_files: glob patterns of the files in it that hold problems.
    """

    ngram_words: int = Field(ge=2)
    overlap: float = Field(gt=0, le=1)
    benchmarks: str
    benchmark_files: list[str]


class TokenizerParams(Params):
    """The tokenizer: trained here, or loaded.

    Attributes:
        load: path or hub name of a tokenizer to use, or null to train one.
        vocabulary: size of a trained vocabulary, special tokens included.
        train_bytes: text to learn merges from, in bytes; null takes the whole corpus.
        pair_share: share of the text to learn from that is instruction pairs, repeated as
            often as that takes, so that a small vocabulary covers their words too.
    """

    load: str | None
    vocabulary: int = Field(ge=261)
    train_bytes: int | None = Field(ge=1)
    pair_share: float = Field(ge=0, lt=1)


class PackingParams(Params):
    """Token rows.

    Attributes:
        length: tokens in a row.
        tokens_per_group: tokens in a Parquet row group, what a reader loads at a time.
    """

    length: int = Field(ge=2)
    tokens_per_group: int = Field(ge=1)

    @model_validator(mode="after")
    def _a_row_fits_a_group(self) -> "PackingParams":
        if self.tokens_per_group < self.length:
            raise ValueError(
                f"tokens_per_group ({self.tokens_per_group}) is less than length "
                f"({self.length}): a row group holds at least one row"
            )
        return self


class FunctionParams(Params):
    """Which functions of the corpus are good enough for mid-training.

    Attributes:
        min_lines, max_lines: length of the function, docstring included, in lines.
        docstring: whether it must have one.
        annotations: whether all arguments and the result must be annotated.
    """

    min_lines: int = Field(ge=1)
    max_lines: int = Field(ge=1)
    docstring: bool
    annotations: bool


class CurationParams(Params):
    """The mid-training subset; documents of curated sources are always in it.

    Attributes:
        functions: the rule for functions cut out of the corpus; null takes none.
        pairs: whether flawless instruction pairs are added as plain text.
    """

    functions: FunctionParams | None
    pairs: bool


class IngestionParams(Params):
    """The ingestion stage.

    Attributes:
        sources: where code comes from; documents are read in this order.
        filters: which documents are kept.
        dedup: how near duplicates are found.
        decontamination: how documents that quote problems are found.
        tokenizer: which tokenizer encodes them.
        packing: the token rows.
        curation: the subset for mid-training.
        context: longest prompt plus response of an instruction pair, in tokens.
        sandbox: how the problems' references are run, which must pass their own tests.
    """

    sources: list[Source] = Field(min_length=1)
    filters: FilterParams
    dedup: DedupParams
    decontamination: DecontaminationParams
    tokenizer: TokenizerParams
    packing: PackingParams
    curation: CurationParams
    context: int = Field(ge=2)
    sandbox: SandboxParams

    @model_validator(mode="after")
    def _functions_are_cut_from_python(self) -> "IngestionParams":
        if self.curation.functions and not self.filters.must_parse:
            raise ValueError(
                "curation.functions needs filters.must_parse: functions are cut out of documents "
                "that parse as Python; set one to true or the other to null"
            )
        return self
