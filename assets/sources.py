"""What the graph reads from outside the lake, and the version of each.

Belongs here: the observable source assets (files and websites by role, decisions of people) and
`version`, which tells whether they changed. Does not belong here: reading them (`resources`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import dagster as dg

from curation.errors import UserError
from curation.records import digest
from curation.settings import Profile
from resources import dictionaries, reward_model
from resources.lake import Lake
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
#: Files of words that the keyword settings name.
DICTIONARIES = "keyword_dictionaries"
#: Answers of which people preferred one, in the file that the score settings name.
PREFERENCES = "preference_pairs"
#: Samples that the graph itself makes are a shard of their own.
SYNTHESIS_SHARD = "synthesis"
#: The table that websites are crawled into.
CRAWLED = "raw_crawl"
_DESCRIPTIONS = {
    "document_sources": "Websites and files that general documents come from.",
    "seed_sources": "Files with the documents that define the domain.",
    "sample_sources": "Files with instruction samples.",
    "benchmark_sources": "Benchmark questions that must not leak into the training set.",
    "keyword_decisions": "A person's decisions on keywords.",
    "document_decisions": "A person's decisions on recalled documents.",
    "sample_decisions": "A person's decisions on samples.",
    DICTIONARIES: "A user's dictionaries and stop words.",
    PREFERENCES: "Pairs of answers of which people preferred one.",
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


def version(name: str, shard: str | None, profile: Profile, reviews: Reviews, lake: Lake) -> str:
    """Version of a source asset: of one shard of it, or of the whole.

    That of a website changes when its pages have become too old (`crawl.refresh_hours`).
    """
    if name in DECISIONS:
        return reviews.version(cast(Kind, DECISIONS[name]))
    if name == DICTIONARIES:
        return dictionaries.version(profile.domain.keywords)
    if name == PREFERENCES:
        return reward_model.preferences_version(profile.scores.quality)
    described = {source.name: source.fields.model_dump_json() for source in profile.of_role(ROLES[name])}
    found = [one for one in shards(profile, ROLES[name]) if shard is None or one.key == shard]
    base = digest(*(f"{one.key}={shard_version(one)}={described[one.source.name]}" for one in found))
    return "".join([base, *(_round(base, name, one, lake) for one in found if one.source.kind == "web")])


def overdue(name: str, shard: str | None, profile: Profile, lake: Lake) -> str | None:
    """What to say of a website whose pages have become too old."""
    if shard is None or ROLES.get(name) != "document":
        return None
    for one in shards(profile, "document"):
        if one.key == shard and _is_overdue(one, lake):
            return f"not crawled for {one.source.crawl.refresh_hours:g} hours"
    return None


def _is_overdue(shard: Shard, lake: Lake) -> bool:
    hours, written = shard.source.crawl.refresh_hours, lake.stamp(CRAWLED, shard.key)
    if hours is None or written is None or shard.source.kind != "web":
        return False
    made = (lake.run_log(written.run_id) or {}).get("finished_at")
    return made is None or datetime.now(UTC) - datetime.fromisoformat(made) > timedelta(hours=hours)


def _round(base: str, name: str, shard: Shard, lake: Lake) -> str:
    """How often a crawl with these settings was repeated for its age, once more if it is due: `+N`."""
    written = lake.stamp(CRAWLED, shard.key)
    before, _, rounds = (written.inputs.get(name, "") if written else "").partition("+")
    if before != base:
        return ""
    now = int(rounds or 0) + _is_overdue(shard, lake)
    return f"+{now}" if now else ""


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
        required_resource_keys={"profile", "reviews", "lake"},
    )
    def observe(context):  # type: ignore[no-untyped-def]
        resources = context.resources
        read = resources.profile.load(), resources.reviews, resources.lake
        if partitions_def is None:
            return dg.DataVersion(version(name, None, *read))
        keys = [one.key for one in shards(read[0], ROLES[name])]
        return dg.DataVersionsByPartition({key: version(name, key, *read) for key in keys})

    return observe
