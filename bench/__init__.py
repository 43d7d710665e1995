"""Benchmarks. ``make bench`` lists them; ``make bench NAME=x`` runs ``bench/x.py`` and writes ``bench/out/x.json``."""
