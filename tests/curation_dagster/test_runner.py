"""A run makes anew what is stale and nothing else."""

import pytest

from assets.stage import STAGES
from curation.errors import RunFailed
from curation_dagster import plan

SETTING = "corpus.clean.min_chars=2"


def test_a_second_run_recomputes_nothing(world):
    world.sets = [SETTING]
    first = world.run()
    assert len(first.made) == 3 + 3 + 1 + 3
    second = world.run()
    assert (second.made, second.runs, world.calls) == ([], [], [])


def test_a_changed_setting_reruns_what_depends_on_it(world):
    world.sets = [SETTING]
    world.run()
    world.sets = ["corpus.clean.min_chars=6"]
    world.run()
    assert not [call for call in world.calls if call.startswith("raw_crawl")]
    assert len([call for call in world.calls if call.startswith("clean_docs")]) == 3
    assert "unique_docs" in world.calls


def test_equal_data_stops_the_chain(world):
    world.sets = [SETTING]
    world.run()
    # another limit between the same two lengths: the verdicts are the same
    world.sets = ["corpus.clean.min_chars=3"]
    world.run()
    assert {call.split()[0] for call in world.calls} == {"clean_docs"}


def test_a_changed_file_reruns_its_own_shard_alone(world):
    world.sets = [SETTING]
    world.run()
    world.write("b", ["新茶" * 4])
    world.run()
    assert len([call for call in world.calls if call.startswith("raw_crawl")]) == 1
    assert len([call for call in world.calls if call.startswith("doc_embeddings")]) == 1


def test_a_new_file_is_a_new_shard_and_a_removed_one_leaves_the_lake(world):
    world.sets = [SETTING]
    world.run()
    world.write("d", ["龙井" * 4])
    (world.folder / "data" / "a.jsonl").unlink()
    world.run()
    assert len(world.lake.shards("raw_crawl")) == 3
    assert {call.split()[0] for call in world.calls} == {
        "raw_crawl",
        "clean_docs",
        "unique_docs",
        "doc_embeddings",
    }
    assert len(world.calls) == 4
    texts = world.lake.scan("clean_docs").collect()["text"].to_list()
    assert "龙井" * 4 in texts
    assert world.lake.scan("clean_docs").collect().height == world.lake.scan("unique_docs").collect().height


def test_a_lost_file_of_the_lake_is_made_again_identical(world):
    world.sets = [SETTING]
    world.run()
    file = world.lake.path("clean_docs", world.lake.shards("clean_docs")[1])
    before = file.read_bytes()
    file.unlink()
    world.run()
    assert file.read_bytes() == before
    assert {call.split()[0] for call in world.calls} == {"clean_docs"}
    assert len(world.calls) == 1


def test_force_makes_anew_what_is_fresh(world):
    world.sets = [SETTING]
    world.run()
    done = world.run(force={"raw_crawl"})
    assert len(world.calls) == 3
    assert {asset for asset, _ in done.made} == {"raw_crawl"}


def test_a_selection_limits_what_is_made(world):
    world.sets = [SETTING]
    world.run(select=["raw_crawl"])
    assert {call.split()[0] for call in world.calls} == {"raw_crawl"}


def test_a_failing_stage_names_itself(world, monkeypatch):
    def broken(raw_crawl):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(type(STAGES["unique_docs"]), "execute", lambda *_: broken(None))
    with pytest.raises(RunFailed, match="raw_crawl: ZeroDivisionError: on purpose"):
        world.run()


def test_the_plan_says_what_and_why(world):
    world.sets = [SETTING]
    everything = plan.stale(world.outside, set(STAGES))
    assert {one.why for one in everything} == {"never made"}
    world.run()
    assert plan.stale(world.outside, set(STAGES)) == []
    world.sets = ["corpus.clean.min_chars=6"]
    whys = {one.stage.name: one.why for one in plan.stale(world.outside, set(STAGES))}
    assert whys == {
        "clean_docs": "settings or method changed",
        "unique_docs": "may change with clean_docs",
        "doc_embeddings": "may change with unique_docs",
    }


def test_the_job_of_the_ui_does_the_same_as_the_command(world):
    from curation_dagster.build import build_defs

    with world.instance() as instance:
        job = build_defs(world.path, world.sets).resolve_job_def("curate")
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        assert job.execute_in_process(instance=instance, run_config=quiet).success
    assert len(world.calls) == 10
    assert world.run().made == []


def test_the_sensor_asks_for_a_run_only_when_something_changed(world):
    import dagster as dg

    from curation_dagster.build import build_defs

    def tick():
        sensor = next(iter(build_defs(world.path, world.sets).sensors))
        resources = {name: world.resources[name] for name in ("profile", "lake", "reviews")}
        with world.instance() as instance:
            return sensor.evaluate_tick(dg.build_sensor_context(instance=instance, resources=resources))

    first = tick()
    assert len(first.run_requests) == 1
    assert tick().run_requests[0].run_key == first.run_requests[0].run_key
    world.run()
    assert tick().run_requests == []
    world.write("b", ["新茶" * 20])
    again = tick().run_requests
    assert len(again) == 1
    assert again[0].run_key != first.run_requests[0].run_key
