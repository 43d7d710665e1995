"""Configuration: defaults < file < environment < command line, checked before anything starts.

The file is YAML. Every key is also an environment variable: ``FLOODGATE_`` + the key in upper case, with ``__``
between levels (``FLOODGATE_PRECISION=f32``, ``FLOODGATE_LIMITS__PARTS=16``); lists are comma-separated and callers
can be set in the file only. Read at the edge (``cli``) and passed down as values: no other module reads files or
variables.
"""

from floodgate.config.loading import ENV_PREFIX, load_config
from floodgate.config.settings import (
    ARENA_RESERVE,
    Caller,
    Config,
    CoreSettings,
    LaneFloors,
    Limits,
    MediaSettings,
    TritonSettings,
    check_address,
)

__all__ = [
    "ARENA_RESERVE",
    "ENV_PREFIX",
    "Caller",
    "Config",
    "CoreSettings",
    "LaneFloors",
    "Limits",
    "MediaSettings",
    "TritonSettings",
    "check_address",
    "load_config",
]
