"""What a sandboxed program may use, and what it gave."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The ceiling of one run. Defaults fit a pass over an 8 MiB table."""

    wall_s: float = 15.0
    cpu_s: int = 12
    memory_bytes: int = 768 * MIB
    work_bytes: int = 16 * MIB
    output_bytes: int = 1 * MIB
    open_files: int = 32

    def rlimits(self) -> dict[str, tuple[int, int]]:
        """Returns the soft and hard limits by the names of Python's `resource` module."""
        return {
            "RLIMIT_AS": (self.memory_bytes, self.memory_bytes),
            # The soft one ends the program with a signal of its own (SIGXCPU), so that the cause can be told.
            "RLIMIT_CPU": (self.cpu_s, self.cpu_s + 1),
            "RLIMIT_FSIZE": (self.work_bytes, self.work_bytes),
            "RLIMIT_NOFILE": (self.open_files, self.open_files),
            # Zero further processes; seccomp refuses them anyway.
            "RLIMIT_NPROC": (0, 0),
            "RLIMIT_CORE": (0, 0),
        }


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program: its text and the shared modules that it imports, by their full names. Standard library only."""

    source: str
    modules: dict[str, str]


@dataclass(frozen=True, slots=True)
class Output:
    """What a program that ended well wrote to standard output, and how long it took."""

    stdout: bytes
    duration_ms: int


class ProgramFailed(Exception):
    """The program did not end well. `cause` is one of CAUSES; `detail` is for the log only, never for the caller."""

    CAUSES = ("error", "memory", "cpu", "output", "killed")

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail


class ProgramTimeout(Exception):
    """The program did not end within its wall-clock limit and was killed."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"not done after {limit_s:g} s")
        self.limit_s = limit_s


class GuardFailed(Exception):
    """The sandbox could not lock itself down; nothing of the program has run."""
