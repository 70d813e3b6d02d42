"""Why a range of the history is not dropped."""


class Refusal(Exception):
    """What was asked for would lose something, or would leave a history that proves nothing.

    Attributes:
        reason: a stable name for scripts.
        message: one sentence.
    """

    reason = "HISTORY_REFUSED"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RangeUnknown(Refusal):
    """There is no such range, tenant or cell."""

    reason = "RANGE_UNKNOWN"


class RangeInUse(Refusal):
    """The range is still being written, or an older one of the same projects is there."""

    reason = "RANGE_IN_USE"


class PlanNotOver(Refusal):
    """A plan that is not over has events in the range."""

    reason = "PLAN_NOT_OVER"


class CursorBehind(Refusal):
    """A relay or a projector has not read the range."""

    reason = "CURSOR_BEHIND"


class NotCovered(Refusal):
    """An event of the range is not under a signed checkpoint."""

    reason = "NOT_COVERED"


class Tampered(Refusal):
    """The history does not verify: nothing of it is dropped, for it is the evidence."""

    reason = "HISTORY_TAMPERED"


class FileInTheWay(Refusal):
    """There is a file by that name that is not this range."""

    reason = "FILE_EXISTS"


class DatabaseFailed(Refusal):
    """The database did not answer, or did not do what it was told."""

    reason = "DATABASE_FAILED"
