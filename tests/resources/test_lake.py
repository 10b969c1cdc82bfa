"""The lake: stamped, atomic files, and one LazyFrame of the kept rows."""

import polars as pl
import pytest

from curation import schemas
from curation.records import digest
from resources.lake import Draft, Lake, Stamp


def clusters(n: int = 3, dropped: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "record_id": [digest(str(index)) for index in range(n)],
            "cluster": list(range(n)),
            "terms": ["茶, 水"] * n,
            "to_centre": [0.5] * n,
            "to_neighbours": [0.5] * n,
            "covers": [2] * n,
            "fits": [True] * n,
            "verdict": ["dropped"] * dropped + ["kept"] * (n - dropped),
            "reason": ["empty"] * dropped + [None] * (n - dropped),
            "evidence": ["{}"] * n,
        }
    )


@pytest.fixture(params=["local", "memory"])
def lake(request, tmp_path) -> Lake:
    return Lake(root=str(tmp_path / "lake") if request.param == "local" else f"memory://{tmp_path.name}")


def test_a_table_comes_back_with_its_schema_and_only_its_kept_rows(lake):
    lake.write(Draft(clusters(), Stamp("clusters")))
    assert lake.scan("clusters").collect().height == 2
    everything = lake.scan("clusters", kept=False).collect()
    assert everything.schema == schemas.columns("clusters")
    assert everything["run_id"].n_unique() == 1


def test_a_table_that_was_never_written_is_empty(lake):
    assert lake.scan("clusters").collect().schema == schemas.columns("clusters")
    assert lake.stamp("clusters") is None


def test_the_stamp_comes_back_and_counts(lake):
    written = lake.write(
        Draft(clusters(5, 2), Stamp("clusters", code_version="c", inputs={"embeddings": "v"}))
    )
    assert lake.stamp("clusters") == written
    assert written.counts == {"kept": 3, "dropped": 2, "quarantined": 0}
    assert written.reasons == {"empty": 2}


def test_the_same_data_has_the_same_version_and_the_same_bytes(lake):
    stamp = Stamp("clusters", code_version="c")
    first = lake.write(Draft(clusters(), stamp))
    content = lake.path("clusters").read_bytes()
    assert lake.write(Draft(clusters(), stamp)) == first
    assert lake.path("clusters").read_bytes() == content
    # who decided is not part of the data
    assert lake.write(Draft(clusters(), Stamp("clusters", code_version="other"))).version == first.version
    changed = clusters().with_columns(terms=pl.lit("咖啡"))
    assert lake.write(Draft(changed, stamp)).version != first.version


def test_the_run_id_depends_on_code_and_inputs_alone():
    base = Stamp("clusters", None, "c", {"a": "1"})
    assert base.run_id == Stamp("clusters", None, "c", {"a": "1"}, version="x", counts={"kept": 9}).run_id
    others = [
        Stamp("scores", None, "c", {"a": "1"}),
        Stamp("clusters", "s", "c", {"a": "1"}),
        Stamp("clusters", None, "d", {"a": "1"}),
        Stamp("clusters", None, "c", {"a": "2"}),
    ]
    assert len({base.run_id, *(other.run_id for other in others)}) == 5


def test_shards_are_read_together_or_by_name(lake):
    for shard in ("one", "two"):
        rows = clusters(2, 0).with_columns(
            record_id=pl.concat_str(pl.lit(shard), "record_id").str.slice(0, 32),
            shard=pl.lit(shard),
            **{
                name: pl.lit(0.1)
                for name in (
                    "match",
                    "truncation",
                    "repetition",
                    "garble",
                    "markup",
                    "language_mismatch",
                    "quality",
                )
            },
            **{
                name: pl.lit(None)
                for name in ("ppl", "loss_conditional", "loss_alone", "ifd", "ifd_ppl", "entropy")
            },
        )
        missing = [
            name for name in schemas.columns("scores") if name not in rows.columns and name != "run_id"
        ]
        rows = rows.with_columns(pl.lit(None).alias(name) for name in missing)
        lake.write(Draft(rows, Stamp("scores", shard)))
    assert lake.shards("scores") == ["one", "two"]
    assert lake.scan("scores").collect().height == 4
    assert lake.scan("scores", ["two", "never"]).collect()["shard"].to_list() == ["two", "two"]


def test_a_missing_column_is_named(lake):
    with pytest.raises(ValueError, match="clusters: missing columns terms"):
        lake.write(Draft(clusters().drop("terms"), Stamp("clusters")))


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    lake = Lake(root=str(tmp_path))
    lake.write(Draft(clusters(), Stamp("clusters", code_version="old")))

    def broken(source, target):
        raise OSError("killed")

    monkeypatch.setattr("resources.lake.os.replace", broken)
    with pytest.raises(OSError, match="killed"):
        lake.write(Draft(clusters(4), Stamp("clusters", code_version="new")))
    assert lake.stamp("clusters").code_version == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["clusters.parquet"]


def test_a_foreign_or_torn_file_counts_as_never_made(tmp_path):
    lake = Lake(root=str(tmp_path))
    clusters().write_parquet(tmp_path / "clusters.parquet")
    assert lake.stamp("clusters") is None
    (tmp_path / "clusters.parquet").write_bytes(b"PAR1 torn")
    assert lake.stamp("clusters") is None
