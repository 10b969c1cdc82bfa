"""Synthesis: prompts made from the domain's documents, and their answers.

Belongs here: the stages of the group `synthesis`. The methods are in `curation/synthesis/`, the chat
model in `resources/chat.py`.
"""

from __future__ import annotations

import polars as pl

from assets.stage import Run, stage
from curation import lineage
from curation.settings import ChatSettings, PromptSettings
from curation.synthesis.answers import answer_prompts
from curation.synthesis.prompts import make_prompts
from resources.chat import ChatModel


@stage("synthesis", lineage.expand("domain_docs"), settings="synthesis.prompts", resources=["chat"])
def prompts(
    domain_docs: pl.LazyFrame,
    keyword_table: pl.LazyFrame,
    raw_samples: pl.LazyFrame,
    settings: PromptSettings,
    chat: ChatModel,
    run: Run,
) -> pl.DataFrame:
    """Prompts grounded in the domain's documents, by rules, and by Self-Instruct where there is a chat model."""
    documents = domain_docs.select("record_id", "title", "text").sort("record_id").collect()
    terms = (
        keyword_table.sort("score", "term", descending=[True, False])
        .select("term")
        .collect()["term"]
        .to_list()
    )
    first = pl.col("messages").list.first().struct.field("content")
    human = raw_samples.sort("record_id").select(first).drop_nulls().collect().to_series().to_list()
    return make_prompts(documents, terms, human, settings, chat.chat(), run.seed)


@stage("synthesis", lineage.judge("prompts"), settings="synthesis.chat", resources=["chat"])
def answers(prompts: pl.LazyFrame, settings: ChatSettings, chat: ChatModel) -> pl.DataFrame:
    """Each prompt with its answer: quoted from the document, or given by the chat model."""
    return answer_prompts(prompts.collect(), chat.chat(), settings)
