"""A key that was retired vouches for what it signed before, and for nothing after: artifacts, checkpoints, drops."""

import datetime
import json
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from haas_common.audit import signatures
from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.audit.findings import Report
from haas_common.audit.rows import time_of
from haas_common.audit.signatures import ROTATION_SLACK, certificate_bytes, signature_problem
from haas_common.audit.verify import verify
from haas_common.fleet_keys import FleetKey, raw_public
from tests.support.tampered import KEYS, KIDS, PUBLIC, TENANT, History, Memory, link, retired

AGENT = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
SECOND = datetime.timedelta(seconds=1)


def at(second: int) -> datetime.datetime:
    """When the checkpoints of these tests are signed."""
    return datetime.datetime(2026, 1, 1, 0, 0, second, tzinfo=datetime.UTC)


def verified(history: History, use: str = "", key: dict[str, FleetKey] | None = None) -> Report:
    keys = {**KEYS, use: key} if key is not None else KEYS
    return verify(Memory(history), keys["checkpoint"], keys["artifact"])


def versions(agent: Ed25519PrivateKey | None) -> History:
    """Two versions of an artifact, an hour and a second between them, in a project of its own."""
    history = History()
    history.add("p-one", "plan/1")
    history.artifact("p-one", "artf-1", "# Uno", agent)
    row = history.artifact("p-one", "artf-1", "# Dos", agent)
    row["recorded_at_us"] += (ROTATION_SLACK + SECOND) // datetime.timedelta(microseconds=1)
    link(history.rows["p-one"])
    history.checkpoint()
    return history


# ── Artifacts ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("agent", [AGENT, None], ids=["an agent's key", "the fleet's own"])
def test_what_a_retired_key_signed_later_is_found_with_its_place(agent: Ed25519PrivateKey | None) -> None:
    history = versions(agent)
    first, second = (time_of(row["recorded_at_us"]) for row in history.rows["p-one"][1:])
    assert verified(history).valid
    report = verified(history, "artifact", retired("artifact", first))
    (found,) = report.findings.first
    assert (found.project_id, found.seq, found.stream, found.version) == ("p-one", 3, "artifact/artf-1", 2)
    assert "by a key that was retired before" in found.what
    assert verified(history, "artifact", retired("artifact", second - ROTATION_SLACK)).valid
    assert not verified(history, "artifact", retired("artifact", second - ROTATION_SLACK - SECOND / 1000)).valid


def test_a_retired_key_is_known_as_such_in_a_process_of_its_own() -> None:
    key = retired("artifact", at(1))[KIDS["artifact"]]
    found = pickle.loads(pickle.dumps(key))
    assert raw_public(found.public) == raw_public(key.public)
    assert (found.kid, found.use, found.created_at, found.retired_at) == (key.kid, key.use, key.created_at, at(1))


def test_a_certificate_of_another_agent_or_place_is_none_however_often_it_was_seen() -> None:
    history = History()
    facts = json.loads(history.artifact("p-one", "artf-1", "# Uno", AGENT)["payload"])
    keys = [PUBLIC["artifact"]]
    for _ in range(2):
        assert signature_problem(TENANT, "p-one", facts, keys, at(1)) == ""
        for place, changed in (
            (("t-two", "p-one"), facts), ((TENANT, "p-two"), facts),
            ((TENANT, "p-one"), {**facts, "signer": "agent-2"}),
        ):  # fmt: skip
            assert "certificate is not the fleet's" in signature_problem(*place, changed, keys, at(1))
        assert "not the fleet's" in signature_problem(TENANT, "p-one", facts, [PUBLIC["checkpoint"]], at(1))
    assert (
        signature_problem(TENANT, "p-one", {**facts, "certificate": 7}, keys, at(1)) == "its signature cannot be read"
    )


def test_an_agents_certificate_is_checked_once_for_all_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    history, checked = History(), []
    for n in range(20):
        history.artifact("p-once", f"artf-{n}", f"# {n}", AGENT)
    plain = signatures._holds

    def holds(key: object, signature: str, message: bytes) -> bool:
        checked.append(message)
        return plain(key, signature, message)  # type: ignore[arg-type]

    monkeypatch.setattr(signatures, "_holds", holds)
    assert verified(history).valid
    certified = certificate_bytes(TENANT, "p-once", "agent-1", AGENT.public_key().public_bytes_raw())
    assert (checked.count(certified), len(checked)) == (1, 21)


# ── Checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────


def signed(*times: str) -> History:
    history = History()
    for n, when in enumerate(times):
        history.add("p-one", f"plan/{n}")
        history.checkpoint(when)
    return history


def test_a_checkpoint_by_a_key_that_was_retired_before_is_found_with_its_place() -> None:
    history = signed("2026-01-01T00:00:00Z", "2026-01-01T01:00:00.000000Z", "2026-01-01T01:00:01Z")
    (found,) = verified(history, "checkpoint", retired("checkpoint", at(0))).findings.first
    place = (TENANT_PROJECT, 3, f"checkpoint/{TENANT}", 3)
    assert (found.project_id, found.seq, found.stream, found.version) == place
    assert "signed with a key that was retired before" in found.what
    never = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    for when in (at(1), never):
        assert verified(history, "checkpoint", retired("checkpoint", when)).valid


def test_a_checkpoint_that_says_to_be_older_than_the_one_before_it_is_found() -> None:
    history = signed("2026-01-01T00:00:05Z", "2026-01-01T00:00:05Z", "2026-01-01T00:00:04.999999Z")
    (found,) = verified(history).findings.first
    assert (found.project_id, found.seq, found.version) == (TENANT_PROJECT, 3, 3)
    assert "signed before the one that it follows" in found.what
    # The time is what counts, not how it is written.
    assert verified(signed("2026-01-01T05:00:00+05:00", "2026-01-01T00:00:00Z")).valid


@pytest.mark.parametrize("when", ["yesterday", "2026-01-01T00:00:05"])
def test_a_checkpoint_whose_time_cannot_be_read_is_found_and_the_next_one_is_not_blamed(when: str) -> None:
    report = verified(signed("2026-01-01T00:00:01Z", when, "2026-01-01T00:00:09Z"))
    assert [(f.seq, "cannot be read" in f.what) for f in report.findings.first if f.stream] == [(2, True)]
