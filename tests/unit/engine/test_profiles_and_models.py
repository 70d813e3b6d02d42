"""Profiles behind their limits; models behind their contracts; briefs scored by what they hold."""

import json

import httpx
import pytest

from haas_common.errors import ModelFailed, ProfileInvalid
from haas_common.models import OFFLINE, OpenAICompatible, Seat, model_for, object_schema
from haas_common.profiles import PROFILE_BYTES_MAX, load_profile
from tests.support.jobs import EXAMPLES, App, run_job

PLAN = """
profile_id: medluxe_v1
models:
  reasoning: gpt-4o-mini
  extraction: gpt-4o-mini
  creative: gpt-4o
rag:
  collections:
    - name: ctx_medluxe_q4
      filters: {tenant_id: t-medluxe, project_id: p-q4}
policies:
  tools_allowed: [mcp.notion, mcp.drive, mcp.http]
  rate_limits:
    mcp.http: {rpm: 60}
    mcp.notion: {rpm: 30}
  quotas:
    tokens_month: 5_000_000
"""


def test_the_plan_s_own_profile_is_read_as_it_stands() -> None:
    profile = load_profile(PLAN)
    assert profile.policies.quotas.tokens_month == 5_000_000
    assert profile.policies.rate_limits["mcp.http"].rpm == 60
    assert profile.rag.collections[0].filters["project_id"] == "p-q4"
    assert profile.skills == "all"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("profile_id: a\nprofile_id: b", "profile_id"),
        ("profile_id: a\npolicies: {quotas: {tokens_month: 1, tokens_month: 2}}", "policies.quotas.tokens_month"),
        ("profile_id: &x a\nlanguage: *x", "line 1"),
        ("profile_id: a\nextra: 1", "extra"),
        ("profile_id: a\npolicies: {rate_limits: {mcp.http: {rps: 1}}}", "policies.rate_limits.mcp.http.rpm"),
        ("profile_id: a\nlanguage: fr", "language"),
        ("profile_id: a\nflags: {leader_promotion: 1}", "flags.leader_promotion"),
        ("profile_id: a\npolicies: {concurrency: {tasks_max: 0}}", "policies.concurrency.tasks_max"),
        ("profile_id: a\npolicies: {breaker: {failures: 0}}", "policies.breaker.failures"),
        ("profile_id: a\npolicies: {budget: {tokens_plan: 0}}", "policies.budget.tokens_plan"),
        ("profile_id: a\nhttp_hosts: ['http://x/']", "http_hosts.0"),
        ("profile_id: a\nx: " + "[" * 40 + "]" * 40, "line 2"),
        ("profile_id: !!python/name:os.system a", "line 1"),
        ("models: {}", "profile_id"),
        ("- 1", "profile"),
        ("", "profile"),
        ("profile_id: [", "line 2"),
        ("\x00", "profile"),
        ("x" * (PROFILE_BYTES_MAX + 1), "profile"),
        ("profile_id: a\nintents: {i: {examples: {es: [hola]}, slots: {s: '(a+)+$'}}}", "intents.i.slots"),
        ("profile_id: a\nintents: {i: {examples: {es: [hola]}, slots: {s: '.*.*.*x'}}}", "intents.i.slots"),
        ("profile_id: a\nintents: {i: {examples: {es: [hola]}, slots: {s: '('}}}", "intents.i.slots"),
    ],
)
def test_a_profile_that_breaks_a_rule_is_refused_by_its_field(text: str, field: str) -> None:
    with pytest.raises(ProfileInvalid) as refused:
        load_profile(text)
    assert refused.value.metadata["field"] == field
    assert refused.value.metadata["rule"]


def test_a_profile_without_limits_has_none_of_its_own_and_a_breaker_of_five_failures() -> None:
    policies = load_profile("profile_id: a").policies
    assert policies.concurrency.tasks_max is policies.budget.tokens_plan is policies.budget.money_micros_plan is None
    assert (policies.breaker.failures, policies.breaker.cool_down_s) == (5, 30)


@pytest.mark.parametrize("name", ["nwc", "medluxe", "brandistry", "silhouette"])
def test_the_examples_profiles_are_valid(name: str) -> None:
    assert load_profile((EXAMPLES / name / "profile.yaml").read_bytes()).profile_id == f"{name}_v1"


class Endpoint:
    """A model's endpoint that answers by a function of the request, and remembers what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[dict] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, int):
            return httpx.Response(answer, text="no")
        text = answer(self.asked[-1]) if callable(answer) else answer
        return httpx.Response(200, json={"choices": [{"message": {"content": text}}]})

    def model(self, **roles: str) -> OpenAICompatible:
        return OpenAICompatible("http://llm/v1/", "k", "", roles, httpx.MockTransport(self), backoff_s=(0.0,))


SEAT = Seat("test", "creative", "Say a number.", object_schema(n={"type": "integer"}))


async def test_a_model_s_answer_is_held_to_the_schema_and_asked_for_again() -> None:
    endpoint = Endpoint("no json", '{"n": "x"}', '```json\n{"n": 4}\n```')
    assert await endpoint.model(creative="big").answer(SEAT, {}, dict) == {"n": 4}
    assert [a["model"] for a in endpoint.asked] == ["big"] * 3
    assert endpoint.asked[0]["response_format"]["json_schema"]["schema"]["required"] == ["n"]


@pytest.mark.parametrize("answer", ["[]", '{"n": 1, "m": 2}', "{}", 503, 429, "[" * 5000])
async def test_a_model_that_never_keeps_the_contract_fails_after_three_tries(answer: object) -> None:
    endpoint = Endpoint(answer)
    with pytest.raises(ModelFailed, match="test"):
        await endpoint.model().answer(SEAT, {}, dict)
    assert len(endpoint.asked) == 3


async def test_a_refusal_for_good_is_not_asked_again() -> None:
    endpoint = Endpoint(401)
    with pytest.raises(ModelFailed, match="401"):
        await endpoint.model().answer(SEAT, {}, dict)
    assert len(endpoint.asked) == 1


def test_without_an_endpoint_the_offline_engine_takes_the_seats() -> None:
    assert model_for("", "", "", {"reasoning": "x"}).named("reasoning") == OFFLINE
    assert model_for("http://x", "", "mine", {"reasoning": "x"}).named("reasoning") == "mine"


def clerk(request: dict) -> str:
    """A model that keeps to its material: it returns each draft with a word before it."""
    facts = json.loads(request["messages"][1]["content"])
    name = request["response_format"]["json_schema"]["name"]
    if name == "intent":
        return json.dumps(
            {"intent": "campaign.plan", "slots": [{"name": "product", "value": "otoño"}], "confidence": 0.9}
        )
    if name == "brief":
        return json.dumps(
            {s: {k: f"Redactado: {v.replace('>', '')}" for k, v in d.items()} for s, d in facts["drafts"].items()}
        )
    return json.dumps({k: f"Redactado: {s['draft']}" for k, s in facts["sections"].items()})


async def test_a_model_takes_the_same_seats_and_the_artifacts_name_it() -> None:
    endpoint = Endpoint(clerk)
    job = await run_job(
        App.load(EXAMPLES / "medluxe"), endpoint.model(reasoning="thinker", extraction="reader", creative="writer")
    )
    assert job.detected.engine == "reader"
    assert job.brief.slots["product"] == "otoño"
    assert job.file("brief.md").extra["engine"] == "thinker"
    assert "Redactado: " in job.file("paid_plan.md").body_md
    assert "el modelo writer" in job.file("paid_plan.md").body_md
    assert job.file("kpi_segments.md").extra["engine"] == OFFLINE


async def test_a_figure_that_a_model_makes_up_is_refused() -> None:
    def liar(request: dict) -> str:
        answer = json.loads(clerk(request))
        return json.dumps(
            {k: f"{v} Y 98.765 clientes felices." for k, v in answer.items()} if "intent" not in answer else answer
        )

    def honest_until_skills(request: dict) -> str:
        return (
            liar(request) if request["response_format"]["json_schema"]["name"].startswith("skill") else clerk(request)
        )

    with pytest.raises(ModelFailed, match="98765"):
        await run_job(App.load(EXAMPLES / "medluxe"), Endpoint(honest_until_skills).model(reasoning="m"))


async def test_the_brief_keeps_the_best_scored_candidate_and_its_reasoning_outside_the_artifact() -> None:
    job = await run_job(App.load(EXAMPLES / "medluxe"))
    audit = job.brief.audit
    totals = {c["strategy"]: c["scores"]["total"] for c in audit["candidates"]}
    assert set(totals) == {"direct", "measurable", "evidence"}
    assert totals[audit["chosen"]] == max(totals.values()) > min(totals.values())
    assert audit["reasoning"]
    assert not any(step in job.file("brief.md").body_md for step in audit["reasoning"])
    assert len(json.dumps(audit)) < 30_000
