import inspect
import json.decoder
import json.encoder
from collections.abc import Callable

import pytest

from diffucoder.data.dedup import Deduplicator
from diffucoder.data.filters import Reason
from diffucoder.data.shingles import shingle_hashes, word_hashes

DECODER = inspect.getsource(json.decoder)
ENCODER = inspect.getsource(json.encoder)


@pytest.fixture
def reason(params, document) -> Callable[[str, str], Reason | None]:
    seen = Deduplicator(params.dedup)

    def ask(text: str, path: str) -> Reason | None:
        return seen.reason_to_reject(document(text, path), word_hashes(text))

    return ask


def test_the_first_copy_stays_and_the_second_names_it(reason) -> None:
    assert reason(DECODER, "a.py") is None
    assert reason(ENCODER, "b.py") is None
    assert reason(DECODER, "c.py") == ("exact_duplicate", "of test/a.py")


def test_a_changed_copy_is_a_near_duplicate(reason) -> None:
    assert reason(DECODER, "a.py") is None
    edited = DECODER.replace("    ", "\t").replace("JSONDecodeError", "Fault", 1)
    found = reason(edited + "\nanswer = 42\n", "b.py")
    assert found.name == "near_duplicate"
    assert found.detail.startswith("of test/a.py")


def test_half_a_document_is_no_duplicate(reason) -> None:
    assert reason(DECODER, "a.py") is None
    assert reason(DECODER[: len(DECODER) // 2] + ENCODER, "b.py") is None


def test_a_rejected_copy_is_not_remembered(reason) -> None:
    assert reason(DECODER, "a.py") is None
    assert reason(DECODER + "x = 1\n", "b.py").name == "near_duplicate"
    assert reason(DECODER + "x = 1\n", "c.py") is not None
    assert "of test/a.py" in reason(DECODER + "x = 1\n", "d.py").detail


def test_documents_shorter_than_a_shingle_are_compared_whole(reason) -> None:
    assert reason("x = 1", "a.py") is None
    assert reason("y = 2", "b.py") is None
    assert reason("x  =  1", "c.py").name == "near_duplicate"
    assert reason("", "d.py") is None


def test_signatures_estimate_the_jaccard_similarity(params) -> None:
    seen = Deduplicator(params.dedup.model_copy(update={"permutations": 256}))
    both = [word_hashes(text) for text in (DECODER, DECODER[: len(DECODER) // 2])]
    shingles = [set(shingle_hashes(words, 5).tolist()) for words in both]
    true = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
    estimate = seen.signature(both[0]).jaccard(seen.signature(both[1]))
    # Four standard deviations of a mean of 256 coin flips.
    assert abs(estimate - true) < 4 * (true * (1 - true) / 256) ** 0.5
