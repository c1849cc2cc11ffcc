"""A thing that is chosen by name: one option class for each, or an import path of the user's own.

The options of what the project brings are pydantic classes with a `name` literal, and their union,
annotated with `ByName`, is the registry. A name with a dot in it is the import path of a class of
the user's own; its nested class `Options` says what may be set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from diffucoder.config.base import Params
from diffucoder.errors import BadParameters
from diffucoder.imports import load_object

_OWN = "own"


class Options(Params):
    """Options of one thing that the project brings; a subclass has a `name` literal.

    Attributes:
        implementation: import path of the class that takes these options. It is imported when
            one is made, so that reading parameters loads no torch.
    """

    implementation: ClassVar[str]

    def make(self, **context: Any) -> Any:
        """The thing itself.

        Args:
            context: what it takes beside its options.
        """
        return load_object(self.implementation, "implementation")(self, **context)


class OwnOptions(BaseModel):
    """Options of a thing of the user's own; every key but `name` is one of its own options.

    Attributes:
        name: import path of the class, `package.module.Class`.
        kind: what it is, for messages.
        base: import path of the class that it must derive from. That class has an attribute
            `Options`, a pydantic class, which the user's may replace.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: ClassVar[str]
    base: ClassVar[str]
    name: str

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        """The options checked, and completed by the defaults of the user's `Options`."""
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            return given
        chosen = cls._class_at(given["name"])
        options = {key: value for key, value in given.items() if key != "name"}
        try:
            checked = chosen.Options.model_validate(options)
        except ValidationError as error:
            wrong = [
                f"{'.'.join(map(str, details['loc'])) or 'options'}: {details['msg']}"
                for details in error.errors(include_url=False)
            ]
            raise BadParameters(f"options of {given['name']}: {'; '.join(wrong)}") from None
        return {**checked.model_dump(), "name": given["name"]}

    @classmethod
    def _class_at(cls, path: str) -> Any:
        found, base = load_object(path, cls.kind), load_object(cls.base, "base class")
        if not (isinstance(found, type) and issubclass(found, base)):
            raise BadParameters(f"{path} is no {cls.kind}: expected a subclass of {cls.base}")
        return found

    def make(self, **context: Any) -> Any:
        """The thing itself.

        Args:
            context: what it takes beside its options.
        """
        chosen = self._class_at(self.name)
        return chosen(chosen.Options.model_validate(self.model_extra or {}), **context)


@dataclass(frozen=True)
class ByName:
    """Annotates a union of `Options` and one `OwnOptions`: `name` tells which of them is meant.

    Attributes:
        kind: what is chosen, for messages.
    """

    kind: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """A tagged union, of which the last member takes every name with a dot in it."""
        choices = {_tag_of(member): handler.generate_schema(member) for member in get_args(source)}
        known = ", ".join(sorted(set(choices) - {_OWN}))
        return core_schema.tagged_union_schema(
            choices,
            _tag,
            custom_error_type="unknown_name",
            custom_error_message=(
                f"expected {self.kind} options with a `name`: {known}, or the import path of a "
                "class of your own"
            ),
        )


def registry(union: Any) -> dict[str, type[Options]]:
    """The option classes of a union annotated with `ByName`, by name; without the user's own."""
    members = get_args(get_args(union)[0])
    return {_tag_of(member): member for member in members if issubclass(member, Options)}


def default_options(union: Any, kind: str, name: str) -> Any:
    """Options by name, all at their defaults.

    Args:
        union: a union annotated with `ByName`.
        kind: what is chosen, for messages.
        name: a name of the union, or the import path of a class of the user's own.

    Raises:
        BadParameters: if there is nothing of that name, or it has an option without a default.
    """
    known = sorted(registry(union))
    if name not in known and "." not in name:
        raise BadParameters(
            f"unknown {kind} {name!r}: expected one of {known}, or the import path of a class of "
            "your own"
        )
    try:
        return TypeAdapter(union).validate_python({"name": name})
    except ValidationError as error:
        wrong = [details["msg"].removeprefix("Value error, ") for details in error.errors()]
        raise BadParameters(f"{kind} {name!r}: {'; '.join(wrong)}") from None


def _tag_of(member: type[BaseModel]) -> str:
    return _OWN if issubclass(member, OwnOptions) else member.model_fields["name"].default


def _tag(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    return _OWN if isinstance(name, str) and "." in name else name
