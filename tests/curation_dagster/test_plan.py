"""Selections and layers."""

import pytest

from curation.errors import UserError
from curation_dagster import plan


def test_selections_are_by_name_by_group_and_along_the_graph(world):
    assert plan.select([]) == {"raw_crawl", "clean_docs", "unique_docs", "doc_embeddings"}
    assert plan.select(["domain"]) == {"doc_embeddings"}
    assert plan.select(["+unique_docs"]) == {"raw_crawl", "clean_docs", "unique_docs"}
    assert plan.select(["unique_docs+"]) == {"unique_docs", "doc_embeddings"}
    with pytest.raises(UserError, match="unknown asset 'nothing'; allowed: raw_crawl"):
        plan.select(["nothing"])


def test_each_layer_has_one_kind_of_partitions_and_comes_after_its_inputs(world):
    done = set()
    for layer in plan.layers():
        assert len({id(stage.shards) for stage in layer}) == 1
        for stage in layer:
            assert set(stage.inputs) <= done
            done.add(stage.name)
    assert done == plan.select([])
