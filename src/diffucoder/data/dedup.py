"""Exact and near duplicates; memory holds digests and signatures, never text."""

import numpy as np
from datasketch import MinHash, MinHashLSH

from diffucoder.config.ingestion import DedupParams
from diffucoder.data.documents import Document
from diffucoder.data.filters import Reason
from diffucoder.data.shingles import shingle_hashes


class Deduplicator:
    """Remembers documents, and recognises those it has seen.

    Attributes:
        params: Shingle length, number of permutations, and the similarity of duplicates.
    """

    def __init__(self, params: DedupParams) -> None:
        self.params = params
        self._digests: dict[bytes, str] = {}
        self._signatures: dict[str, MinHash] = {}
        self._index = MinHashLSH(threshold=params.threshold, num_perm=params.permutations)
        # Its copies share one table of permutations.
        self._empty = MinHash(num_perm=params.permutations, hashfunc=int)

    def reason_to_reject(self, document: Document, words: np.ndarray) -> Reason | None:
        """Check whether a document repeats an earlier one; if not, it is remembered.

        Args:
            document: The document.
            words: Its word hashes, uint64 `[words]`.

        Returns:
            `exact_duplicate` or `near_duplicate` with the other's path, or None.
        """
        digest = bytes.fromhex(document.sha256)[:16]
        if digest in self._digests:
            return Reason("exact_duplicate", f"of {self._digests[digest]}")
        signature = self.signature(words)
        # The index types its keys as Hashable; ours are names.
        for other in sorted(map(str, self._index.query(signature))):
            similarity = signature.jaccard(self._signatures[other])
            if similarity >= self.params.threshold:
                return Reason("near_duplicate", f"of {other}, similarity {similarity:.2f}")
        name = f"{document.source}/{document.path}"
        self._digests[digest] = name
        self._signatures[name] = signature
        self._index.insert(name, signature)
        return None

    def signature(self, words: np.ndarray) -> MinHash:
        """Compute a MinHash signature, which estimates the similarity of sets of shingles.

        Args:
            words: A document's word hashes, uint64 `[words]`.

        Returns:
            Its signature; documents shorter than a shingle are one shingle.
        """
        size = min(self.params.shingle_words, max(len(words), 1))
        # The signature scheme takes 32-bit hashes.
        shingles = np.unique(shingle_hashes(words, size) >> np.uint64(32))
        signature = self._empty.copy()
        signature.update_batch(shingles.tolist())
        return signature
