"""A catalog in which what is out of date does not exist."""

from typing import Any

from kedro.framework.context import CatalogCommandsMixin
from kedro.io import DataCatalog


class FreshCatalog(DataCatalog, CatalogCommandsMixin):
    """Kedro's catalog, in which an entry that is out of date does not exist.

    What a changed parameter, input or line of code has outdated is made again by
    `--only-missing-outputs`.

    Attributes:
        stale: Names of outdated entries; the provenance hook fills it before a run.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stale: frozenset[str] = frozenset()

    def exists(self, ds_name: str) -> bool:
        """Whether the entry was saved and is up to date."""
        return ds_name not in self.stale and super().exists(ds_name)
