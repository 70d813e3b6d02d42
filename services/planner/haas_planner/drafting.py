"""Drafting: from goals back to inputs, over the contracts of the skills that the profile offers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from haas_common.errors import HaasError, InputMissing, PlanUnreachable
from haas_common.formats import months_in
from haas_common.profiles import Profile
from haas_planner.agents.domain import FLAG, preferred, written
from haas_planner.graph import Graph, Input, Slot, Task
from haas_planner.skills.spec import SkillSpec, is_optional, matches

#: Types whose values only a person can hand over: their absence is a missing input, not a missing skill.
OUTSIDE = ("table.", "value.", "doc.brief")


@dataclass(frozen=True, slots=True)
class Drafted:
    """A skill with its reads resolved: each read is (slot name, type, the skill that writes it or "")."""

    spec: SkillSpec
    reads: tuple[tuple[str, str, str], ...]


@dataclass(slots=True)
class Search:
    """The state of one backward search. A skill enters `done` after everything that it reads: no cycle can arise."""

    profile: Profile
    specs: Sequence[SkillSpec]
    inputs: Sequence[Input]
    months: int
    done: dict[str, Drafted] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)
    barred: list[tuple[str, str]] = field(default_factory=list)

    def resolve(self, read_type: str, wanted_by: str, stack: tuple[str, ...]) -> tuple[str, str, str] | None:
        """Finds where a value comes from: an input, a skill already drafted, or a skill that can be drafted."""
        for given in self.inputs:
            if matches(read_type, given.type):
                return given.name, given.type, ""
        producers = [(s, w) for s in self.specs for w in s.writes if matches(read_type, w[1])]
        for spec, (name, kind) in producers:
            if spec.name in self.done:
                return name, kind, spec.name
        for spec, (name, kind) in producers:
            if spec.name not in stack and self._usable(spec) and self._draft(spec, stack):
                return name, kind, spec.name
        if not is_optional(read_type) and not any(s.name not in stack and self._usable(s) for s, _ in producers):
            self.missing.append((read_type, wanted_by))
        return None

    def _usable(self, spec: SkillSpec) -> bool:
        """Tells whether the profile lets the skill work; a tool that it forbids is remembered for the message."""
        if self.months < spec.months_min:
            return False
        barred = [tool for tool in spec.tools if tool not in self.profile.policies.tools_allowed]
        self.barred.extend((spec.name, tool) for tool in barred)
        return not barred

    def _draft(self, spec: SkillSpec, stack: tuple[str, ...]) -> bool:
        found = []
        for _, read_type in spec.reads:
            before = len(self.missing)
            source = self.resolve(read_type, spec.name, (*stack, spec.name))
            if source is not None:
                found.append(source)
            elif not is_optional(read_type):
                return False
            else:
                del self.missing[before:]  # nobody misses what is optional
        self.done[spec.name] = Drafted(spec, tuple(dict.fromkeys(found)))
        return True


def draft(
    goals: Sequence[str],
    profile: Profile,
    specs: Sequence[SkillSpec],
    inputs: Sequence[Input],
    slots: Mapping[str, str],
    language: str,
    places: Mapping[str, int] = MappingProxyType({}),
) -> Graph:
    """Chains backwards from the goals' types to what is there.

    Args:
        goals: the types to produce.
        profile: decides which skills it offers, which leaders come first and which tools may be called.
        specs: the registry, in its order.
        inputs: what is there, the brief included (type "doc.brief").
        slots: what the objective says; "period" ("2025-10-01..2025-12-31") decides about month by month work.
        language: of the tasks' titles.
        places: of leaders by their results, see `offered`.

    Raises:
        InputMissing: a goal could be reached with an input that is absent; the message names it and its use.
        PlanUnreachable: no skill of the profile leads to a goal.
    """
    if not goals:
        raise PlanUnreachable(
            "The objective asks for nothing that a skill produces; name what you need.", missing="goals"
        )
    search = Search(
        profile, offered(profile, specs, places), _in_order(inputs, profile), months_in(slots.get("period", ""))
    )
    wanted: list[str] = []
    for goal in dict.fromkeys(goals):
        search.missing.clear()
        search.barred.clear()
        source = search.resolve(goal, "", ())
        if source is None:
            raise _unreached(goal, search, profile)
        if source[2]:
            wanted.append(source[2])
    if not wanted:
        raise PlanUnreachable("Everything that the objective asks for is given already.", missing="goals")
    return _graph(search.done, wanted, inputs, slots, language)


def offered(
    profile: Profile, specs: Sequence[SkillSpec], places: Mapping[str, int] = MappingProxyType({})
) -> list[SkillSpec]:
    """Returns the skills that the profile offers: leaders in the profile's own order, then the registry's order.

    Args:
        profile: whose skills.
        specs: the registry.
        places: of leaders' skills among those that produce the same, by results (`Roster.places`). With the profile's
            flag, results come before the profile's order; leaders change places with one another only.
    """
    found = preferred(profile, specs)
    if not places or not profile.flags.get(FLAG, False):
        return found
    rivals: dict[tuple[str, ...], list[int]] = {}
    for n, spec in enumerate(found):
        if spec.kind == "leader":
            rivals.setdefault(written(spec), []).append(n)
    for numbers in rivals.values():
        ranked = sorted((found[n] for n in numbers), key=lambda s: places.get(s.name, len(found)))
        for n, spec in zip(numbers, ranked, strict=True):
            found[n] = spec
    return found


def _in_order(inputs: Sequence[Input], profile: Profile) -> list[Input]:
    rank = {name: i for i, name in enumerate(profile.inputs)}
    return sorted(inputs, key=lambda i: (rank.get(i.name, len(rank)), i.name))


def _unreached(goal: str, search: Search, profile: Profile) -> HaasError:
    for kind, user in search.missing:
        bare = kind.rstrip("?+")
        if bare.startswith(OUTSIDE):
            name = next((n for n, spec in profile.inputs.items() if matches(kind, spec.type)), bare)
            use = f"skill “{user}” works from it to reach “{goal}”" if user else "it is a goal itself"
            return InputMissing(
                f"The plan needs the input “{name}” ({bare}): {use}.", missing=name, type=bare, goal=goal
            )
    if search.barred:
        skill, tool = search.barred[0]
        text = (
            f"“{goal}” needs the skill “{skill}”; the profile “{profile.profile_id}” does not allow its tool “{tool}”."
        )
        return PlanUnreachable(text, missing=goal, tool=tool)
    last = search.missing[-1][0].rstrip("?+") if search.missing else goal
    text = f"No skill of the profile “{profile.profile_id}” leads to “{goal}” (nothing produces “{last}”)."
    return PlanUnreachable(text, missing=last)


def _graph(
    done: Mapping[str, Drafted], wanted: list[str], inputs: Sequence[Input], slots: Mapping[str, str], language: str
) -> Graph:
    """Keeps what the goals need, and numbers it in an order in which it can run."""
    needed, queue = set(), list(wanted)
    while queue:
        name = queue.pop()
        if name not in needed:
            needed.add(name)
            queue.extend(writer for _, _, writer in done[name].reads if writer)
    kept = [drafted for name, drafted in done.items() if name in needed]
    ids = {drafted.spec.name: f"T-{i}" for i, drafted in enumerate(kept, start=1)}
    tasks = tuple(_task(drafted, ids, slots, language) for drafted in kept)
    used = {slot.name for task in tasks for slot in task.reads if not slot.from_task}
    return Graph(tasks, tuple(given for given in inputs if given.name in used or not given.type.startswith("table.")))


def _task(drafted: Drafted, ids: Mapping[str, str], slots: Mapping[str, str], language: str) -> Task:
    spec = drafted.spec
    return Task(
        task_id=ids[spec.name],
        kind=spec.kind,
        skill=spec.name,
        title=spec.titles[language],
        owner_agent_id=spec.owner_agent_id,
        reads=tuple(Slot(name, kind, ids.get(writer, "")) for name, kind, writer in drafted.reads),
        writes=tuple(Slot(name, kind) for name, kind in spec.writes),
        params={name: slots[name] for name in spec.slots if name in slots},
    )
