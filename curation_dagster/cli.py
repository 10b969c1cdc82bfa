"""The `curation` command.

Belongs here: options, progress bars, tables and the exit status. Does not belong here: anything that
a Dagster run or a notebook would need too. Heavy imports live in the commands: `curation --help` and
`curation why` must answer at once.

Exit status: 0 done, 1 the work failed, 2 the user can mend it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curation.errors import RunFailed, UserError

if TYPE_CHECKING:
    from curation.audit.why import Trace
    from curation.settings import Profile
    from resources.lake import Lake
    from resources.reviews import Reviews

app = typer.Typer(
    help="From a raw crawl to an SFT set, with the reason for every single record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="Profile: a file, or a name in profiles/. Default: $CURATION_PROFILE, else the demo.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, as section.field=value. May be repeated."),
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        "-s",
        help="Asset or group; + before adds all upstream, + after all downstream. May be repeated.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print figures as JSON.")]

_VERDICT_STYLE = {"kept": "green", "dropped": "yellow", "quarantined": "red"}


def main() -> None:
    """Entry point: a user's mistake is one line and status 2, never a traceback."""
    try:
        app()
    except UserError as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except RunFailed as error:
        err.print(f"[red]failed:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("stopped; what was finished stays, and the next run goes on from there")
        sys.exit(130)


class _World:
    """Profile, lake and reviews, as the options name them."""

    def __init__(self, profile: str | None, overrides: list[str] | None) -> None:
        from resources.profile import profile_path

        self.path, self.overrides = profile_path(profile), list(overrides or [])

    @property
    def profile(self) -> Profile:
        from resources.profile import ProfileResource

        return ProfileResource(path=self.path, overrides=self.overrides).load()

    @property
    def lake(self) -> Lake:
        from resources.lake import Lake

        return Lake(root=self.profile.lake)

    @property
    def reviews(self) -> Reviews:
        from curation_dagster.build import build_resources

        return build_resources(self.path, self.overrides)["reviews"]


# -- run and plan -------------------------------------------------------------------------------


@app.command()
def run(
    profile: ProfileOption = None,
    select: SelectOption = None,
    set_: SetOption = None,
    force: Annotated[
        list[str] | None,
        typer.Option(
            "--force", help="Asset or group to make anew even if it is up to date (raw_crawl: crawl again)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring everything up to date; what is up to date already is left alone."""
    import dagster as dg

    from curation_dagster import plan, runner
    from curation_dagster.build import build_defs

    world = _World(profile, set_)
    lake = world.lake
    folder = runner.home(lake)
    started = time.monotonic()
    defs = build_defs(world.path, world.overrides)
    chosen, forced = plan.select(select or []), plan.select(force) if force else set()
    with dg.DagsterInstance.from_config(str(folder)) as instance, _progress(as_json) as said:
        done = runner.bring_up_to_date(
            defs, instance, world.profile, lake, world.reviews, chosen, forced, said
        )
    seconds = round(time.monotonic() - started, 1)
    if as_json:
        _print_json(
            {
                "made": [{"asset": asset, "shard": shard} for asset, shard in done.made],
                "runs": done.runs,
                "seconds": seconds,
                "funnel": _funnel(lake),
            }
        )
        return
    if done.made:
        _print_funnel(_funnel(lake))
        out.print(f"{len(done.made)} tables and shards made in {seconds} s.")
    else:
        out.print(f"Everything is up to date: nothing was recomputed ({seconds} s).")
    _print_outputs(lake, world.profile)


@contextmanager
def _progress(quiet: bool) -> Iterator[Any]:
    """Progress bars: one line for the stage under way, one for each of its long steps."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from curation import progress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=quiet, transient=True) as bars:
        tasks: dict[str, Any] = {}
        plain = not err.is_terminal and not quiet

        def hear(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, rate="")
                if plain:
                    err.print(f"  {what}")
            task = bars.tasks[bars.task_ids.index(tasks[what])]
            rate = f"{done / task.elapsed:,.0f}/s" if task.elapsed else ""
            bars.update(tasks[what], completed=done, total=total, rate=rate)
            if total is not None and done >= total:
                bars.update(tasks[what], visible=False)

        def said(stage: Any, shards: int) -> None:
            for task in tasks.values():
                bars.update(task, visible=False)
            tasks.clear()

        with progress.listen(hear):
            yield said


@app.command()
def plan(
    profile: ProfileOption = None,
    select: SelectOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would do, before it does it."""
    import assets
    from curation_dagster import plan as planning

    assets.load()
    world = _World(profile, set_)
    lake = world.lake
    outside = planning.Outside.of(world.profile, lake, world.reviews)
    found = planning.stale(outside, planning.select(select or []))
    entries: list[dict[str, Any]] = []
    for one in found:
        log = (lake.run_log(one.before.run_id) or {}) if one.before else {}
        entries.append(
            {
                "asset": one.stage.name,
                "shard": one.shard,
                "why": one.why,
                "certain": one.certain,
                "rows_before": one.before.rows if one.before else None,
                "seconds_before": log.get("seconds"),
            }
        )
    chat = _chat_estimate(world.profile, {one.stage.name for one in found})
    seconds = sum(entry["seconds_before"] or 0 for entry in entries)
    if as_json:
        _print_json({"stale": entries, "seconds_before": round(seconds, 1), "chat": chat})
        return
    if not entries:
        out.print("Everything is up to date: a run would do nothing.")
        return
    table = Table("asset", "shards", "why", "rows before", "seconds before", title="A run would make anew")
    by_asset: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in entries:
        by_asset.setdefault((entry["asset"], entry["why"]), []).append(entry)
    for (asset, why), group in by_asset.items():
        rows = sum(entry["rows_before"] or 0 for entry in group)
        took = sum(entry["seconds_before"] or 0 for entry in group)
        table.add_row(
            asset, str(len(group)), why, f"{rows:,}" if rows else "–", f"{took:,.1f}" if took else "–"
        )
    out.print(table)
    if seconds:
        out.print(f"The same took {seconds:,.0f} s before.")
    out.print(chat["says"])


def _chat_estimate(profile: Profile, stages: set[str]) -> dict[str, Any]:
    """Upper bound of what the chat model may be asked for."""
    settings, prompts, judge = profile.synthesis.chat, profile.synthesis.prompts, profile.scores.judge
    if settings.base_url is None:
        return {"requests": 0, "tokens": 0, "says": "No chat model is configured: no tokens are spent."}
    asked = prompts.self_instruct_prompts if "prompts" in stages else 0
    asked += prompts.max_prompts if "answers" in stages else 0
    tokens = asked * settings.max_tokens
    judged = judge.rows * (1 + judge.retries) if "judgements" in stages else 0
    judging = judged * judge.max_tokens
    if judge.cap_tokens is not None:
        judging = min(judging, judge.cap_tokens)
    return {
        "requests": asked + judged,
        "tokens": tokens + judging,
        "says": f"Chat model {settings.model}: at most {asked + judged:,} requests ({judged:,} to judge), {tokens + judging:,} tokens of answers; cached answers cost nothing.",
    }


# -- status -------------------------------------------------------------------------------------


@app.command()
def status(profile: ProfileOption = None, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """The funnel: for every table rows in, kept, dropped by reason, quarantined."""
    world = _World(profile, set_)
    funnel = _funnel(world.lake)
    if as_json:
        _print_json({"lake": world.lake.root, "funnel": funnel})
        return
    if not funnel:
        raise UserError(
            "nothing has been made yet", where=world.lake.root, allowed="run `curation run` first"
        )
    _print_funnel(funnel)
    _print_outputs(world.lake, world.profile)


def _funnel(lake: Lake) -> list[dict[str, Any]]:
    import assets
    from assets.funnel import funnel
    from assets.stage import STAGES

    assets.load()
    return funnel(lake, STAGES)


def _print_funnel(funnel: list[dict[str, Any]]) -> None:
    table = Table(
        "table",
        "in",
        "rows",
        "[green]kept",
        "[yellow]dropped",
        "[red]quarantined",
        "not kept, by reason",
        title="The funnel",
    )
    for column in table.columns[1:6]:
        column.justify = "right"
    for row in funnel:
        reasons = ", ".join(f"{code} {rows:,}" for code, rows in row["reasons"].items())
        came = "–" if row["in"] is None else f"{row['in']:,}"
        table.add_row(
            row["table"],
            came,
            f"{row['rows']:,}",
            f"{row['kept']:,}",
            f"{row['dropped']:,}",
            f"{row['quarantined']:,}",
            reasons,
        )
    out.print(table)


def _print_outputs(lake: Lake, profile: Profile) -> None:
    folder = lake.folder / "exports"
    files = sorted(str(file) for file in folder.rglob("*") if file.is_file()) if folder.exists() else []
    if files:
        out.print("Outputs:")
        for file in files:
            out.print(f"  {file}", soft_wrap=True)
    out.print("Next: `curation why TEXT-OR-ID`, `curation status`, `curation ui`.")


# -- why ----------------------------------------------------------------------------------------


@app.command()
def why(
    target: Annotated[
        str,
        typer.Argument(
            help="A record id (or its beginning), a URI, an id of the source, a keyword, or a piece of the text."
        ),
    ],
    profile: ProfileOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Why a record is in the training set, or why not: its whole chain of decisions."""
    from dataclasses import asdict

    from curation.audit import why as audit

    world = _World(profile, set_)
    lake = world.lake

    def scan(table: str) -> Any:
        return lake.scan(table, kept=False)

    found = audit.find(target, scan)
    if not found:
        raise UserError(
            f"no record matches {target!r}",
            where=lake.root,
            allowed="a record id, a URI, an id of the source, a keyword, or a piece of the text",
        )
    if len(found) > 1:
        if as_json:
            _print_json(
                {"matches": [{"record_id": one, "table": table, "text": text} for one, table, text in found]}
            )
        else:
            more = len(found) > 10
            out.print(f"{'More than 10' if more else len(found)} records match; name one by its id:")
            for one, table, text in found[:10]:
                out.print(f"  {one}  {table:14}  {escape(text)}", soft_wrap=True)
        raise typer.Exit(1)
    traced = audit.trace(found[0][0], scan)
    if as_json:
        _print_json(asdict(traced))
    else:
        _print_trace(traced, lake)


def _print_trace(traced: Trace, lake: Lake, indent: int = 0) -> None:
    pad = "  " * indent
    heading = "made from " if indent else ""
    out.print(f"{pad}[bold]{heading}{traced.record_id}[/bold]  {escape(traced.about)}", soft_wrap=True)
    for step in traced.steps:
        style = _VERDICT_STYLE[step.verdict]
        reason = f" [{style}]{step.reason}[/{style}]: {_says(step.reason)}" if step.reason else ""
        out.print(
            f"{pad}├─ [bold]{step.table}[/bold]  [{style}]{step.verdict}[/{style}]{reason}", soft_wrap=True
        )
        for line in _evidence_lines(step.evidence, traced.others):
            out.print(f"{pad}│    {escape(line)}", soft_wrap=True)
        places = {
            name: step.values[name]
            for name in ("source", "uri", "position", "native_id", "decided_by", "line")
            if name in step.values
        }
        if places:
            out.print(
                f"{pad}│    [dim]{escape(', '.join(f'{name}={value}' for name, value in places.items()))}[/dim]",
                soft_wrap=True,
            )
        log = lake.run_log(step.run_id) or {}
        when = f", {log['finished_at']}, Dagster run {log['dagster_run_id']}" if log else ""
        out.print(f"{pad}│    [dim]run {step.run_id[:12]}{when}[/dim]", soft_wrap=True)
    for table, child, outcome in traced.children:
        out.print(f"{pad}├─ parent of {child} in {table} ({outcome})", soft_wrap=True)
    for parent in traced.parents:
        _print_trace(parent, lake, indent + 1)


def _says(reason: str) -> str:
    from curation.verdicts import REASONS

    return REASONS[reason].says


def _evidence_lines(evidence: dict[str, Any], others: dict[str, str]) -> Iterator[str]:
    measured = {
        name: value for name, value in evidence.items() if name != "limits" and value not in (None, {}, [])
    }
    if measured:
        yield "measured: " + ", ".join(f"{name}={_short(value)}" for name, value in measured.items())
    if evidence.get("limits"):
        yield "limits: " + ", ".join(f"{name}={_short(value)}" for name, value in evidence["limits"].items())
    for other, text in others.items():
        if other in json.dumps(evidence):
            yield f"other record {other}: {text}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# -- keywords -----------------------------------------------------------------------------------

keywords_app = typer.Typer(
    help="The keyword table: look at it, hand it to a person, take the decisions in.", no_args_is_help=True
)
app.add_typer(keywords_app, name="keywords")


@keywords_app.command("list")
def keywords_list(
    profile: ProfileOption = None,
    set_: SetOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Terms to show.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """The best-scored terms, with what is suggested and what was decided."""
    found = _keywords(_World(profile, set_)).head(limit)
    if as_json:
        _print_json(found.to_dicts())
        return
    names = (
        "term",
        "score",
        "seed_docs",
        "general_docs",
        "part_of_speech",
        "suggested",
        "decision",
        "example",
    )
    table = Table(*names, title="Keywords")
    for row in found.iter_rows(named=True):
        row["example"] = (row["example"] or "").split("\n")[0]
        table.add_row(*(escape(_short(row[name])) if row[name] is not None else "–" for name in names))
    out.print(table)


@keywords_app.command("export")
def keywords_export(
    file: Annotated[Path, typer.Argument(help="File to write: .csv, .xlsx or .jsonl.")],
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Write all terms to a file with columns to fill in: decision (accept, reject, add, merge), merge_into, note."""
    from resources.keyword_files import write_keywords

    found = _keywords(_World(profile, set_))
    write_keywords(found, file)
    out.print(f"{found.height:,} terms written to {escape(str(file))}", soft_wrap=True)


@keywords_app.command("import")
def keywords_import(
    file: Annotated[Path, typer.Argument(help="File that a person filled in: .csv, .xlsx or .jsonl.")],
    by: Annotated[str, typer.Option("--by", help="Who decided.")],
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Take in the decisions of a file; those that are in force already change nothing."""
    from curation.domain.reviews import read_keyword_decisions
    from resources.keyword_files import read_keywords

    made = list(read_keyword_decisions(read_keywords(file), str(file)))
    new = _World(profile, set_).reviews.add_keywords(made, by)
    out.print(f"{len(made):,} decisions read, {new:,} of them new. Next: `curation run`.")


def _keywords(world: _World) -> Any:
    """The keyword table as a file shows it, the best score first, with the decisions in force."""
    from curation.domain.reviews import with_decisions
    from resources.keyword_files import COLUMNS

    table = world.lake.scan("keyword_table", kept=False).collect()
    if not table.height:
        raise UserError(
            "no keywords have been mined yet", where=world.lake.root, allowed="run `curation run` first"
        )
    return with_decisions(table, world.reviews.decisions("keyword")).select(COLUMNS)


# -- evaluate -----------------------------------------------------------------------------------


@app.command()
def evaluate(
    task: Annotated[str, typer.Argument(help="What to measure, such as recall, defects, html, neardup.")],
    data: Annotated[Path, typer.Option("--data", help="Folder with the labelled data.")],
    profile: ProfileOption = None,
    set_: SetOption = None,
    baselines: Annotated[
        bool | None, typer.Option("--baselines", help="Run the baselines beside it.")
    ] = None,
    reviews: Annotated[
        int | None, typer.Option(min=1, help="Reviews that a simulated person gives, in all.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds that these reviews are given in.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Folds of the proof, each with its own seed.")
    ] = None,
    whole: Annotated[
        int | None, typer.Option(min=0, help="Folds of the proof that read the whole pool too.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="File of the trainings that are done; the proof goes on from it.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="SVG file for the curve of reviews, or the losses.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="Folder with the labelled data to train on before.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a method on labelled data; each task takes only the options that it has a use for."""
    import os

    from curation.evaluation import evaluate as measure
    from resources.profile import VARIABLE

    world = _World(profile or os.environ.get(VARIABLE) or "defaults", set_)
    given = {
        "baselines": baselines, "reviews": reviews, "rounds": rounds, "seeds": seeds, "whole": whole,
        "journal": journal, "plot": plot, "train": train,
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None}
    with _progress(as_json):
        result = measure(task, data, world.profile, **options)
    if as_json:
        _print_json(result)
        return
    table = Table(
        "metric", "value", title=f"{task} on {data} ({result['seconds']} s, {result['peak_rss_mb']} MB)"
    )
    for name, value in result["metrics"].items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    out.print(table)


# -- the Dagster UI -----------------------------------------------------------------------------


@app.command()
def ui(
    profile: ProfileOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Open the Dagster UI on the lake of a profile: runs, backfills, schedules, lineage."""
    import os
    import shutil

    from curation_dagster import runner
    from resources.profile import VARIABLE

    world = _World(profile, None)
    runner.home(world.lake)
    os.environ[VARIABLE] = str(Path(world.path).resolve())
    workspace = Path(__file__).resolve().parent.parent / "workspace.yaml"
    program = shutil.which(
        "dagster", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if program is None:
        raise UserError(
            "the program `dagster` is missing",
            where="PATH",
            allowed="an environment with the package dagster",
        )
    os.execv(program, [program, "dev", "-w", str(workspace), "-h", host, "-p", str(port)])


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1, default=str))


if __name__ == "__main__":
    main()
