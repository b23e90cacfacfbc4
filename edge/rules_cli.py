"""`fleetfold-edge rules`: check a set, show which is in force, try one on recorded frames."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from runtime import exits

app: Final = typer.Typer(help="Collection rules: what is sent of what is heard.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(help="The rules, TOML or JSON.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


@app.command()
def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Validate a set; every fault with its place and what to do. Exit code 0: good; 2: faults."""
    from edge.rules import reading

    found = reading.read_file(file)
    if isinstance(found, list):
        _print_faults(file, found, as_json)
        raise typer.Exit(exits.USAGE)
    scopes = {each.name: each.scope for each in found.collectors} | {each.name: each.scope for each in found.traps}
    if as_json:
        rules = [
            {"name": name, "kind": str(scope.kind), "signals": len(scope.numbers)} for name, scope in scopes.items()
        ]
        typer.echo(json.dumps({"faults": [], "version": found.version, "digest": found.digest, "rules": rules}))
    else:
        typer.echo(f"version {found.version}, digest {found.digest}, {len(scopes)} rules: good")


def _print_faults(file: Path, faults: list[Any], as_json: bool) -> None:
    if as_json:
        plain = [{"path": each.path, "problem": each.problem, "advice": each.advice} for each in faults]
        typer.echo(json.dumps({"faults": plain}))
        return
    rows = [[each.path or str(file), each.problem, each.advice] for each in faults]
    _print_table(["where", "what", "what to do"], rows)


@app.command()
def show(
    directory: Annotated[Path, typer.Argument(help="The spool's directory.")], as_json: JsonOption = False
) -> None:
    """The sets that were published for the agent of this spool: what it follows at a start without a link.

    The one for this gateway counts before the one for all, and both before the agent's own file.
    """
    from edge import rules_store
    from edge.rules import reading
    from edge.rules.plan import Plan
    from edge.spool.disk import Directory

    try:
        disk = Directory(directory, writable=False)
        stored = rules_store.read(disk)
        disk.close()
    except (OSError, rules_store.DamagedError) as error:
        _fail(f"{directory}: {error}", exits.FAILED)
    found = {origin: (raw, reading.parse(raw)) for origin, raw in stored.items()}
    sets = [
        {"origin": origin, "version": plan.version, "digest": plan.digest, "set": json.loads(raw)}
        for origin, (raw, plan) in found.items()
        if isinstance(plan, Plan)
    ]
    if as_json:
        typer.echo(json.dumps({"sets": sets}))
    elif not sets:
        typer.echo("nothing published is stored here: the agent follows its own file, or sends everything")
    else:
        rows = [
            [each["origin"], str(each["version"]), each["digest"], str(len(each["set"].get("rules", [])))]
            for each in sets
        ]
        _print_table(["origin", "version", "digest", "rules"], rows)


@app.command("try")
def try_(
    file: FileArgument,
    frames: Annotated[
        Path,
        typer.Option(
            help="A spool's directory or export, a simulator's truth, or a CSV of time_ms,asset_id,path,value."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """How much would be sent: frames, samples and bytes, per rule. Sends and changes nothing."""
    from edge import recorded
    from edge.rules import reading, trial

    plan = reading.read_file(file)
    if isinstance(plan, list):
        _print_faults(file, plan, as_json)
        raise typer.Exit(exits.USAGE)
    try:
        result = trial.run(plan, recorded.read(frames))
    except (OSError, recorded.UnreadableError) as error:
        _fail(f"{frames}: {error}", exits.FAILED)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print_trial(result)


def _print_trial(result: dict[str, Any]) -> None:
    rows = [
        [name, str(before), str(after), f"{after / before:.1%}" if before else ""]
        for name, before, after in (
            ("frames", result["frames"], result["frames_sent"]),
            ("of these with signals", result["frames"], result["frames_with_signals"]),
            ("samples", result["samples"], result["samples_sent"]),
            ("payload bytes", result["bytes"], result["bytes_sent"]),
            ("the same, compressed (zlib)", result["compressed_bytes"], result["compressed_bytes_sent"]),
        )
    ]
    _print_table(["", "heard", "sent", ""], rows)
    _print_table(
        ["rule", "kept", "withheld", "captures", "captured samples"],
        [[str(each[key]) for key in ("rule", "kept", "withheld", "captures", "captured")] for each in result["rules"]],
    )


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
