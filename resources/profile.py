"""The profile as a resource.

Belongs here: finding and loading the profile that a run works under. Does not belong here: what is
in a profile (`curation.settings`).
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import dagster as dg

from curation.settings import Profile, load_profile

VARIABLE = "CURATION_PROFILE"
DEFAULT = Path(__file__).resolve().parent.parent / "profiles" / "demo.yaml"


def profile_path(given: str | None = None) -> str:
    """The profile's file: the one given, else the one that CURATION_PROFILE names, else the demo's.

    A bare name such as `medical` means that profile in the project's `profiles` folder.
    """
    name = given or os.environ.get(VARIABLE) or str(DEFAULT)
    by_name = DEFAULT.parent / f"{name}.yaml"
    return str(by_name if not Path(name).exists() and by_name.exists() else Path(name))


_load = lru_cache(maxsize=8)(load_profile)


class ProfileResource(dg.ConfigurableResource):
    """The profile that a run works under; `overrides` can be given in the Launchpad."""

    path: str
    overrides: list[str] = []

    def load(self) -> Profile:
        """The profile, with the overrides applied."""
        return _load(self.path, tuple(self.overrides))
