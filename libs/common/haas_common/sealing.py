"""Personal data at rest: sealed under a key per project and person, and gone with that key (docs/howto/erase-data.md).

A personal value of a payload (`haas_common.events.personal_paths`) is stored as

    {"$sealed": key id, "data": base64url(nonce, 12 bytes ‖ AES-256-GCM of its JSON), "kind": "string" | …}

bound to tenant, project, stream, event type and path, so that it opens nowhere else. The stored bytes are what the
chain covers: destroying a key changes none of them. `kind` is what stands in the value's place from then on.
"""

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic_core import from_json, to_json

from haas_common import errors
from haas_common.config import ConfigInvalid
from haas_common.db import Scope, Tx, load_queries
from haas_common.events import personal_paths
from haas_common.ids import new_id
from haas_common.key_ring import NONCE_BYTES, KeyRing, framed

if TYPE_CHECKING:
    from haas_common.eventstore import NewEvent

SQL = load_queries("haas_common")
ERASED = "[erased]"
#: What was read with a key is read for this long after it was destroyed, by other processes at most.
CACHE_S = 30.0
_CACHE_MAX = 10_000
_SEALED = frozenset({"$sealed", "data", "kind"})
_KINDS: Mapping[type, str] = {str: "string", dict: "object", list: "array"}
Path = tuple[str | int, ...]
# A path's next part to what follows; None where the value itself is personal.
Tree = dict[str, Any]
Convert = Callable[[Any, str], Any]


class Stored(NamedTuple):
    """A payload as it is stored, and where: what its values are bound to."""

    scope: Scope
    stream: str
    type: str
    payload: dict[str, Any]


class Subject(NamedTuple):
    """Whose data: a person of a project; "" for what is nobody's own."""

    scope: Scope
    subject: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Key:
    """A data key; `cipher` is None once it is destroyed."""

    key_id: str
    cipher: AESGCM | None
    until_s: float


class _Unknown(Exception):
    """A key was not asked for yet, or too long ago."""


KeyOf = Callable[[tuple[Scope, str]], _Key | None]


class Vault:
    """Seals what is appended and opens what is read."""

    def __init__(self, ring: KeyRing | None) -> None:
        """Takes the fleet's key; without one whatever is personal is refused, and all else goes on."""
        self._ring = ring
        self._keys: OrderedDict[tuple[Scope, str], _Key] = OrderedDict()
        # Whose key was which when it was used last.
        self._living: OrderedDict[Subject, _Key] = OrderedDict()

    def _needed(self) -> KeyRing:
        if self._ring is None:
            raise ConfigInvalid("data.key is missing: this service may not read or write personal data.")
        return self._ring

    async def seal_all(self, tx: Tx, events: Sequence["NewEvent"]) -> list[Mapping[str, Any]]:
        """Returns the payloads as they are to be stored.

        The keys are held until the transaction ends: what is sealed under one is committed before it is destroyed.
        """
        personal = [_is_personal(event) for event in events]
        if not any(personal):
            return [event.payload for event in events]
        whose = [Subject(event.scope, event.subject) for event in events]
        keys = await self._living_of(tx, {subject for subject, seal in zip(whose, personal, strict=True) if seal})
        nonces = _nonces()
        return [
            _sealed(event, keys[subject], nonces) if seal else event.payload
            for event, subject, seal in zip(events, whose, personal, strict=True)
        ]

    def seal_known(
        self, events: Sequence["NewEvent"]
    ) -> tuple[list[Mapping[str, Any]], list[tuple[str, str, str]]] | None:
        """Seals with the keys that were used last, without asking for them.

        Returns:
            The payloads, and the keys as (tenant, project, key id): whoever writes the payloads holds these keys
            first and writes nothing if one of them is no longer a living one. None where a key is not known.
        """
        used: dict[Subject, _Key] = {}
        nonces, payloads = _nonces(), []
        for event in events:
            if not _is_personal(event):
                payloads.append(event.payload)
                continue
            subject = Subject(event.scope, event.subject)
            key = used.get(subject) or self._living.get(subject)
            if key is None or key.cipher is None:
                return None
            used[subject] = key
            payloads.append(_sealed(event, key, nonces))
        return payloads, [(s.scope.tenant_id, s.scope.project_id, key.key_id) for s, key in used.items()]

    async def hold(self, tx: Tx, subjects: Iterable[Subject]) -> None:
        """Keeps the subjects' living keys alive until the transaction ends.

        Whoever writes what it has read of a person elsewhere holds the key first: an erasure then comes wholly before
        it or wholly after.
        """
        await _held(tx, sorted(set(subjects)))

    async def _living_of(self, tx: Tx, subjects: set[Subject]) -> dict[Subject, _Key]:
        """Returns the subjects' living keys, held; makes those that there are not."""
        wanted = sorted(subjects)
        rows = await _held(tx, wanted)
        found = {Subject(_scope_of(row), row["subject"]) for row in rows}
        missing = [subject for subject in wanted if subject not in found]
        if missing:
            await tx.run(SQL.add_data_keys, rows=_rows(self._made(subject) for subject in missing))
            # Another transaction may have been the first: then its key is the living one.
            rows += await _held(tx, missing)
        living = {Subject(_scope_of(row), row["subject"]): self._kept(row) for row in rows}
        for subject, key in living.items():
            self._living[subject] = key
            self._living.move_to_end(subject)
        while len(self._living) > _CACHE_MAX:
            self._living.popitem(last=False)
        return living

    async def open_all(
        self, tx: Tx, stored: Sequence[Stored], *, fresh: bool = False, lenient: bool = False
    ) -> list[dict[str, Any]]:
        """Returns payloads with every personal value in the clear; what was erased reads as erased.

        Args:
            tx: a transaction that sees their projects.
            stored: the payloads and their places.
            fresh: asks for the keys anew and holds them, for whoever writes what it reads elsewhere.
            lenient: leaves what does not open as it is stored, for whoever shows a history that was tampered with.

        Raises HashMismatch for a value that was tampered with, or taken from another place.
        """
        if not fresh and not lenient:
            with contextlib.suppress(_Unknown):
                key_of = self._known(time.monotonic())
                return [_opened(one, key_of, lenient=False) for one in stored]
        named: dict[tuple[Scope, str], _Key | None] = {}
        sealed = [_note_keys(one, named) for one in stored]
        if not named:
            return [one.payload for one in stored]
        await self._find(tx, named, fresh=fresh, lenient=lenient)
        return [
            _opened(one, named.__getitem__, lenient=lenient) if is_any else one.payload
            for one, is_any in zip(stored, sealed, strict=True)
        ]

    async def open_one(self, tx: Tx, stored: Stored) -> dict[str, Any]:
        """Returns one payload; see open_all."""
        return (await self.open_all(tx, [stored]))[0]

    async def seal_bytes(self, tx: Tx, subject: Subject, place: Sequence[str], data: bytes) -> tuple[str, bytes]:
        """Seals bytes that are a person's, bound to a place; returns the key's id and what to keep.

        The key is held until the transaction ends, as in `seal_all`.
        """
        key = (await self._living_of(tx, {subject}))[subject]
        assert key.cipher is not None  # a living one
        nonce = os.urandom(NONCE_BYTES)
        bound = framed("bytes", subject.scope, *place)
        return key.key_id, nonce + await asyncio.to_thread(key.cipher.encrypt, nonce, data, bound)

    async def open_bytes(self, tx: Tx, scope: Scope, key_id: str, place: Sequence[str], kept: bytes) -> bytes | None:
        """Returns what `seal_bytes` was given; None where the key was destroyed. Raises HashMismatch."""
        named: dict[tuple[Scope, str], _Key | None] = {(scope, key_id): None}
        await self._find(tx, named, fresh=False, lenient=False)
        key = named[scope, key_id]
        if key is not None and key.cipher is None:
            return None
        try:
            if key is None or key.cipher is None:
                raise InvalidTag
            bound = framed("bytes", scope, *place)
            return await asyncio.to_thread(key.cipher.decrypt, kept[:NONCE_BYTES], kept[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            sentence = "Sealed bytes were changed, or taken from another place."
            raise errors.HashMismatch(sentence, key_id=key_id) from None

    def unwrapped(self, scope: Scope, key_id: str, wrapped: bytes) -> bytes:
        """Returns a key itself, for a tenant that takes its history along. Raises HashMismatch."""
        return self._needed().unwrap(wrapped, scope, key_id)

    def forget(self, scope: Scope, key_ids: Iterable[str]) -> None:
        """Lets go of keys that were destroyed."""
        gone = set(key_ids)
        for key_id in gone:
            self._keys.pop((scope, key_id), None)
        for subject in [s for s, key in self._living.items() if s.scope == scope and key.key_id in gone]:
            del self._living[subject]

    def _known(self, now_s: float) -> KeyOf:
        """Returns what tells the keys that were asked for of late, and raises _Unknown for others."""

        def key_of(place: tuple[Scope, str]) -> _Key:
            key = self._keys.get(place)
            if key is None or key.until_s <= now_s:
                raise _Unknown
            return key

        return key_of

    async def _find(self, tx: Tx, named: dict[tuple[Scope, str], _Key | None], *, fresh: bool, lenient: bool) -> None:
        now_s = time.monotonic()
        if not fresh:
            for place in named:
                kept = self._keys.get(place)
                named[place] = kept if kept is not None and kept.until_s > now_s else None
        wanted = sorted(place for place, key in named.items() if key is None)
        if not wanted:
            return
        rows = _rows({**_in(scope), "key_id": key_id} for scope, key_id in wanted)
        query = SQL.data_keys_by_id
        if fresh:
            query = SQL.hold_named_keys
        for row in await tx.all(query, rows=rows):
            try:
                named[_scope_of(row), row["key_id"]] = self._kept(row)
            except errors.HashMismatch:
                if not lenient:
                    raise

    def _kept(self, row: Mapping[str, Any]) -> _Key:
        """Returns the key of a row and keeps it for a while."""
        scope, key_id, until_s = _scope_of(row), row["key_id"], time.monotonic() + CACHE_S
        before = self._keys.get((scope, key_id))
        cipher = None
        if row["wrapped"] is not None:
            known = before.cipher if before is not None else None
            cipher = known or AESGCM(self._needed().unwrap(row["wrapped"], scope, key_id))
        key = _Key(key_id, cipher, until_s)
        self._keys[scope, key_id] = key
        self._keys.move_to_end((scope, key_id))
        while len(self._keys) > _CACHE_MAX:
            self._keys.popitem(last=False)
        return key

    def _made(self, subject: Subject) -> dict[str, str]:
        key_id = new_id("dk")
        wrapped = self._needed().wrap(os.urandom(32), subject.scope, key_id)
        return {**_subject_row(subject), "key_id": key_id, "wrapped": wrapped.hex()}


async def _held(tx: Tx, subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    if not subjects:
        return []
    return await tx.all(SQL.hold_data_keys, rows=_rows(_subject_row(subject) for subject in subjects))


async def erased_refs(tx: Tx, scope: Scope, refs: Sequence[str]) -> set[str]:
    """Returns which of these blobs an erasure took away: that they are gone is no sign of tampering."""
    rows = await tx.all(SQL.erased_refs, **_in(scope), refs=list(refs)) if refs else []
    return {row["ref"] for row in rows}


def sealed_form(event_type: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a payload that is as long as the sealed one: what does not fit is found before it is appended."""

    def longer(value: Any, path: str) -> Any:
        length = NONCE_BYTES + len(to_json(value)) + 16
        return {"$sealed": "x" * 28, "data": "x" * -(-length * 4 // 3), "kind": _KINDS.get(type(value), "other")}

    return _converted(payload, _tree(event_type), "", _unless_empty(longer))


def _is_personal(event: "NewEvent") -> bool:
    """Tells whether there is anything to seal in an event."""
    tree = _tree(event.type)
    return bool(tree) and _holds_any(event.payload, tree)


def _holds_any(node: Any, tree: Tree | None) -> bool:
    if tree is None:
        return not _is_empty(node)
    if "*" in tree:
        return isinstance(node, list) and any(_holds_any(value, tree["*"]) for value in node)
    return isinstance(node, Mapping) and any(name in node and _holds_any(node[name], tree[name]) for name in tree)


def _sealed(event: "NewEvent", key: _Key, nonces: Iterator[bytes]) -> dict[str, Any]:
    cipher, key_id = key.cipher, key.key_id
    assert cipher is not None  # a living one
    bound = _bound(event.scope, event.stream, event.type)

    def seal(value: Any, path: str) -> dict[str, str]:
        nonce = next(nonces)
        data = nonce + cipher.encrypt(nonce, to_json(value), bound + path.encode())
        text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        return {"$sealed": key_id, "data": text, "kind": _KINDS.get(type(value), "other")}

    return _converted(event.payload, _tree(event.type), "", _unless_empty(seal))


def _opened(stored: Stored, key_of: KeyOf, *, lenient: bool) -> dict[str, Any]:
    bound = _bound(stored.scope, stored.stream, stored.type)

    def unseal(value: Any, path: str) -> Any:
        if not is_sealed(value):
            return value
        key = key_of((stored.scope, value["$sealed"]))
        if key is not None and key.cipher is None:
            return erased_value(value["kind"])
        try:
            if key is None or key.cipher is None:
                raise InvalidTag
            data = base64.urlsafe_b64decode(value["data"] + "=" * (-len(value["data"]) % 4))
            return from_json(key.cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound + path.encode()))
        except (InvalidTag, ValueError):
            if lenient:
                return value
            sentence = "Sealed data was changed, or taken from another place."
            raise errors.HashMismatch(sentence, stream=stored.stream, field=path) from None

    tree = _tree(stored.type)
    return _converted(stored.payload, tree, "", unseal) if tree else stored.payload


def is_sealed(value: Any) -> bool:
    """Tells whether a value at a personal path is a sealed one."""
    return isinstance(value, dict) and value.keys() == _SEALED


def erased_value(kind: str) -> Any:
    """Returns what an erased value reads as: still of its own kind, so that a fold goes on."""
    if kind == "string":
        return ERASED
    return {} if kind == "object" else [] if kind == "array" else None


def opened_with(stored: Stored, keys: Mapping[str, bytes]) -> tuple[dict[str, Any], set[str]]:
    """Returns a payload opened with keys at hand, and the ids of all keys that it names; a key not given is destroyed.

    Raises HashMismatch.
    """
    named: dict[tuple[Scope, str], _Key | None] = {}
    _note_keys(stored, named)
    for scope, key_id in named:
        named[scope, key_id] = _Key(key_id, AESGCM(keys[key_id]) if key_id in keys else None, 0.0)
    return _opened(stored, named.__getitem__, lenient=False), {key_id for _, key_id in named}


def _note_keys(stored: Stored, named: dict[tuple[Scope, str], _Key | None]) -> bool:
    """Notes which keys a payload names; returns whether it holds anything sealed."""
    tree, found = _tree(stored.type), False
    if tree:
        for value in _values_at(stored.payload, tree):
            if is_sealed(value):
                named[stored.scope, value["$sealed"]] = None
                found = True
    return found


def _values_at(node: Any, tree: Tree | None) -> Iterator[Any]:
    """Yields the values that the tree names, as they are."""
    if tree is None:
        yield node
    elif "*" in tree:
        if isinstance(node, list):
            for value in node:
                yield from _values_at(value, tree["*"])
    elif isinstance(node, Mapping):
        for name, rest in tree.items():
            if name in node:
                yield from _values_at(node[name], rest)


def _is_empty(value: Any) -> bool:
    """An empty value says nothing about anybody and is left as it is."""
    return not value and (value is None or isinstance(value, str | list | dict))


def _unless_empty(convert: Convert) -> Convert:
    return lambda value, path: value if _is_empty(value) else convert(value, path)


@cache
def _tree(event_type: str) -> Tree:
    """The personal paths of a type, by their parts."""
    tree: Tree = {}
    for path in personal_paths(event_type):
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = None
    return tree


def _converted(node: Any, tree: Tree, where: str, convert: Convert) -> Any:
    """Returns a copy with every value that the tree names converted; what has another shape is left as it is."""
    if "*" in tree:
        if not isinstance(node, list):
            return node
        rest = tree["*"]
        return [_step(value, rest, f"{where}/{number}", convert) for number, value in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    found = dict(node)
    for name, rest in tree.items():
        if name in found:
            found[name] = _step(found[name], rest, f"{where}/{name}", convert)
    return found


def _step(value: Any, rest: Tree | None, where: str, convert: Convert) -> Any:
    return convert(value, where) if rest is None else _converted(value, rest, where, convert)


def _nonces() -> Iterator[bytes]:
    """Fresh nonces; one call to the system serves many."""
    while True:
        many = os.urandom(NONCE_BYTES * 64)
        yield from (many[at : at + NONCE_BYTES] for at in range(0, len(many), NONCE_BYTES))


@lru_cache(maxsize=1024)
def _bound(scope: Scope, stream: str, event_type: str) -> bytes:
    return framed("value", scope, stream, event_type)


def _in(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}


def _scope_of(row: Mapping[str, Any]) -> Scope:
    return Scope(row["tenant_id"], row["project_id"])


def _subject_row(subject: Subject) -> dict[str, str]:
    return {**_in(subject.scope), "subject": subject.subject}


def _rows(rows: Iterable[Mapping[str, str]]) -> str:
    return json.dumps(list(rows), ensure_ascii=False)
