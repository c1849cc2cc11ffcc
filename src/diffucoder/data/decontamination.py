"""Finds text that quotes an evaluation problem, so that nothing is trained on it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from diffucoder.config.ingestion import DecontaminationParams
from diffucoder.data.filters import Reason
from diffucoder.data.shingles import shingle_hashes, word_hashes
from diffucoder.data.tabular import read_rows

# The columns in which published benchmarks keep what a model reads and should write.
TEXT_COLUMNS = (
    "prompt",
    "canonical_solution",
    "text",
    "code",
    "complete_prompt",
    "instruct_prompt",
)


class ContaminationIndex:
    """An index of the n-grams of evaluation texts.

    A text with fewer words than an n-gram is not indexed; its problem is still found by its other
    texts.

    Attributes:
        params: The length of n-grams, and the overlap from which a text counts as contaminated.
        names: Names of the problems that were indexed, one per text.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], params: DecontaminationParams) -> None:
        """Index texts.

        Args:
            texts: Pairs of a problem's name and one of its texts.
            params: The length of n-grams, and the overlap.
        """
        self.params = params
        self.names: list[str] = []
        self._sizes: list[int] = []
        grams, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for name, text in texts:
            hashes = shingle_hashes(word_hashes(text), params.ngram_words)
            if len(hashes):
                grams.append(hashes)
                owners.append(np.full(len(hashes), len(self.names)))
                self.names.append(name)
                self._sizes.append(len(hashes))
        all_grams, all_owners = np.concatenate(grams), np.concatenate(owners)
        order = np.argsort(all_grams, kind="stable")
        self._grams, self._owners = all_grams[order], all_owners[order]

    def reason_to_reject(self, words: np.ndarray) -> Reason | None:
        """Check whether a text holds enough n-grams of one evaluation text.

        Args:
            words: The text's word hashes, uint64 `[words]` (`shingles.word_hashes`).

        Returns:
            `contaminated` with the problem's name and the share of its n-grams, or None.
        """
        hashes = shingle_hashes(words, self.params.ngram_words)
        first = np.searchsorted(self._grams, hashes, side="left")
        last = np.searchsorted(self._grams, hashes, side="right")
        hits = Counter(
            int(owner)
            for begin, end in zip(first[last > first], last[last > first], strict=True)
            for owner in self._owners[begin:end]
        )
        shares = [(count / self._sizes[owner], -owner) for owner, count in hits.items()]
        share, owner = max(shares, default=(0.0, 0))
        if share < self.params.overlap:
            return None
        return Reason("contaminated", f"{share:.0%} of the n-grams of {self.names[-owner]}")


def benchmark_texts(params: DecontaminationParams) -> Iterator[tuple[str, str]]:
    """Read the texts of every benchmark file that is present.

    Args:
        params: The folder, and the patterns of file names.

    Yields:
        (name of the problem, text).

    Raises:
        BadData: If a file cannot be read; the message names it.
    """
    folder = Path(params.benchmarks)
    files = {file for pattern in params.benchmark_files for file in folder.glob(pattern)}
    for file in sorted(files):
        for row in read_rows(file):
            for column in TEXT_COLUMNS:
                if isinstance(row.get(column), str):
                    yield f"{file.name}:{row.get('task_id', '?')}", row[column]
