"""What the graph reads from outside the lake, and the version of each.

Belongs here: the observable source assets (files and websites by role, decisions of people) and
`version`, which tells whether they changed. Does not belong here: reading them (`resources`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import dagster as dg

from curation.errors import UserError
from curation.records import digest
from curation.settings import Profile
from resources.reviews import Kind, Reviews
from resources.sources import Shard, plan_shards
from resources.sources import version as shard_version

#: Source assets by what they hold: the role of a source, or the kind of a decision.
ROLES = {
    "document_sources": "document",
    "seed_sources": "seed",
    "sample_sources": "sample",
    "benchmark_sources": "benchmark",
}
DECISIONS = {
    "keyword_decisions": "keyword",
    "document_decisions": "document",
    "sample_decisions": "sample",
}
#: Samples that the graph itself makes are a shard of their own.
SYNTHESIS_SHARD = "synthesis"
_DESCRIPTIONS = {
    "document_sources": "Websites and files that general documents come from.",
    "seed_sources": "Files with the documents that define the domain.",
    "sample_sources": "Files with instruction samples.",
    "benchmark_sources": "Benchmark questions that must not leak into the training set.",
    "keyword_decisions": "A person's decisions on keywords.",
    "document_decisions": "A person's decisions on recalled documents.",
    "sample_decisions": "A person's decisions on samples.",
}


def shards(profile: Profile, role: str) -> list[Shard]:
    """The shards of all sources of a role."""
    return plan_shards(profile.of_role(role))


def shard(profile: Profile, role: str, key: str) -> Shard:
    """The shard of a role that has this key.

    Raises
    ------
    UserError
        No source has such a shard any more.
    """
    for one in shards(profile, role):
        if one.key == key:
            return one
    raise UserError(
        f"no {role} source has the shard {key!r}",
        where=profile.name,
        allowed="a shard that `curation plan` lists",
    )


def version(name: str, shard: str | None, profile: Profile, reviews: Reviews) -> str:
    """Version of a source asset: of one shard of it, or of the whole."""
    if name in DECISIONS:
        return reviews.version(cast(Kind, DECISIONS[name]))
    described = {source.name: source.fields.model_dump_json() for source in profile.of_role(ROLES[name])}
    return digest(
        *(
            f"{one.key}={shard_version(one)}={described[one.source.name]}"
            for one in shards(profile, ROLES[name])
            if shard is None or one.key == shard
        )
    )


def observables(
    partitions: dict[str, dg.PartitionsDefinition],
) -> Iterator[dg.AssetsDefinition | dg.SourceAsset]:
    """The observable source assets, those in `partitions` partitioned."""
    for name, description in _DESCRIPTIONS.items():
        yield _observable(name, description, partitions.get(name))


def _observable(
    name: str, description: str, partitions_def: dg.PartitionsDefinition | None
) -> dg.AssetsDefinition | dg.SourceAsset:
    @dg.observable_source_asset(
        name=name,
        description=description,
        group_name="sources",
        partitions_def=partitions_def,
        required_resource_keys={"profile", "reviews"},
    )
    def observe(context):  # type: ignore[no-untyped-def]
        profile, reviews = context.resources.profile.load(), context.resources.reviews
        if partitions_def is None:
            return dg.DataVersion(version(name, None, profile, reviews))
        keys = [one.key for one in shards(profile, ROLES[name])]
        return dg.DataVersionsByPartition({key: version(name, key, profile, reviews) for key in keys})

    return observe
