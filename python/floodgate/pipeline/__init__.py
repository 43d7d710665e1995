"""From an item to its decision: the one place where core, inference server, policy and record meet."""

from floodgate.pipeline.moderation import Pipeline
from floodgate.pipeline.policies import PolicySet

__all__ = ["Pipeline", "PolicySet"]
