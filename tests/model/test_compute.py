import re
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from diffucoder.config.engine import EngineParams
from diffucoder.errors import BadParameters
from diffucoder.model.compute import Conditions, choose, conditions, configure
from diffucoder.model.projection import MIB, chunk_for

GPU = Conditions(ampere=True, half=True, dropout=False, flash_attn=True, torch_varlen=True)
LAPTOP = Conditions(ampere=False, half=False, dropout=False, flash_attn=False, torch_varlen=True)


def but(**other: bool) -> Conditions:
    return Conditions(**(vars(GPU) | other))


@pytest.mark.parametrize(
    ("here", "kernel", "reason"),
    [
        (GPU, "flash", "fastest"),
        (but(flash_attn=False), "varlen", "not flash: flash-attn cannot be imported"),
        (but(flash_attn=False, torch_varlen=False), "sdpa", "not varlen: torch .* lacks"),
        (but(half=False), "sdpa", "not flash or varlen: it computes in half precision"),
        (but(dropout=True), "sdpa", "not flash or varlen: it drops no attention weights"),
        (LAPTOP, "sdpa", "not flash or varlen: there is no GPU"),
    ],
)
def test_auto_takes_the_fastest_that_runs_and_says_why(
    here: Conditions, kernel: str, reason: str
) -> None:
    chosen, why = choose("auto", here)
    assert chosen == kernel
    assert re.search(reason, why)


def test_a_kernel_that_cannot_run_is_refused() -> None:
    assert choose("varlen", GPU)[0] == "varlen"
    assert choose("sdpa", GPU)[0] == "sdpa"
    with pytest.raises(BadParameters, match=r"attention is 'flash', but there is no GPU.*sdpa"):
        choose("flash", LAPTOP)
    with pytest.raises(BadParameters, match=r"pip install 'diffucoder\[flash\]'"):
        choose("flash", but(flash_attn=False))


def test_a_model_is_configured_as_the_parameters_say(
    make_model: Callable[..., PreTrainedModel],
) -> None:
    engine = EngineParams(
        nproc_per_node=1,
        threads=1,
        zero_stage=0,
        precision="fp32",
        offload="none",
        gradient_checkpointing=False,
        compile=False,
        micro_batch=1,
        attention="auto",
        logits_mib=13 * 6 * 20 / MIB,
        save_every_s=1,
        save_total_limit=1,
        keep_best=False,
        nonfinite_limit=1,
        launcher="local",
        hostfile=None,
        on_change="refuse",
    )
    model = make_model(13)
    said = configure(model, engine, torch.device("cpu"))
    assert said.startswith("attention: sdpa (") and "no GPU" in said
    assert model.config._attn_implementation == "sdpa"
    assert chunk_for(13, 10, engine.logits_mib) is None
    assert chunk_for(13, 11, engine.logits_mib) == 20


@pytest.mark.gpu
def test_this_gpu_runs_a_kernel_of_its_own(make_model: Callable[..., PreTrainedModel]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here = conditions(make_model(13), True, torch.device("cuda"))
    if not here.ampere:
        pytest.skip("the GPU's compute capability is below 8.0")
    assert choose("auto", here)[0] == ("flash" if here.flash_attn else "varlen")
