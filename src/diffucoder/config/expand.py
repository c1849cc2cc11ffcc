"""From the parameters as they are written to the whole tree: what stages share is written once."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from diffucoder.config.check import unknown_key
from diffucoder.config.labels import replace_labels
from diffucoder.config.root import Parameters
from diffucoder.errors import BadParameters

# A block of these names at the top level gives the defaults of all blocks of its name below it.
DEFAULTS = ("engine", "optimizer", "schedule", "decoding", "sandbox", "bootstrap")

Tree = dict[str, Any]


def expand(written: Mapping[str, Any]) -> Tree:
    """The whole tree of parameters.

    Args:
        written: the merged parameters of base, environment and command line. What is wrong in it
            stays as it is, for the check of the whole tree to report.

    Returns:
        A new tree in which every stage has all of its settings, labels are replaced by the options
        they stand for, and the blocks these came from are gone. Expanding it again changes nothing.

    Raises:
        BadParameters: if a default is of a setting that no stage knows, or a label is unknown.
    """
    return _with_defaults(replace_labels(written))


def _with_defaults(tree: Tree) -> Tree:
    for name in DEFAULTS:
        if isinstance(tree.get(name), dict):
            defaults = tree.pop(name)
            known = set(_keys_of(Parameters, name))
            if unknown := sorted(set(defaults) - known):
                raise BadParameters("\n".join(unknown_key([name, key], known) for key in unknown))
            tree = _filled(tree, Parameters, name, defaults)
    return tree


def _filled(tree: Tree, model: type[BaseModel], name: str, defaults: Tree) -> Tree:
    """`tree`, a `model`, with the defaults that apply in each block called `name`."""
    filled = dict(tree)
    for key, below in _parts(model):
        block = tree.get(key, {} if key == name else None)
        if not isinstance(block, dict):
            continue
        if key != name:
            filled[key] = _filled(block, below, name, defaults)
        elif _is_chosen(below, model.model_fields[key].discriminator, defaults | block):
            given = {key: value for key, value in defaults.items() if key in below.model_fields}
            filled[key] = given | block
    return filled


def _is_chosen(model: type[BaseModel], discriminator: Any, block: Tree) -> bool:
    """Whether a block is of this model, where a key of it tells several apart."""
    if not isinstance(discriminator, str):
        return True
    return block.get(discriminator) in get_args(model.model_fields[discriminator].annotation)


def _keys_of(model: type[BaseModel], name: str) -> Iterator[str]:
    """Settings of all blocks called `name` in a `model`."""
    for key, below in _parts(model):
        yield from below.model_fields if key == name else _keys_of(below, name)


def _parts(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Fields of a model that are models themselves, or None."""
    for key, field in model.model_fields.items():
        for annotation in _alternatives(field.annotation):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield key, annotation


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types in a union, or the one type that it is."""
    if get_origin(annotation) in (Union, UnionType):
        for alternative in get_args(annotation):
            yield from _alternatives(alternative)
    elif get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif annotation is not NoneType:
        yield annotation
