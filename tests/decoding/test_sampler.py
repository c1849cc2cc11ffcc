"""Rows that come and go while others are decoded."""

import gc

import pytest
import torch
from tiny_vocabulary import END, MASK, SPECIAL
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Completion, Request, Sampler, decode
from diffucoder.errors import BadData

CACHES = [{"cache": "none"}, {"cache": "prefix"}, {"cache": "dual", "refresh_every": 2}]


def request(seed: int, length: int = 8, **options: object) -> Request:
    shape = {"rule": "entropy", "max_new_tokens": 8, "steps": 8, "eps": 0.0, "block_length": 4}
    config = DecodingParams(**shape | {"temperature": 1.0} | options)
    stream = torch.Generator().manual_seed(seed)
    return Request([1 + seed] * (1 + seed), [MASK] * length, config, END, stream)


def finish(sampler: Sampler) -> dict[int, Completion]:
    done = {}
    while len(sampler):
        done |= {step.row: step.completion for step in sampler.step() if step.completion}
    return done


@pytest.mark.parametrize("options", CACHES, ids=str)
def test_rows_may_join_and_leave_between_steps(model: PreTrainedModel, options: dict) -> None:
    sampler = Sampler(model, SPECIAL)
    first, leaver = sampler.add(request(0, **options)), sampler.add(request(1, 12, **options))
    for _ in range(3):
        sampler.step()
    late = sampler.add(request(4, 12, **options))
    sampler.step()
    sampler.remove(leaver)
    sampler.step()
    last = sampler.add(request(2, **options))
    done = finish(sampler)
    assert sorted(done) == [first, late, last]
    for number, asked in ((first, (0, 8)), (late, (4, 12)), (last, (2, 8))):
        alone = decode(model, [request(*asked, **options)], SPECIAL).rows[0]
        assert torch.equal(done[number].canvas, alone.canvas)
        assert torch.equal(done[number].reveal_step, alone.reveal_step)


def test_a_row_that_left_is_not_computed(model: PreTrainedModel, queries: list[torch.Size]) -> None:
    sampler = Sampler(model, SPECIAL)
    numbers = [sampler.add(request(seed, cache="dual")) for seed in (0, 1)]
    sampler.step()
    sampler.remove(numbers[1])
    sampler.remove(numbers[1])
    sampler.step()
    assert len(sampler) == 1
    assert queries == [torch.Size([2, 10]), torch.Size([1, 5])]


def test_a_bad_request_leaves_the_others_alone(model: PreTrainedModel) -> None:
    sampler = Sampler(model, SPECIAL)
    sampler.add(request(0))
    with pytest.raises(BadData, match="prompt 1"):
        sampler.add(request(0, length=99))
    assert list(finish(sampler)) == [0]


@pytest.mark.parametrize("options", CACHES, ids=str)
def test_memory_does_not_grow_with_steps(model: PreTrainedModel, options: dict) -> None:
    sampler = Sampler(model, SPECIAL)
    sampler.add(request(0, 24, max_new_tokens=24, steps=24, **options))

    def held() -> int:
        gc.collect()
        return sum(x.numel() for x in gc.get_objects() if type(x) is torch.Tensor)

    sampler.step()
    sampler.step()
    early = held()
    for _ in range(20):
        sampler.step()
    assert held() <= early
