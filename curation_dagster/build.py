"""The code location, built from a profile.

Belongs here: `build_defs`, which wires stages, resources, checks, jobs, schedule and sensor together,
with any resource replaceable. Does not belong here: a method or a stage.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

import assets
from assets import sources
from assets.stage import STAGES, document_shard, sample_shard
from curation.settings import Profile
from curation_dagster import automation
from curation_dagster.checks import checks
from resources.chat import ChatModel
from resources.lake import Lake, LakeIOManager
from resources.profile import ProfileResource
from resources.reviews import Reviews


def build_resources(path: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The resources that a profile asks for."""
    resource = ProfileResource(path=path, overrides=list(overrides))
    profile = resource.load()
    lake = Lake(root=profile.lake)
    beside = Path(profile.lake) if lake.is_local else Path.cwd()
    chat = profile.synthesis.chat.model_dump()
    return {
        "profile": resource,
        "lake": lake,
        "io_manager": LakeIOManager(root=profile.lake),
        "reviews": Reviews(store=str(beside / "_reviews" / "reviews.sqlite"), files=list(profile.reviews)),
        "chat": ChatModel(**chat, cache=str(beside / "_chat")),
        "catalog": DuckDBResource(database=str(beside / ".catalog.new.duckdb")),
    }


def build_defs(
    path: str, overrides: Sequence[str] = (), resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Everything that Dagster loads.

    Parameters
    ----------
    path
        File of the profile.
    overrides
        `section.field=value`, applied to the profile.
    resources
        Resources that take the place of the profile's, such as a chat model made for a test.
    """
    # partitioned checks and observable sources are still marked beta; constraints.txt pins Dagster
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category)
    assets.load()
    wired = build_resources(path, overrides) | dict(resources or {})
    profile: Profile = wired["profile"].load()
    partitions: dict[str, dg.PartitionsDefinition] = {
        "document_sources": document_shard,
        "sample_sources": sample_shard,
    }
    return dg.Definitions(
        assets=[
            *(stage.asset(profile) for stage in STAGES.values()),
            *assets.extra(),
            *sources.observables(partitions),
        ],
        asset_checks=[check for stage in STAGES.values() for check in checks(stage)],
        jobs=automation.jobs(),
        schedules=automation.schedules(),
        sensors=automation.sensors(),
        resources=wired,
        executor=dg.in_process_executor,
    )
