"""Floodgate: a content-moderation inference server."""
