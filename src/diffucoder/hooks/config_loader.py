"""A configuration loader that gives the whole tree of parameters."""

from typing import Any

from kedro.config import OmegaConfigLoader

from diffucoder.config.expand import expand


class ExpandingConfigLoader(OmegaConfigLoader):
    """Kedro's loader, but `parameters` are expanded: whoever reads them sees the whole tree."""

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The merged configuration of one kind, such as `catalog` or `parameters`."""
        found = super().__getitem__(key)
        return expand(found) if key == "parameters" else found
