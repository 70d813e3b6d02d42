"""The system calls that a sandboxed Python program may make, as a BPF program for x86-64.

An allowlist: what is not named fails with EPERM, so that a program sees an OSError rather than being killed. There is
no socket, no new process or thread, no exec, no signal to others, no mount, no ptrace, no namespace in it: what a
program computes leaves it on standard output only.
"""

import struct

_X86_64_ARCH = 0xC000003E
_X32_BIT = 0x40000000
_EPERM = 1
_RET_ALLOW = 0x7FFF0000
_RET_ERRNO = 0x00050000
_RET_KILL_PROCESS = 0x80000000
# BPF instruction classes: load a 32-bit word at an absolute offset, jump if equal, jump if greater or equal, return.
_LOAD, _JUMP_EQUAL, _JUMP_GE, _RETURN = 0x20, 0x15, 0x35, 0x06
# Offsets in struct seccomp_data: nr, arch, then args[n] (low word first).
_NR, _ARCH, _ARGS = 0, 4, 16

_ALLOWED = {
    # bytes in and out of descriptors that are already open, and of files that the root shows
    "read": 0,
    "write": 1,
    "close": 3,
    "fstat": 5,
    "lseek": 8,
    "pread64": 17,
    "pwrite64": 18,
    "readv": 19,
    "writev": 20,
    "open": 2,
    "stat": 4,
    "lstat": 6,
    "poll": 7,
    "access": 21,
    "select": 23,
    "dup": 32,
    "dup2": 33,
    "fcntl": 72,
    "fsync": 74,
    "fdatasync": 75,
    "ftruncate": 77,
    "getdents": 78,
    "getcwd": 79,
    "chdir": 80,
    "fchdir": 81,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "unlink": 87,
    "symlink": 88,
    "readlink": 89,
    "getdents64": 217,
    "openat": 257,
    "mkdirat": 258,
    "newfstatat": 262,
    "unlinkat": 263,
    "renameat": 264,
    "symlinkat": 266,
    "readlinkat": 267,
    "faccessat": 269,
    "pselect6": 270,
    "ppoll": 271,
    "dup3": 292,
    "pipe2": 293,
    "renameat2": 316,
    "statx": 332,
    "close_range": 436,
    "faccessat2": 439,
    # memory
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "mremap": 25,
    "madvise": 28,
    # its own signals, time, chance
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "sigaltstack": 131,
    "restart_syscall": 219,
    "nanosleep": 35,
    "gettimeofday": 96,
    "times": 100,
    "time": 201,
    "clock_gettime": 228,
    "clock_getres": 229,
    "clock_nanosleep": 230,
    "getrandom": 318,
    # what it may know about itself
    "getpid": 39,
    "uname": 63,
    "getrlimit": 97,
    "getrusage": 98,
    "getuid": 102,
    "getgid": 104,
    "geteuid": 107,
    "getegid": 108,
    "getppid": 110,
    "getgroups": 115,
    "getresuid": 118,
    "getresgid": 120,
    "gettid": 186,
    "sched_getaffinity": 204,
    "sched_yield": 24,
    "getcpu": 309,
    # the C library's own needs
    "futex": 202,
    "set_robust_list": 273,
    "rseq": 334,
    "exit": 60,
    "exit_group": 231,
}
# Calls allowed for some values of one argument only: (number, argument, values).
_PRLIMIT64, _IOCTL = 302, 16
# prlimit64 on oneself (pid 0); on another process of the same uid it would be a way out of the limits.
# ioctl: TCGETS, FIONBIO, FIOCLEX are what opening a file in Python asks; TIOCSTI and the rest stay shut.
_ALLOWED_BY_ARGUMENT = ((_PRLIMIT64, 0, (0,)), (_IOCTL, 1, (0x5401, 0x5421, 0x5451)))


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _argument_rule(number: int, argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Allows `number` where the argument's low word is one of `values`; else EPERM. Leaves others to the next rule."""
    body = [_instruction(_LOAD, _ARGS + 8 * argument)]
    for value in values:
        body += [_instruction(_JUMP_EQUAL, value, 0, 1), _instruction(_RETURN, _RET_ALLOW)]
    body.append(_instruction(_RETURN, _RET_ERRNO | _EPERM))
    return [_instruction(_JUMP_EQUAL, number, 0, len(body)), *body]


def build() -> bytes:
    """Returns the filter as an array of `struct sock_filter`, ready for seccomp(SECCOMP_SET_MODE_FILTER)."""
    program = [
        _instruction(_LOAD, _ARCH),
        _instruction(_JUMP_EQUAL, _X86_64_ARCH, 1, 0),
        _instruction(_RETURN, _RET_KILL_PROCESS),
        _instruction(_LOAD, _NR),
        # The x32 interface shares the architecture's number and would slip past a filter by number.
        _instruction(_JUMP_GE, _X32_BIT, 0, 1),
        _instruction(_RETURN, _RET_KILL_PROCESS),
    ]
    for number in sorted(_ALLOWED.values()):
        program += [_instruction(_JUMP_EQUAL, number, 0, 1), _instruction(_RETURN, _RET_ALLOW)]
    for number, argument, values in _ALLOWED_BY_ARGUMENT:
        program += _argument_rule(number, argument, values)
    program.append(_instruction(_RETURN, _RET_ERRNO | _EPERM))
    return b"".join(program)
