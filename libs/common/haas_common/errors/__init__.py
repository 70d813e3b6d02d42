"""Errors: one class per reason of haas/common/v1/error_reason.proto, grouped by the gRPC status that they travel as.

    HaasError
    ├── InternalError
    ├── InvalidArgument
    │   └── FieldInvalid, TenantRequired, ProjectRequired, GraphCycle, GraphDangling, GraphInvalid, TableRowsBroken,
    │       LanguageUnsupported, ToolArgumentsInvalid, ProfileInvalid, ArtifactInvalid
    ├── Unauthenticated ── TokenMissing, TokenInvalid, TokenExpired
    ├── PermissionDenied
    │   └── TenantMismatch, ProjectNotGranted, ScopeMissing, PeerNotAllowed, ApprovalRoleMissing, ToolNotAllowed,
    │       EgressDenied
    ├── NotFound ── ResourceNotFound, ToolUnknown
    ├── AlreadyExists ── ResourceExists, RequestIdReused
    ├── Aborted ── StreamVersionConflict, LeaseLost, LockHeld
    ├── FailedPrecondition
    │   └── PlanStateConflict, TaskStateConflict, SignalUnexpected, ContractBroken, ApprovalRejected,
    │       QuorumUnreachable, PlanUnreachable, InputMissing, ToolFailed, WorkerFailed, SandboxUnavailable,
    │       ProfileMissing, SessionEnded, ArtifactStatusConflict, DataErased
    ├── DeadlineExceeded ── ToolTimeout, SignalTimeout, DeadlinePassed
    ├── ResourceExhausted ── RateLimited, Overloaded, BudgetExceeded, PayloadTooLarge
    ├── Unavailable
    │   └── LimiterUnavailable, DatabaseUnavailable, ServiceUnavailable, WorkerLost, BreakerOpen, ModelFailed, Gateway
    ├── CursorOutOfRange
    ├── HashMismatch
    ├── CallCancelled
    └── MethodUnknown

Every error leaves as google.rpc.Status with an ErrorInfo of domain "haas" (AIP-193), over gRPC and REST alike, and
`from_rpc` rebuilds the same class on the other side. A house test compares these classes with the proto.
"""

from haas_common.errors.base import (
    BY_REASON,
    DETAILS_KEY,
    DOMAIN,
    MESSAGE_CHARS_MAX,
    METADATA_CHARS_MAX,
    HaasError,
    InternalError,
)
from haas_common.errors.callers import (
    ApprovalRoleMissing,
    ArtifactInvalid,
    EgressDenied,
    FieldInvalid,
    GraphCycle,
    GraphDangling,
    GraphInvalid,
    InvalidArgument,
    LanguageUnsupported,
    PeerNotAllowed,
    PermissionDenied,
    ProfileInvalid,
    ProjectNotGranted,
    ProjectRequired,
    ScopeMissing,
    TableRowsBroken,
    TenantMismatch,
    TenantRequired,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    ToolArgumentsInvalid,
    ToolNotAllowed,
    Unauthenticated,
)
from haas_common.errors.capacity import (
    BreakerOpen,
    BudgetExceeded,
    CallCancelled,
    DatabaseUnavailable,
    DeadlineExceeded,
    DeadlinePassed,
    Gateway,
    LimiterUnavailable,
    MethodUnknown,
    ModelFailed,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    ResourceExhausted,
    ServiceUnavailable,
    SignalTimeout,
    ToolTimeout,
    Unavailable,
    WorkerLost,
)
from haas_common.errors.state import (
    Aborted,
    AlreadyExists,
    ApprovalRejected,
    ArtifactStatusConflict,
    ContractBroken,
    CursorOutOfRange,
    DataErased,
    FailedPrecondition,
    HashMismatch,
    InputMissing,
    LeaseLost,
    LockHeld,
    NotFound,
    PlanStateConflict,
    PlanUnreachable,
    ProfileMissing,
    QuorumUnreachable,
    RequestIdReused,
    ResourceExists,
    ResourceNotFound,
    SandboxUnavailable,
    SessionEnded,
    SignalUnexpected,
    StreamVersionConflict,
    TaskStateConflict,
    ToolFailed,
    ToolUnknown,
    WorkerFailed,
)
from haas_common.errors.wire import (
    from_rpc,
    from_status,
)

__all__ = [
    "BY_REASON",
    "DETAILS_KEY",
    "DOMAIN",
    "MESSAGE_CHARS_MAX",
    "METADATA_CHARS_MAX",
    "Aborted",
    "AlreadyExists",
    "ApprovalRejected",
    "ApprovalRoleMissing",
    "ArtifactInvalid",
    "ArtifactStatusConflict",
    "BreakerOpen",
    "BudgetExceeded",
    "CallCancelled",
    "ContractBroken",
    "CursorOutOfRange",
    "DataErased",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "DeadlinePassed",
    "EgressDenied",
    "FailedPrecondition",
    "FieldInvalid",
    "Gateway",
    "GraphCycle",
    "GraphDangling",
    "GraphInvalid",
    "HaasError",
    "HashMismatch",
    "InputMissing",
    "InternalError",
    "InvalidArgument",
    "LanguageUnsupported",
    "LeaseLost",
    "LimiterUnavailable",
    "LockHeld",
    "MethodUnknown",
    "ModelFailed",
    "NotFound",
    "Overloaded",
    "PayloadTooLarge",
    "PeerNotAllowed",
    "PermissionDenied",
    "PlanStateConflict",
    "PlanUnreachable",
    "ProfileInvalid",
    "ProfileMissing",
    "ProjectNotGranted",
    "ProjectRequired",
    "QuorumUnreachable",
    "RateLimited",
    "RequestIdReused",
    "ResourceExhausted",
    "ResourceExists",
    "ResourceNotFound",
    "SandboxUnavailable",
    "ScopeMissing",
    "ServiceUnavailable",
    "SessionEnded",
    "SignalTimeout",
    "SignalUnexpected",
    "StreamVersionConflict",
    "TableRowsBroken",
    "TaskStateConflict",
    "TenantMismatch",
    "TenantRequired",
    "TokenExpired",
    "TokenInvalid",
    "TokenMissing",
    "ToolArgumentsInvalid",
    "ToolFailed",
    "ToolNotAllowed",
    "ToolTimeout",
    "ToolUnknown",
    "Unauthenticated",
    "Unavailable",
    "WorkerFailed",
    "WorkerLost",
    "from_rpc",
    "from_status",
]
