"""Project settings that Kedro reads: configuration, hooks, session and catalog classes."""

import os
from pathlib import Path

from omegaconf.resolvers import oc

ROOT = Path(__file__).resolve().parents[2]

# Nothing here reports usage: kedro-telemetry is switched off in .telemetry (and reads
# DO_NOT_TRACK), the others read these. A value that the user set is kept.
for _switch in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "true")

# These import mlflow, which reads its switch then.
from diffucoder.config.root import Parameters  # noqa: E402
from diffucoder.hooks.catalog import FreshCatalog  # noqa: E402
from diffucoder.hooks.config_loader import ExpandingConfigLoader  # noqa: E402
from diffucoder.hooks.inputs import InputsHook  # noqa: E402
from diffucoder.hooks.parameters import ParametersHook  # noqa: E402
from diffucoder.hooks.provenance import ProvenanceHook  # noqa: E402
from diffucoder.hooks.session import RunClosingSession  # noqa: E402
from diffucoder.hooks.usage import UsageHook  # noqa: E402
from diffucoder.tracking.hook import TrackingHook  # noqa: E402

HOOKS = (
    ParametersHook(Parameters),
    InputsHook(),
    ProvenanceHook(Parameters),
    UsageHook(),
    TrackingHook(),
)
# The tracking hook among HOOKS takes the place of the plugin's own; only the second
# spelling has an effect today, the first is the distribution's name.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlflow", "kedro_mlflow")

SESSION_CLASS = RunClosingSession
CONFIG_LOADER_CLASS = ExpandingConfigLoader
DATA_CATALOG_CLASS = FreshCatalog


def project_path(relative: str = "") -> str:
    """Absolute path of `relative` under the project's root, whatever the working directory."""
    return str(ROOT / relative)


CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
    "custom_resolvers": {"project": project_path, "oc.env": oc.env},
}
