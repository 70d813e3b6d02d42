"""`haas status`: the parts, their memory and ports."""

import json

import click

from haas_cli.errors import Exit
from haas_cli.fleet.home import Home
from haas_cli.fleet.memory import family_pss_mib
from haas_cli.fleet.state import read


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> int:
    """Show each part's state, memory (PSS, children included), port and restarts.

    Exit status 0 when every part is ready, 3 when no fleet runs, 6 when a part is not ready now.
    """
    home = Home.from_env()
    found = read(home)
    parts = {name: part for name, part in found.parts.items() if not part.step}
    memory = family_pss_mib([found.pid, *(part.pid for part in parts.values() if part.pid)])
    rows: dict[str, dict[str, object]] = {
        name: {
            "state": part.state, "pss_mib": memory.get(part.pid), "port": part.port, "pid": part.pid,
            "restarts": part.restarts, "start_s": part.start_s,
        }
        for name, part in parts.items()
    }  # fmt: skip
    rows["supervisor"] = {
        "state": "ready", "pss_mib": memory[found.pid], "port": None, "pid": found.pid, "restarts": 0, "start_s": 0.0
    }  # fmt: skip
    total = round(sum(size for size in memory.values() if size is not None), 1)
    healthy = all(part.state == "ready" for part in parts.values())
    url = f"https://127.0.0.1:{found.edge_port}"
    if as_json:
        document = {"ready": healthy, "url": url, "home": found.home, "start_s": found.start_s, "pss_mib": total}
        click.echo(json.dumps({**document, "parts": rows}, indent=1))
    else:
        _print_table(rows, total, url)
    return int(Exit.OK if healthy else Exit.UNAVAILABLE)


def _print_table(rows: dict[str, dict[str, object]], total: float, url: str) -> None:
    click.echo(f"{'part':<14}{'state':<12}{'PSS MiB':>8}  {'port':>6}  {'pid':>8}  restarts")
    for name, row in rows.items():
        shown = {key: "-" if value is None else value for key, value in row.items()}
        start = f"{name:<14}{shown['state']:<12}{shown['pss_mib']:>8}"
        click.echo(f"{start}  {shown['port']:>6}  {shown['pid']:>8}  {shown['restarts']}")
    click.echo(f"{'total':<26}{total:>8}  {url}")
