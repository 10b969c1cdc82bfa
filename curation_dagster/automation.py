"""Jobs, the schedule and the sensor.

Belongs here: what the Dagster UI offers to launch, and what launches by itself. Does not belong
here: the work (`runner.bring_up_to_date`, which the command line uses too).
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.stage import STAGES
from curation_dagster.plan import Outside, select, stale
from curation_dagster.runner import bring_up_to_date, sync_shards

#: Jobs by what they bring up to date.
_JOBS = {
    "curate": ([], "Brings everything up to date: from the raw crawl to the files for training."),
    "expand_domain": (
        ["+domain"],
        "Brings the corpus and the domain up to date, to review what was recalled.",
    ),
    "select": (
        ["selection", "exports", "audit"],
        "Chooses anew from the scored pool, and writes files and reports.",
    ),
}


class Selection(dg.Config):
    """What to bring up to date; the default is the job's own selection."""

    select: list[str] = []
    force: list[str] = []


def _job(name: str, selection: Sequence[str], description: str) -> dg.JobDefinition:
    # One op, since the stages of a whole pass have different partitions, which one run cannot take:
    # it launches a run a layer, all of them visible in the UI.
    @dg.op(
        name=f"bring_{name}_up_to_date",
        required_resource_keys={"profile", "lake", "reviews"},
        description=description,
        out={},
    )
    def bring(context: dg.OpExecutionContext, config: Selection):  # type: ignore[no-untyped-def]
        from curation_dagster.build import build_defs

        resource = context.resources.profile
        done = bring_up_to_date(
            build_defs(resource.path, resource.overrides),
            context.instance,
            resource.load(),
            context.resources.lake,
            context.resources.reviews,
            select(config.select or selection),
            select(config.force) if config.force else (),
            lambda stage, shards: context.log.info(f"{stage.name}: {shards} stale"),
        )
        for asset, shard in done.made:
            context.log.info(f"made {asset} {shard or ''}")
        context.log.info(f"runs: {', '.join(done.runs) or 'none, everything was up to date'}")

    @dg.job(name=name, description=description)
    def job() -> None:
        bring()

    return job


def jobs() -> list[Any]:
    """The jobs that the UI offers."""
    return [_job(name, selection, description) for name, (selection, description) in _JOBS.items()]


def schedules() -> list[dg.ScheduleDefinition]:
    """A nightly pass. Websites are crawled again when their `crawl.refresh_hours` are over."""
    return [
        dg.ScheduleDefinition(
            name="nightly",
            job_name="curate",
            cron_schedule="0 3 * * *",
            execution_timezone="UTC",
            description="Every night: bring everything up to date, websites included whose crawl has become too old.",
        )
    ]


def sensors() -> list[dg.SensorDefinition]:
    """A watch on the sources: new or changed shards and new decisions start a pass."""

    @dg.sensor(
        name="new_shards",
        job_name="curate",
        minimum_interval_seconds=60,
        required_resource_keys={"profile", "lake", "reviews"},
        description="Adds new shards as partitions, and starts `curate` when a source or a decision has changed.",
    )
    def new_shards(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        resources = context.resources
        outside = Outside.of(resources.profile.load(), resources.lake, resources.reviews)
        sync_shards(context.instance, outside)
        found = [one for one in stale(outside, set(STAGES)) if one.certain]
        if not found:
            return dg.SkipReason("everything is up to date")
        # the same state starts one run only, however often it is seen
        state = ";".join(
            sorted(
                f"{one.stage.name}/{one.shard}: {one.stage.stamp(outside.profile, outside.lake, one.shard, outside.reviews).run_id}"
                for one in found
            )
        )
        from curation.records import digest

        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=digest(state))])

    return [new_shards]
