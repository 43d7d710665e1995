"""From an item to its decision: the one place where core, inference server, policy and record meet."""

from floodgate.pipeline.moderation import Pipeline, Serves, TakesParts
from floodgate.pipeline.policies import Policies, PolicySet

__all__ = ["Pipeline", "Policies", "PolicySet", "Serves", "TakesParts"]
