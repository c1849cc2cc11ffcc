"""Installed packages that candidates and tests may import besides the standard library."""

import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

# One processor a program; and the stacks of more threads would count against its memory.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def locate(names: Iterable[str]) -> dict[str, str]:
    """The file from which each of the installed ones among top-level `names` is imported."""
    specs = {name: importlib.util.find_spec(name) for name in names}
    return {name: spec.origin for name, spec in specs.items() if spec and spec.has_location}


def files(libraries: Mapping[str, str]) -> list[Path]:
    """What must be readable for `libraries` to be imported."""
    found = []
    for name, origin in libraries.items():
        path = Path(origin)
        place = path.parent if path.name == "__init__.py" else path
        # Wheels bring the shared libraries they link to in a folder beside them.
        found += [p for p in (place, place.parent / f"{name}.libs") if p.exists()]
    return found


class Finder:
    """Finds `libraries` without a look at what else is installed beside them."""

    def __init__(self, libraries: Mapping[str, str]) -> None:
        self._libraries = dict(libraries)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        origin = self._libraries.get(name)
        return importlib.util.spec_from_file_location(name, origin) if origin else None


def load(names: Iterable[str]) -> None:
    """Import libraries; one that is broken is left to whoever imports it."""
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


def make_importable(libraries: Mapping[str, str]) -> None:
    """Let this process import `libraries`."""
    sys.meta_path.append(Finder(libraries))
