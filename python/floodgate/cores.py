"""Which cores there are, and who gets how many."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from floodgate.config import Config


def available_cores(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup"), cores: int | None = None
) -> int:
    """Cores this process may use: its affinity mask, which follows the cgroup's cpuset, and the CPU quotas of its
    cgroup v2 and those above, not the host's count. ``cores`` replaces the count of the mask."""
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    try:
        own = membership.read_text().strip().rsplit("::", 1)[-1].lstrip("/")
        for folder in (root / own, *(root / own).parents):
            limit = folder / "cpu.max"
            if limit.is_file():
                quota, period = limit.read_text().split()
                if quota != "max":
                    cores = min(cores, max(1, int(quota) // int(period)))
            if folder == root:
                break
    except (OSError, ValueError):
        pass
    return max(1, cores)


@dataclass(frozen=True, slots=True)
class CoreSplit:
    """Who gets how many of the ``cores`` that this process may use. Without ``acceptors`` the scheduler's own process
    takes requests, on a core of either of the others."""

    cores: int
    acceptors: int
    decode_workers: int
    inference_threads: int

    @property
    def is_shared(self) -> bool:
        """Whether decoding and inference have to take turns on a core."""
        return self.acceptors + self.decode_workers + self.inference_threads > self.cores


def split_cores(config: Config) -> CoreSplit:
    """What is configured, else a split of the available cores in which each acceptor has one, and of the rest decoding
    takes half, rounded down, and inference what is left; each gets at least one."""
    cores = available_cores()
    rest = max(1, cores - config.acceptors)
    workers = config.core.decode_workers or max(1, rest // 2)
    threads = config.triton.threads or max(1, rest - workers)
    return CoreSplit(cores, config.acceptors, workers, threads)
