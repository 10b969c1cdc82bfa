"""The funnel: what went into each table and what came of it.

Belongs here: adding up the stamps of the lake. Does not belong here: printing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assets.stage import Stage
from curation.schemas import TABLES
from curation.verdicts import VERDICTS
from resources.lake import Lake, iter_stamps


def funnel(lake: Lake, stages: Mapping[str, Stage]) -> list[dict[str, Any]]:
    """For each table that was made: rows in (None for sources and models), rows by verdict and reason."""
    totals = {name: _total(lake, name) for name in TABLES if name in stages}
    rows = []
    for name, total in totals.items():
        if total is None:
            continue
        of = stages[name].relation.of
        came = sum((totals[one] or {"kept": 0})["kept"] for one in of) if of else None
        rows.append(
            {
                "table": name,
                "group": stages[name].group,
                "relation": str(stages[name].relation),
                "in": came,
                **total,
            }
        )
    return rows


def _total(lake: Lake, name: str) -> dict[str, Any] | None:
    stamps = list(iter_stamps(lake, name))
    if not stamps:
        return None
    counts = {verdict: sum(stamp.counts.get(verdict, 0) for stamp in stamps) for verdict in VERDICTS}
    reasons: dict[str, int] = {}
    for stamp in stamps:
        for code, number in stamp.reasons.items():
            reasons[code] = reasons.get(code, 0) + number
    ordered = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return {"rows": sum(counts.values()), **counts, "reasons": ordered}
