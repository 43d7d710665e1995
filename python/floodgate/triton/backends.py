"""The backends that there are: a Triton of our own below this process, and somebody else's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from floodgate.errors import ModelError
from floodgate.triton.backend import TritonBackend
from floodgate.triton.ensemble import assemble
from floodgate.triton.install import TritonInstall
from floodgate.triton.process import ServerOptions
from floodgate.triton.remote import RemoteWatch
from floodgate.triton.supervisor import TritonSupervisor
from floodgate.types import EnsembleSpec


def embedded(
    install: TritonInstall,
    options: ServerOptions,
    repository: Path,
    *,
    memory: str = "auto",
) -> TritonBackend:
    """A backend with its own ``tritonserver`` process over the heads in ``repository``; ``load`` starts
    it."""

    def prepare(ensembles: Sequence[EnsembleSpec]) -> None:
        try:
            assemble(options.repository, repository, ensembles)
        except OSError as error:
            raise ModelError(f"cannot write the run-time repository {options.repository}: {error}") from error

    return TritonBackend(
        "embedded",
        lambda client: TritonSupervisor(install, options, client),
        memory=memory,
        prepare_repository=prepare,
    )


def connect_remote(address: str, *, memory: str = "auto") -> TritonBackend:
    """A backend over somebody else's Triton at ``address`` ("host:port", gRPC), which has the heads in its
    own repository. Ensembles are sent with their load request. ``load`` connects."""
    return TritonBackend("remote", lambda client: RemoteWatch(address, client), memory=memory)
