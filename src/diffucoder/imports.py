"""Objects named by their import path: a user's own reward, estimator, objective or rule."""

from importlib import import_module
from typing import Any

from diffucoder.errors import BadParameters


def load_object(path: str, what: str) -> Any:
    """Import what an import path names.

    Args:
        path: `package.module.name`, where `name` is a function or a class of the module.
        what: What the path should name, for the message of the error, such as
            "reward function".

    Returns:
        The object of that name. Whether it is of the right kind is for the caller to check.

    Raises:
        BadParameters: If there is no such module, or no such name in it.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadParameters(
            f"{what} {path!r} cannot be imported ({error}): write package.module.name, and make "
            "sure that the package is installed or its folder is on PYTHONPATH"
        ) from error
