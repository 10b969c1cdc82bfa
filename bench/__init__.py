"""Benchmarks, each beside its peer in the same run: CPU seconds, and their ratio.

Belongs here: one module a claim, with `run() -> dict`. Does not belong here: timed tests.
"""
