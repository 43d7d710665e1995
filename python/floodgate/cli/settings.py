"""What the commands share: where the configuration comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from floodgate.config import Config, load_config

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML configuration file; see config.example.yaml.")
]


def read(path: Path | None, **overrides: Any) -> Config:
    """The configuration for a command: file < environment < command line. Raises ConfigError."""
    return load_config(path, os.environ, {key.replace("__", "."): value for key, value in overrides.items()})
