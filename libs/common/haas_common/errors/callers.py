"""What a caller did wrong, or may not do."""

import grpc

from haas_common.errors.base import HaasError


class InvalidArgument(HaasError):
    """Errors that travel as INVALID_ARGUMENT; raise one of its subclasses."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class FieldInvalid(InvalidArgument):
    """A field breaks a rule of the contract."""

    reason = "FIELD_INVALID"


class TenantRequired(InvalidArgument):
    """The request names no tenant_id."""

    reason = "TENANT_REQUIRED"


class ProjectRequired(InvalidArgument):
    """The request names no project_id."""

    reason = "PROJECT_REQUIRED"


class GraphCycle(InvalidArgument):
    """The graph has a cycle."""

    reason = "GRAPH_CYCLE"


class GraphDangling(InvalidArgument):
    """A task reads from a task or an input that does not exist."""

    reason = "GRAPH_DANGLING"


class GraphInvalid(InvalidArgument):
    """The types of an edge do not agree, or a task breaks a rule."""

    reason = "GRAPH_INVALID"


class TableRowsBroken(InvalidArgument):
    """An uploaded table has broken rows."""

    reason = "TABLE_ROWS_BROKEN"


class LanguageUnsupported(InvalidArgument):
    """The offline engine reads Spanish and English."""

    reason = "LANGUAGE_UNSUPPORTED"


class ToolArgumentsInvalid(InvalidArgument):
    """The arguments break the tool's schema."""

    reason = "TOOL_ARGUMENTS_INVALID"


class ProfileInvalid(InvalidArgument):
    """The profile breaks a rule."""

    reason = "PROFILE_INVALID"


class ArtifactInvalid(InvalidArgument):
    """The artifact lacks front matter or a section that its type requires."""

    reason = "ARTIFACT_INVALID"


class Unauthenticated(HaasError):
    """Errors that travel as UNAUTHENTICATED; raise one of its subclasses."""

    code = grpc.StatusCode.UNAUTHENTICATED


class TokenMissing(Unauthenticated):
    """No token came with the call."""

    reason = "TOKEN_MISSING"


class TokenInvalid(Unauthenticated):
    """The token is forged, malformed, of another issuer or audience, or of an unknown key."""

    reason = "TOKEN_INVALID"


class TokenExpired(Unauthenticated):
    """The token has expired; renew it."""

    reason = "TOKEN_EXPIRED"


class PermissionDenied(HaasError):
    """Errors that travel as PERMISSION_DENIED; raise one of its subclasses."""

    code = grpc.StatusCode.PERMISSION_DENIED


class TenantMismatch(PermissionDenied):
    """The token is for another tenant."""

    reason = "TENANT_MISMATCH"


class ProjectNotGranted(PermissionDenied):
    """The token does not hold this project."""

    reason = "PROJECT_NOT_GRANTED"


class ScopeMissing(PermissionDenied):
    """The token lacks the method's scope."""

    reason = "SCOPE_MISSING"


class PeerNotAllowed(PermissionDenied):
    """The calling service's certificate is not on this method's allowlist."""

    reason = "PEER_NOT_ALLOWED"


class ApprovalRoleMissing(PermissionDenied):
    """Deciding this takes a role that the token does not hold."""

    reason = "APPROVAL_ROLE_MISSING"


class ToolNotAllowed(PermissionDenied):
    """The profile does not allow this tool."""

    reason = "TOOL_NOT_ALLOWED"


class EgressDenied(PermissionDenied):
    """The host is not on the tool's allowlist, or its address is not a public one."""

    reason = "EGRESS_DENIED"
