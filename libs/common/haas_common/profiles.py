"""An app's profile (plan §4.5): what it may use, what it understands, what it is like. Data, never code."""

import re
from collections.abc import Hashable
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from haas_common.errors import ProfileInvalid

PROFILE_BYTES_MAX = 65_536
PROFILE_DEPTH_MAX = 12
#: A profile of 64 KiB has far fewer nodes than this; more only come from input made to be expensive.
PROFILE_NODES_MAX = 20_000

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
TypeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,62}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]
Host = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?$")]
Language = Literal["es", "en"]


class _Part(BaseModel):
    """A part of the profile: unknown keys are refused, values are never coerced, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Collection(_Part):
    """A collection of the tenant's own knowledge."""

    name: Slug
    filters: dict[Slug, Text] = Field(default_factory=dict, max_length=20)


class Rag(_Part):
    """Where knowledge is looked up."""

    collections: list[Collection] = Field(default_factory=list, max_length=50)


class RateLimit(_Part):
    """How often a tool may be called, in calls per minute."""

    rpm: int = Field(ge=1, le=100_000)


class Quotas(_Part):
    """What may be used up in a calendar month."""

    tokens_month: int | None = Field(default=None, ge=0, le=10**12)


class Concurrency(_Part):
    """How much is done at a time."""

    tasks_max: int | None = Field(default=None, ge=1, le=100_000)


class Breaker(_Part):
    """When a tool that fails is left alone: after so many failures in a row, for so many seconds."""

    failures: int = Field(default=5, ge=1, le=1_000)
    cool_down_s: int = Field(default=30, ge=1, le=86_400)


class Budget(_Part):
    """What one plan may use up. Money is in millionths of the tenant's currency."""

    tokens_plan: int | None = Field(default=None, ge=1, le=10**12)
    money_micros_plan: int | None = Field(default=None, ge=1, le=10**15)


class Policies(_Part):
    """What the app may do."""

    tools_allowed: list[Name] = Field(default_factory=list, max_length=200)
    rate_limits: dict[Name, RateLimit] = Field(default_factory=dict, max_length=200)
    quotas: Quotas = Quotas()
    concurrency: Concurrency = Concurrency()
    breaker: Breaker = Breaker()
    budget: Budget = Budget()


class Intent(_Part):
    """Something that users ask for, by example.

    Attributes:
        goals: the types of the values that a plan for it produces.
        slots: name → regular expression; its group "value" (or the whole match) becomes the slot.
    """

    examples: dict[Language, list[Text]] = Field(min_length=1)
    goals: list[TypeName] = Field(default_factory=list, max_length=20)
    slots: dict[Slug, Annotated[str, Field(min_length=1, max_length=300)]] = Field(default_factory=dict, max_length=20)

    @field_validator("examples")
    @classmethod
    def _some(cls, value: dict) -> dict:
        if sum(len(v) for v in value.values()) not in range(1, 201):
            raise ValueError("must hold 1 to 200 sentences")
        return value

    @field_validator("slots")
    @classmethod
    def _patterns(cls, value: dict) -> dict:
        for name, pattern in value.items():
            _check_pattern(name, pattern)
        return value


class InputSpec(_Part):
    """A value that the app can hand to a plan.

    Attributes:
        required_columns: columns without which the work stops with INPUT_MISSING.
        columns: role → column, where a column's name does not tell what it means, e.g. {"spend": "eur_total"}.
    """

    type: TypeName
    description: Text | None = None
    required_columns: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        default_factory=list, max_length=100
    )
    columns: dict[Slug, Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        default_factory=dict, max_length=50
    )


class Profile(_Part):
    """An app's profile, checked.

    Attributes:
        skills: a list of names, or "all".
        flags: what is off unless it is asked for.
        brand: free facts about the brand.
    """

    profile_id: Name
    display_name: Text | None = None
    language: Language = "es"
    models: dict[Slug, Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=dict, max_length=20)
    rag: Rag = Rag()
    policies: Policies = Policies()
    skills: Literal["all"] | list[Name] = "all"
    leaders: list[Name] = Field(default_factory=list, max_length=20)
    intents: dict[Name, Intent] = Field(default_factory=dict, max_length=100)
    inputs: dict[Slug, InputSpec] = Field(default_factory=dict, max_length=100)
    http_hosts: list[Host] = Field(default_factory=list, max_length=200)
    flags: dict[Slug, bool] = Field(default_factory=dict, max_length=50)
    brand: dict[Slug, Text | int | float | bool | list[Text]] = Field(default_factory=dict, max_length=50)

    @model_validator(mode="after")
    def _names(self) -> "Profile":
        if "brief" in self.inputs:
            raise ValueError('inputs: "brief" is taken by the brief itself')
        return self

    def offers(self, skill: str) -> bool:
        """Tells whether the profile offers this skill."""
        return self.skills == "all" or skill in self.skills or skill in self.leaders

    def input_type(self, name: str, ref: str) -> str:
        """Returns the type of an input by its name; for a name that the profile does not list, by what it is."""
        if name in self.inputs:
            return self.inputs[name].type
        if ref.startswith("sha256:"):
            return "table.upload"
        return "value.number" if re.fullmatch(r"-?\d+(\.\d+)?", ref) else "value.text"

    def fact(self, name: str) -> list[str]:
        """Returns a free fact of the brand as a list of texts; empty when there is none."""
        value = self.brand.get(name, [])
        return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def load_profile(yaml_text: str | bytes) -> Profile:
    """Reads a profile from YAML by a safe loader, behind limits on size, depth, aliases, tags and repeated keys.

    Raises:
        ProfileInvalid: with the field's path and the rule that it breaks.
    """
    data = _load_yaml(yaml_text)
    if not isinstance(data, dict):
        raise _invalid("profile", "must be a mapping of fields")
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "profile"
        raise _invalid(field, _rule(first)) from None


def _rule(error: dict) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a field of a profile"
    if error["type"] == "missing":
        return "is required"
    return error["msg"].removeprefix("Value error, ")


def _invalid(field: str, rule: str) -> ProfileInvalid:
    return ProfileInvalid(f"The profile's field “{field}” breaks a rule: {rule}.", field=field, rule=rule)


def _load_yaml(text: str | bytes) -> object:
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > PROFILE_BYTES_MAX:
        raise _invalid("profile", f"must not be larger than {PROFILE_BYTES_MAX} bytes")
    try:
        _check_events(raw)
        loader = yaml.CSafeLoader(raw)
        try:
            node = loader.get_single_node()
            if node is not None:
                _check_keys(node, "")
            return loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _invalid(f"line {line}", f"must be YAML ({error.problem})") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise _invalid("profile", f"must be YAML in UTF-8 ({str(error).splitlines()[0]})") from None


def _check_events(raw: bytes) -> None:
    """Walks the stream of events, which costs no memory, before anything is built of it."""
    depth = nodes = 0
    for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
        where = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _invalid(where, "must not use anchors or aliases")
        if getattr(event, "tag", None):
            raise _invalid(where, "must not use tags")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > PROFILE_DEPTH_MAX:
            raise _invalid(where, f"must not be nested deeper than {PROFILE_DEPTH_MAX} levels")
        if nodes > PROFILE_NODES_MAX:
            raise _invalid(where, f"must not hold more than {PROFILE_NODES_MAX} values")


def _check_keys(node: yaml.Node, path: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _check_keys(item, f"{path}.{i}".lstrip("."))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[Hashable] = set()
    for key, value in node.value:
        here = f"{path}.{key.value}".lstrip(".") if isinstance(key, yaml.ScalarNode) else path
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            raise _invalid(here or "profile", "keys must be plain names")
        if key.value in seen:
            raise _invalid(here, "must be given only once")
        seen.add(key.value)
        _check_keys(value, here)


def _check_pattern(name: str, pattern: str) -> None:
    """Refuses what cannot be compiled or can take long: a tenant's pattern must not stall a shared service.

    Without repeated groups and back references, two open repeats over the 300 characters that a pattern is shown at
    a time bound the steps by about 300³ ÷ 6.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern of “{name}” is not a regular expression ({error})") from None
    bare = re.sub(r"\\\\|\\[^1-9]|\[[^\]]*\]", "x", pattern)
    if re.search(r"\)\s*[+*{]", bare) or re.search(r"\\[1-9]|\(\?P=", bare):
        raise ValueError(f"the pattern of “{name}” must not repeat a group or refer back")
    if len(re.findall(r"[+*]|\{\d*,\d*\}", bare)) > 2:
        raise ValueError(f"the pattern of “{name}” must not hold more than two open repeats")
