"""Strict parameters: every mistake is reported with its key's path."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from diffucoder.errors import BadParameters

Model = TypeVar("Model", bound=BaseModel)
# A value longer than this hides the message that it is part of.
LONGEST_VALUE = 60

# Where a setting of an earlier version stands now: the end of its path, and of the new one. What
# follows a comma is for the reader.
RENAMED = {
    "architecture.heads": "architecture.num_attention_heads",
    "architecture.key_value_heads": "architecture.num_key_value_heads",
    "architecture.layers": "architecture.num_hidden_layers",
    "architecture.max_positions": "architecture.max_position_embeddings",
    "architecture.tied_embeddings": "architecture.tie_word_embeddings",
    "engine.keep_last": "engine.save_total_limit",
    "engine.ranks": "engine.nproc_per_node",
    "evaluation.benchmarks": "evaluation.suites",
    "evaluation.benchmarks_folder": "evaluation.suites_folder",
    "grpo.advantages.divide_by_std": "grpo.advantages.scale_rewards",
    "grpo.advantages.resamples": (
        "grpo.advantages.max_num_gen_batches, which counts the first batch too: add 1"
    ),
    "grpo.completions_per_prompt": "grpo.num_generations",
    "grpo.inner_iterations": "grpo.num_iterations",
    "grpo.reference_sync_every": "grpo.ref_model_sync_steps",
    "lab.variants": "lab.estimators",
    "lora.alpha": "lora.lora_alpha",
    "lora.rank": "lora.r",
    "lora.targets": "lora.target_modules",
    "lora.whole": "lora.modules_to_save",
    "optimizer.gradient_clip": "optimizer.max_grad_norm",
    # The options of each estimator and objective, which stood in the grpo stage.
    **{
        f"grpo.{kind}.{name}": f"{kind}s.{name}"
        for kind, names in {
            "estimator": "coupled decoupled full_mask monte_carlo stratified_t trace",
            "objective": "espo gdsd grpo spg wd1",
        }.items()
        for name in names.split()
    },
}


def validated(model: type[Model], tree: Mapping[str, Any], source: str) -> Model:
    """Return `tree` as a `model`.

    Args:
        model: pydantic model of the whole tree.
        tree: nested values as they were read.
        source: where they came from, for the message.

    Raises:
        BadParameters: names each wrong key by its path, what it holds and what was expected.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_describe(model, details) for details in error.errors(include_url=False)]
        raise BadParameters(
            f"{len(lines)} wrong in {source}:\n" + "\n".join(f"  {line}" for line in lines)
        ) from None


def unknown_key(location: Sequence[str | int], known: Iterable[str]) -> str:
    """One line on a key that nothing reads.

    Args:
        location: path of the key.
        known: keys that could stand in its place.

    Returns:
        The line, which ends with the new place of a renamed key, a similar key, or all known ones.
    """
    path = ".".join(map(str, location))
    if new := renamed(path):
        return f"{path}: was renamed to {new}"
    close = get_close_matches(str(location[-1]), sorted(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
    return f"{path}: unknown key; {hint}"


def renamed(path: str) -> str | None:
    """What a setting of an earlier version is called now; None for one that never was.

    Args:
        path: path of the key, such as `grpo.inner_iterations`.
    """
    for old, new in RENAMED.items():
        if f".{path}".endswith(f".{old}"):
            return path.removesuffix(old) + new
    return None


def _describe(model: type[BaseModel], details: Mapping[str, Any]) -> str:
    """One line on one mistake."""
    location: tuple[str | int, ...] = details["loc"]
    path = ".".join(str(part) for part in location) or "(the whole tree)"
    if details["type"] == "missing":
        return f"{path}: missing; expected a value here"
    if details["type"] == "extra_forbidden":
        return unknown_key(location, _fields_at(model, location[:-1]))
    message = details["msg"].removeprefix("Value error, ")
    got = repr(details["input"])
    if len(got) > LONGEST_VALUE:
        got = f"{got[:LONGEST_VALUE]}…"
    return f"{path}: got {got}; {message[0].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> set[str]:
    """Names that the model at `location` knows."""
    models = {model}
    for part in location:
        # A part that is no field is a list's index, a mapping's key or a union's tag.
        deeper = {
            found
            for candidate in models
            if part in candidate.model_fields
            for found in _models_in(candidate.model_fields[str(part)].annotation)
        }
        models = deeper or models
    return {name for found in models for name in found.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
