"""The guard around heads that bring their own ``model.py``. ``model.py`` here runs inside Triton's stub process, where
Floodgate is not imported."""
