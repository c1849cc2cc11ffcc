"""Installed packages that candidates and tests may import besides the standard library."""

import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

# One processor per program; the stacks of more threads would count against its memory.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def locate(names: Iterable[str]) -> dict[str, str]:
    """Find installed packages.

    Args:
        names: Top-level names of packages.

    Returns:
        For each that is installed, the file it is imported from.
    """
    specs = {name: importlib.util.find_spec(name) for name in names}
    return {
        name: spec.origin
        for name, spec in specs.items()
        if spec and spec.has_location and spec.origin
    }


def files(libraries: Mapping[str, str]) -> list[Path]:
    """List what must be readable for libraries to be imported.

    Args:
        libraries: The file of each, as `locate` gives them.

    Returns:
        Files and folders.
    """
    paths = []
    for name, origin in libraries.items():
        path = Path(origin)
        package = path.parent if path.name == "__init__.py" else path
        # Wheels keep the shared libraries that they link to in a folder beside them.
        paths += [p for p in (package, package.parent / f"{name}.libs") if p.exists()]
    return paths


class Finder:
    """Finds `libraries`, and nothing else that is installed beside them."""

    def __init__(self, libraries: Mapping[str, str]) -> None:
        self._libraries = dict(libraries)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module, as importlib.abc.MetaPathFinder describes."""
        origin = self._libraries.get(name)
        return importlib.util.spec_from_file_location(name, origin) if origin else None


def load(names: Iterable[str]) -> None:
    """Import libraries; what is wrong with a broken one shows when a program imports it."""
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


def make_importable(libraries: Mapping[str, str]) -> None:
    """Let this process import `libraries`."""
    sys.meta_path.append(Finder(libraries))
