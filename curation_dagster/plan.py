"""What is stale, and in which order it is brought up to date.

Belongs here: comparing the stamps in the lake with what a run would be made from now, and layers of
stages that one Dagster run can take together. Does not belong here: running (`runner`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import dagster as dg

from assets import sources
from assets.stage import STAGES, Stage, document_shard, sample_shard
from curation.errors import UserError
from curation.settings import Profile
from resources.lake import Lake, Stamp
from resources.reviews import Reviews


@dataclass(frozen=True)
class Stale:
    """One table or shard that a run would make anew, and why."""

    stage: Stage
    shard: str | None
    why: str
    #: the rows it held before; None where it was never made
    before: Stamp | None = None

    @property
    def certain(self) -> bool:
        """Whether it is stale by itself, not only because something upstream will be made anew."""
        return not self.why.startswith("may change")


@dataclass(frozen=True)
class Outside:
    """What a plan looks at: the profile, the lake and the decisions."""

    profile: Profile
    lake: Lake
    reviews: Reviews
    shards: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: Profile, lake: Lake, reviews: Reviews) -> Outside:
        """With the shards that the sources have now."""
        samples = [shard.key for shard in sources.shards(profile, "sample")]
        return cls(
            profile,
            lake,
            reviews,
            {
                document_shard.name or "": [shard.key for shard in sources.shards(profile, "document")],
                sample_shard.name or "": [*samples, sources.SYNTHESIS_SHARD],
            },
        )

    def shards_of(self, stage: Stage) -> Sequence[str | None]:
        """The shards that a stage is made of; [None] if it is made whole."""
        if stage.shards is None:
            return [None]
        return self.shards[stage.shards.name or ""]


def ordered() -> list[Stage]:
    """All stages, each after the ones that it reads."""
    done: dict[str, Stage] = {}
    waiting = dict(STAGES)
    while waiting:
        ready = [name for name, stage in waiting.items() if all(one in done for one in stage.inputs)]
        if not ready:
            raise ValueError(f"the stages {', '.join(waiting)} wait for each other")
        for name in ready:
            done[name] = waiting.pop(name)
    return list(done.values())


def layers() -> list[list[Stage]]:
    """Stages in groups that one Dagster run can take: all whole, or all of the same partitions."""
    remaining, done, result = ordered(), set[str](), []
    while remaining:
        # the longest layer that can begin now keeps the number of runs small
        candidates = [
            _layer(remaining, done, kind) for kind in {id(s.shards): s.shards for s in remaining}.values()
        ]
        layer = max(candidates, key=len)
        result.append(layer)
        done |= {stage.name for stage in layer}
        remaining = [stage for stage in remaining if stage.name not in done]
    return result


def _layer(remaining: list[Stage], done: set[str], kind: dg.PartitionsDefinition | None) -> list[Stage]:
    layer: list[Stage] = []
    ready = set(done)
    for stage in remaining:
        if stage.shards is kind and all(name in ready for name in stage.inputs):
            layer.append(stage)
            ready.add(stage.name)
    return layer


def select(names: Sequence[str]) -> set[str]:
    """Names of the stages that a selection means: asset or group names, `+` before for all upstream,
    `+` after for all downstream. No names mean everything.

    Raises
    ------
    UserError
        A name is neither a stage nor a group.
    """
    if not names:
        return set(STAGES)
    chosen: set[str] = set()
    for name in names:
        bare = name.strip("+")
        start = {bare} if bare in STAGES else {one for one, stage in STAGES.items() if stage.group == bare}
        if not start:
            groups = sorted({stage.group for stage in STAGES.values()})
            raise UserError(
                f"unknown asset {bare!r}", where="--select", allowed=", ".join([*STAGES, *groups])
            )
        if name.startswith("+"):
            start |= _closure(start, {one: set(stage.inputs) for one, stage in STAGES.items()})
        if name.endswith("+"):
            start |= _closure(start, _downstream())
        chosen |= start
    return chosen


def _downstream() -> dict[str, set[str]]:
    below: dict[str, set[str]] = {name: set() for name in STAGES}
    for name, stage in STAGES.items():
        for upstream in stage.inputs:
            below[upstream].add(name)
    return below


def _closure(start: set[str], edges: dict[str, set[str]]) -> set[str]:
    found, front = set(start), set(start)
    while front:
        front = {after for name in front for after in edges[name]} - found
        found |= front
    return found


def stale(outside: Outside, selection: Collection[str], force: Collection[str] = ()) -> list[Stale]:
    """Everything in the selection that is not up to date, in the order in which it would be made.

    What lies below something stale is listed as `may change`: whether it really is made anew is only
    known once the new data is there (equal data leaves what follows as it is).
    """
    found: list[Stale] = []
    touched: set[tuple[str, str | None]] = set()
    for stage in ordered():
        if stage.name not in selection:
            continue
        for shard in outside.shards_of(stage):
            before = outside.lake.stamp(stage.name, shard)
            why = _why_stale(outside, stage, shard, before, force) or _upstream(stage, shard, touched)
            if why:
                found.append(Stale(stage, shard, why, before))
                touched.add((stage.name, shard))
    return found


def _why_stale(
    outside: Outside, stage: Stage, shard: str | None, before: Stamp | None, force: Collection[str]
) -> str | None:
    if before is None:
        return "never made"
    if stage.name in force:
        return "asked for"
    now = stage.stamp(outside.profile, outside.lake, shard, outside.reviews)
    if now.code_version != before.code_version:
        return "settings or method changed"
    changed = sorted(name for name in now.inputs if now.inputs[name] != before.inputs.get(name))
    for name in changed:
        if old := sources.overdue(name, shard, outside.profile, outside.lake):
            return old
    if changed or now.inputs.keys() != before.inputs.keys():
        return f"changed: {', '.join(changed) or 'its inputs'}"
    return None


def _upstream(stage: Stage, shard: str | None, touched: set[tuple[str, str | None]]) -> str | None:
    for name in stage.inputs:
        aligned = shard is not None and STAGES[name].shards is stage.shards
        if (name, shard) in touched if aligned else any(one == name for one, _ in touched):
            return f"may change with {name}"
    return None
