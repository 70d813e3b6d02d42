"""`haas agents`: list, register, pause, resume; their skills."""

from typing import Any

import click

from haas_cli import api
from haas_cli.errors import Exit

KINDS = click.Choice(["specialist", "leader"])
_COLUMNS = ("agent_id", "kind", "state", "rank", "running_max", "skill", "completed", "failed", "mean_ms", "score")


@click.group()
def command() -> None:
    """List, register and pause the agents that do a project's tasks; list and remove their skills."""


@command.command("list")
@api.scoped
@api.json_option
def list_(scope: tuple[str, str], as_json: bool) -> int:
    """List the agents, the built-in ones included, with their results of the last 90 days by skill."""
    with api.client(scope) as client:
        found = [api.as_dict(agent) for agent in client.list_agents()]
    if as_json:
        api.print_json({"agents": found})
        return int(Exit.OK)
    api.print_table([_COLUMNS, *(row for agent in found for row in _rows(agent))])
    return int(Exit.OK)


def _rows(agent: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns a line for each skill: its results, or that there are none."""
    head = (
        agent["agent_id"], _bare(agent["kind"]), _bare(agent["state"]), str(agent["rank"] or "-"),
        str(agent["running_max"] or "-"),
    )  # fmt: skip
    measured = {one["skill"]: one for one in agent["results"]}
    lines = []
    for skill in dict.fromkeys([*agent["skills"], *measured]):
        one = measured.get(skill)
        ended = int(one["completed"]) + int(one["failed"]) if one else 0
        if one is None or ended == 0:
            lines.append((*head, skill, "0", "0", "-", "-"))
        else:
            mean = str(int(one["duration_ms"]) // ended)
            lines.append((*head, skill, one["completed"], one["failed"], mean, f"{one['score']:.2f}"))
    return lines


def _bare(name: str) -> str:
    return name.removeprefix("AGENT_KIND_").removeprefix("AGENT_STATE_").lower()


@command.command()
@api.scoped
@api.json_option
def skills(scope: tuple[str, str], as_json: bool) -> int:
    """List the skills, the fleet's own and those of remote workers: what a task of each reads and writes."""
    with api.client(scope) as client:
        found = [api.as_dict(skill) for skill in client.list_skills()]
    if as_json:
        api.print_json({"skills": found})
        return int(Exit.OK)
    api.print_table([("skill", "agent_id", "remote", "reads", "writes"), *(_skill(one) for one in found)])
    return int(Exit.OK)


def _skill(one: dict[str, Any]) -> tuple[str, ...]:
    reads, writes = (" ".join(f"{s['name']}:{s['type']}" for s in one[end]) or "-" for end in ("reads", "writes"))
    return one["name"], one["agent_id"], "yes" if one["remote"] else "-", reads, writes


@command.command("remove-skill")
@click.argument("skill")
@api.scoped
@api.json_option
def remove_skill(scope: tuple[str, str], skill: str, as_json: bool) -> int:
    """Remove SKILL of a remote worker; one that registers it again brings it back. Needs the role admin."""
    with api.client(scope, role="admin") as client:
        client.remove_skill(skill)
    if as_json:
        api.print_json({"removed": skill})
    else:
        click.echo(f"{skill} is removed")
    return int(Exit.OK)


@command.command()
@click.argument("agent_id")
@click.option("--skill", "skills", multiple=True, required=True, help="A skill that it does; as often as needed.")
@click.option("--kind", type=KINDS, default="specialist", show_default=True, help="What it is.")
@click.option("--running-max", default=0, show_default=True, help="How many tasks it does at a time; 0: no limit.")
@api.scoped
@api.json_option
def register(
    scope: tuple[str, str], agent_id: str, skills: tuple[str, ...], kind: str, running_max: int, as_json: bool
) -> int:
    """Register AGENT_ID for skills, or change it; the same again changes nothing. Needs the role admin."""
    with api.client(scope, role="admin") as client:
        found = api.as_dict(client.register_agent(agent_id, skills, kind, running_max))
    _print(found, as_json)
    return int(Exit.OK)


@command.command()
@click.argument("agent_id")
@api.scoped
@api.json_option
def pause(scope: tuple[str, str], agent_id: str, as_json: bool) -> int:
    """Let AGENT_ID take no more tasks; what it has under way goes on. Needs the role admin."""
    return _set(scope, agent_id, paused=True, as_json=as_json)


@command.command()
@click.argument("agent_id")
@api.scoped
@api.json_option
def resume(scope: tuple[str, str], agent_id: str, as_json: bool) -> int:
    """Let AGENT_ID take tasks again. Needs the role admin."""
    return _set(scope, agent_id, paused=False, as_json=as_json)


def _set(scope: tuple[str, str], agent_id: str, *, paused: bool, as_json: bool) -> int:
    with api.client(scope, role="admin") as client:
        found = api.as_dict(client.set_agent_state(agent_id, paused=paused))
    _print(found, as_json)
    return int(Exit.OK)


def _print(agent: dict[str, Any], as_json: bool) -> None:
    if as_json:
        api.print_json(agent)
    else:
        click.echo(f"{agent['agent_id']} {_bare(agent['kind'])} {_bare(agent['state'])}: {', '.join(agent['skills'])}")
