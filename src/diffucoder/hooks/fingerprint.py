"""What a node's result depends on: its parameters, files they name, its code, its inputs."""

import ast
import hashlib
import inspect
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from diffucoder.datasets.identity import signature
from diffucoder.tracking.flatten import flatten

# Folder of the data that people put there.
RAW = "01_raw"
# Differences shown before the rest is only counted.
SHOWN = 3
# Characters of a value that a reason quotes.
LONGEST_VALUE = 60
# A package that imports this takes all its modules for parts of itself.
DISCOVERY = "pkgutil.iter_modules"


@dataclass(frozen=True)
class Fingerprint:
    """Everything that, when it changes, outdates a node's outputs.

    Attributes:
        parameters: Nested values of the node's `params:` inputs.
        files: Signature of each file or folder that a parameter names.
        code: Digest of the node's code and of all project code that it reaches.
        inputs: Digest of each data set that it reads; one that is absent is left out.
    """

    parameters: dict[str, Any]
    files: dict[str, str]
    code: str
    inputs: dict[str, str]


def differences(recorded: Fingerprint, present: Fingerprint) -> list[str]:
    """Compare two fingerprints.

    Args:
        recorded: What a result depended on when it was made.
        present: What it would depend on now.

    Returns:
        Why the result does not stand for the present; empty if it does.
    """
    reasons = _changed_values(flatten(recorded.parameters), flatten(present.parameters))
    reasons += [
        f"{path} changed"
        for path in sorted(recorded.files.keys() | present.files.keys())
        if recorded.files.get(path) != present.files.get(path)
    ]
    # An input that was deleted to save space cannot be compared and says nothing.
    reasons += [
        f"its input {name} changed"
        for name, content in present.inputs.items()
        if recorded.inputs.get(name) != content
    ]
    if recorded.code != present.code:
        reasons.append("its code changed")
    return reasons


def summarised(reasons: list[str]) -> str:
    """The first few reasons and how many more there are."""
    more = len(reasons) - SHOWN
    return ", ".join(reasons[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _changed_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    nothing = "nothing"
    return [
        f"{name} was {_brief(old.get(name, nothing))}, is {_brief(new.get(name, nothing))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, nothing) != new.get(name, nothing)
    ]


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def named_files(parameters: object, root: Path, made: Path) -> dict[str, str]:
    """Signature of every file or folder that a text among `parameters` names.

    A text is taken for a path if something exists there, seen from `root`; taking a word for the
    file of that name costs no more than a stage that runs again when the file changes.

    Args:
        parameters: Nested values.
        root: The project's folder.
        made: The folder of all artefacts; only raw data counts there, since runs write the rest.

    Returns:
        Signatures by the text that names the file.
    """
    found = {text: root / text for text in _texts(parameters) if text}
    return {
        text: signature(path)
        for text, path in found.items()
        if _exists(path) and (not path.is_relative_to(made) or path.is_relative_to(made / RAW))
    }


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that is too long to be a name
        return False


def _texts(tree: object) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _texts(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _texts(value)


def code_digest(function: Callable[..., Any]) -> str:
    """Digest of all project code that `function` can reach, and of the Python version.

    It starts from every module beside the function's own and follows imports, wherever they
    stand, texts that name modules (a stage's worker runs in another process and is imported by
    nobody), and packages that find their modules by listing them. Comments and layout do not
    count; neither do other packages.

    Args:
        function: A function of the project.

    Returns:
        SHA-256 in hex.
    """
    module = inspect.unwrap(getattr(function, "func", function)).__module__
    return package_digest(module.rpartition(".")[0] or module)


@cache
def package_digest(package: str) -> str:
    """Digest of all project code that a package reaches; computed once per process.

    Args:
        package: Import path of the package, or of a module.
    """
    top = package.partition(".")[0]
    root = Path(sys.modules[top].__file__ or "").parent.parent
    start = root / package.replace(".", "/")
    waiting = sorted(start.glob("*.py")) if start.is_dir() else [start.with_suffix(".py")]
    reached: dict[Path, str] = {}
    while waiting:
        file = waiting.pop()
        if file in reached:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        reached[file] = ast.dump(tree)
        names = set(_module_names(tree))
        own = (name for name in sorted(names) if name.partition(".")[0] == top)
        waiting += (found for name in own if (found := _module_file(root, name)))
        if DISCOVERY in names:
            waiting += sorted(file.parent.glob("*.py"))
        for companion in _companions(file.parent):
            reached[companion] = hashlib.sha256(companion.read_bytes()).hexdigest()
    total = hashlib.sha256(platform.python_version().encode())
    for file in sorted(reached):
        total.update(f"{file.relative_to(root)}\0{reached[file]}\0".encode())
    return total.hexdigest()


def _module_names(tree: ast.AST) -> Iterator[str]:
    """Every name in `tree` that may be a module's."""
    for part in ast.walk(tree):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom) and part.module:
            yield part.module
            yield from (f"{part.module}.{alias.name}" for alias in part.names)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def _module_file(root: Path, name: str) -> Path | None:
    """The file of module `name`; None if it is a function's or no name at all."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    base = root / name.replace(".", "/")
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _companions(package: Path) -> list[Path]:
    """Files that are no Python in a package and in its plain sub-folders: templates."""
    plain = [
        folder
        for folder in sorted(package.iterdir())
        if folder.is_dir() and not (folder / "__init__.py").exists()
    ]
    return [
        file
        for folder in [package, *plain]
        for file in sorted(folder.iterdir())
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    ]
