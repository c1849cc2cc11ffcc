"""Hashes of word sequences, to find text that occurs twice."""

import re
import zlib

import numpy as np

WORD = re.compile(r"\w+|[^\w\s]")
# Odd, so that multiplication is a bijection of the 64-bit integers.
MULTIPLIER = 0x9E3779B97F4A7C15


def word_hashes(text: str) -> np.ndarray:
    """Hash each word and punctuation mark of a text.

    Args:
        text: The text; its white space is ignored.

    Returns:
        uint64 `[words]`.
    """
    hashes = [zlib.crc32(word.encode("utf-8", "replace")) for word in WORD.findall(text)]
    return np.array(hashes, dtype=np.uint64)


def shingle_hashes(words: np.ndarray, size: int) -> np.ndarray:
    """Hash each run of consecutive words.

    Args:
        words: Word hashes, uint64 `[words]`.
        size: Length of a run.

    Returns:
        Sorted, distinct hashes, uint64; empty if there are fewer words than `size`.
    """
    runs = len(words) - size + 1
    if runs < 1:
        return np.empty(0, dtype=np.uint64)
    hashes = np.zeros(runs, dtype=np.uint64)
    for offset in range(size):
        hashes = hashes * np.uint64(MULTIPLIER) + words[offset : offset + runs]
        # Else the last words would change only the low bits.
        hashes ^= hashes >> np.uint64(29)
    return np.unique(hashes)
