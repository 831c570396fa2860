"""The config: a YAML file, checked as a whole, that becomes tasks."""

from typing import TYPE_CHECKING

from blockflow.config.compute_schema import ComputeConfig
from blockflow.config.loader import LoadedConfig, load_config
from blockflow.config.models import RoiConfig
from blockflow.config.schema import ArrayConfig, Config, TaskConfig, json_schema
from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.config.build import Run, build_run

__getattr__ = lazy_names(__name__, dict.fromkeys(("Run", "build_run"), "blockflow.config.build"))

__all__ = [
    "ArrayConfig",
    "ComputeConfig",
    "Config",
    "LoadedConfig",
    "RoiConfig",
    "Run",
    "TaskConfig",
    "build_run",
    "json_schema",
    "load_config",
]
