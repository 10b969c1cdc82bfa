"""Bringing the lake up to date: Dagster runs, layer by layer, of what is stale.

Belongs here: the instance, the shards as partitions, launching runs in this process. Does not belong
here: deciding what is stale (`plan`) or drawing progress (`cli`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets.stage import FORCED, ONLY_STALE, STAGES, Stage, document_shard, sample_shard
from curation.errors import RunFailed, UserError
from curation.settings import Profile
from curation_dagster.plan import Outside, Stale, layers, stale
from resources.lake import Lake
from resources.reviews import Reviews

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
#: Asset that is not a table; it is made whenever anything was.
CATALOG = "catalog"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Done:
    """What a call of `bring_up_to_date` did: tables and shards made anew, and runs it took."""

    made: list[tuple[str, str | None]]
    runs: list[str]


def home(lake: Lake) -> Path:
    """Folder of the Dagster instance: DAGSTER_HOME, or `.dagster` inside the lake.

    Raises
    ------
    UserError
        The lake is not a local folder and DAGSTER_HOME is not set.
    """
    given = os.environ.get("DAGSTER_HOME")
    if given:
        folder = Path(given).expanduser().resolve()
    elif lake.is_local:
        folder = Path(lake.root) / ".dagster"
    else:
        raise UserError(
            "the lake is not a local folder",
            where="DAGSTER_HOME",
            allowed="a local folder for Dagster's own files",
        )
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    if not config.exists():
        config.write_text("telemetry:\n  enabled: false\n")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def sync_shards(instance: dg.DagsterInstance, outside: Outside) -> None:
    """Make the dynamic partitions those that the sources have now.

    Shards that are gone from the profile leave the lake too: their rows have no source any more.
    """
    for partitions in (document_shard, sample_shard):
        name = partitions.name or ""
        known, wanted = instance.get_dynamic_partitions(name), outside.shards[name]
        instance.add_dynamic_partitions(name, [key for key in wanted if key not in set(known)])
        sharded = [stage for stage in STAGES.values() if stage.shards is partitions]
        for key in set(known) - set(wanted):
            instance.delete_dynamic_partition(name, key)
        for stage in sharded:
            for key in set(outside.lake.shards(stage.name)) - set(wanted):
                outside.lake.remove_shard(stage.name, key)


def bring_up_to_date(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    profile: Profile,
    lake: Lake,
    reviews: Reviews,
    selection: Collection[str],
    force: Collection[str] = (),
    said: Callable[[Stage, int], None] = lambda stage, shards: None,
) -> Done:
    """Make everything in the selection anew that is stale, and nothing else.

    After each layer the rest is looked at again, so that data which came out equal stops the chain.
    `force` names stages that are made anew in any case; `said` hears which stage comes next.

    Raises
    ------
    RunFailed
        A stage raised, or a blocking check failed.
    """
    made: list[tuple[str, str | None]] = []
    runs: list[str] = []
    for layer in layers():
        outside = Outside.of(profile, lake, reviews)
        sync_shards(instance, outside)
        names = {stage.name for stage in layer}
        todo = stale(outside, [name for name in names if name in selection], force)
        if not todo:
            continue
        versions = {(one.stage.name, one.shard): lake.stamp(one.stage.name, one.shard) for one in todo}
        for stage in layer:
            shards = [one for one in todo if one.stage is stage]
            if shards:
                said(stage, len(shards))
        runs.append(_launch(defs, instance, todo, _order(instance, layer[0]), names & set(force)))
        made += [key for key, before in versions.items() if key[0] in force or lake.stamp(*key) != before]
    if made:
        runs.append(_execute(defs, instance, [CATALOG], {}))
    return Done(made, runs)


def _order(instance: dg.DagsterInstance, stage: Stage) -> Sequence[str]:
    """The partitions of a stage in the order that ranges of them refer to."""
    return instance.get_dynamic_partitions(stage.shards.name or "") if stage.shards else []


def _launch(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    todo: list[Stale],
    order: Sequence[str],
    forced: Collection[str],
) -> str:
    assets = list(dict.fromkeys(one.stage.name for one in todo))
    # a range may hold fresh shards between stale ones: the stages pass over them
    tags = {ONLY_STALE: "true", FORCED: ",".join(sorted(forced))}
    keys = {one.shard for one in todo if one.shard}
    if keys:
        places = [place for place, key in enumerate(order) if key in keys]
        tags |= {RANGE_START: order[min(places)], RANGE_END: order[max(places)]}
    return _execute(defs, instance, assets, tags)


def _execute(
    defs: dg.Definitions, instance: dg.DagsterInstance, assets: Sequence[str], tags: dict[str, str]
) -> str:
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags=tags,
        run_config=_QUIET,
        raise_on_error=False,
    )
    if not result.success:
        raise RunFailed(_failure(result))
    return result.run_id


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """One line on what went wrong in a run."""
    for check in result.get_asset_check_evaluations():
        if not check.passed and check.blocking:
            figures = {name: value.value for name, value in check.metadata.items()}
            return f"check {check.check_name} of {check.asset_key.to_user_string()} failed: {figures}"
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            message = error.message.strip() if error else "unknown error"
            return f"{event.step_key}: {message}"
    return f"run {result.run_id} failed"
