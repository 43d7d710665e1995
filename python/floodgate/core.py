"""The compiled core on the event loop. The only module that imports ``_core``.

``Core`` submits parts, hands ready batches to a backend and resolves one future a part. Nothing here waits in C++: the core
signals one eventfd, which the loop watches. Buffers follow the backend's word: ``infer`` returning or raising means that
nobody reads the batch's memory any more; a batch that is still unanswered at its last row's deadline is quarantined until then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from floodgate import _core
from floodgate.errors import CORE_ERRORS, Cancelled, ContentError, FloodgateError, Unavailable
from floodgate.types import (
    Backend,
    Batch,
    EnsembleSpec,
    ImageViewSpec,
    Lane,
    Part,
    TextViewSpec,
    ViewSpec,
    output_name,
)

log = logging.getLogger(__name__)
