"""The shared CPU runner for Triton's Python backend. ``model.py`` runs inside Triton's stub process, where
Floodgate is not imported."""
