"""The shared CPU runner for Triton's Python backend. ``model.py`` runs inside Triton's stub process and
imports nothing of Floodgate; ``precision.py`` lies beside it and is imported by name there."""
