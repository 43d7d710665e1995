"""Processes that take requests in front of the one that schedules them, so that gRPC, parsing, policy and records use
as many cores as there are, while lanes, batches and admission stay one.

``front`` is what answers requests, in whichever process; ``fleet`` starts the others and keeps them; ``__main__`` is
such a process.
"""
