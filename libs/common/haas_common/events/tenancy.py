"""Events of the gateway: tenants, projects, what is published in them, tokens."""

from typing import Annotated

from pydantic import Field

from haas_common.events.base import PERSONAL, Count, EventType, Hash, Named, Number, Payload


class Created(Payload):
    """A tenant or a project."""

    display_name: str = Field(description="What people call it; may be empty.")


class Published(Payload):
    """A version of a profile or of a document."""

    version: Number = Field(description="Counts from 1.")
    hash: Hash = Field(description="Of the published bytes.")


class TokenIssued(Payload):
    """A token, told without the token."""

    subject: Annotated[str, PERSONAL] = Field(description="Whom the token names.")
    projects: list[str] = Field(description="The projects that it opens.")
    role: Named = Field(description="The role that it carries.")
    expires_at: int = Field(description="When it ends, in seconds of the epoch.")
    decides: list[str] = Field([], description="The roles in which its holder decides approvals.")


class Limited(Payload):
    """What a tenant may have under way."""

    tasks_max: Count = Field(description="How many of its tasks run at once; 0: no limit of its own.")
    weight: Number = Field(description="Its share beside other tenants.")


TYPES = (
    EventType("TenantCreated", "tenant/<tenant_id>", "gateway", 1, Created, "A tenant was created."),
    EventType("TenantLimited", "tenant/<tenant_id>", "gateway", 1, Limited, "A tenant's limits were set."),
    EventType("ProjectCreated", "project/<project_id>", "gateway", 1, Created, "A project was created."),
    EventType("ProfilePublished", "profile/<profile_id>", "gateway", 1, Published, "A profile has a further version."),
    EventType("DocumentPublished", "document/<name>", "gateway", 1, Published, "A document has a further version."),
    EventType("TokenIssued", "token/<subject>", "gateway", 1, TokenIssued, "A token was issued."),
)
