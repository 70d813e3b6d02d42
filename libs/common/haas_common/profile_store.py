"""A project's profile and documents, as services read them. A version never changes, so it is parsed once."""

import asyncio
import collections
import dataclasses

from haas_common import errors
from haas_common.blobs import Blobs
from haas_common.db import Scope, Tx
from haas_common.documents import SourceDocument
from haas_common.eventstore import SQL
from haas_common.profiles import Profile, load_profile

_CACHE_MAX = 256


@dataclasses.dataclass(frozen=True, slots=True)
class KeptProfile:
    """A version of a profile."""

    profile: Profile
    version: int


class ProfileStore:
    """Reads profiles in the caller's transaction and keeps what it parsed, by the hash of the text."""

    def __init__(self) -> None:
        self._parsed: collections.OrderedDict[str, Profile] = collections.OrderedDict()

    async def newest(self, tx: Tx, scope: Scope, profile_id: str = "") -> KeptProfile:
        """Returns the newest version of a profile; without an id, of the project's newest. Raises ProfileMissing."""
        row = await tx.maybe(
            SQL.newest_profile, tenant_id=scope.tenant_id, project_id=scope.project_id, profile_id=profile_id
        )
        return self._kept(row, profile_id)

    async def version(self, tx: Tx, scope: Scope, profile_id: str, version: int) -> KeptProfile:
        """Returns the version that a plan keeps. Raises ProfileMissing."""
        row = await tx.maybe(
            SQL.profile_version,
            tenant_id=scope.tenant_id,
            project_id=scope.project_id,
            profile_id=profile_id,
            version=version,
        )
        return self._kept(row, profile_id)

    def _kept(self, row: dict[str, object] | None, profile_id: str) -> KeptProfile:
        if row is None:
            name = f"profile {profile_id}" if profile_id else "profile"
            raise errors.ProfileMissing(f"The project has no {name} yet; put one first.", profile=profile_id)
        digest = str(row["hash"])
        profile = self._parsed.get(digest)
        if profile is None:
            profile = self._parsed[digest] = load_profile(str(row["yaml"]))
            if len(self._parsed) > _CACHE_MAX:
                self._parsed.popitem(last=False)
        self._parsed.move_to_end(digest)
        return KeptProfile(profile, int(str(row["version"])))


async def read_documents(tx: Tx, scope: Scope, blobs: Blobs) -> list[SourceDocument]:
    """Returns the newest version of each of the project's own documents, by name."""
    rows = await tx.all(SQL.newest_documents, tenant_id=scope.tenant_id, project_id=scope.project_id)
    found = []
    for row in rows:
        data = await asyncio.to_thread(blobs.read, scope, row["ref"])
        found.append(SourceDocument(row["name"], data.decode(), row["ref"]))
    return found
