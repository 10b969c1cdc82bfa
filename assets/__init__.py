"""The graph: one module a stage group, each stage a short function that reads like its sentence.

Belongs here: stages and the source assets. Must not hold logic worth a unit test (`curation`).
"""

from __future__ import annotations

from importlib import import_module

#: Modules in the order in which data flows.
MODULES = ("corpus", "domain", "synthesis", "pool", "scores", "selection", "exports", "audit")


def load() -> None:
    """Import every module, so that all stages are declared."""
    for name in MODULES:
        import_module(f"assets.{name}")


def extra() -> list:  # type: ignore[type-arg]
    """Assets that are not tables of the lake: the catalog of views."""
    from assets.audit import catalog

    return [catalog]
