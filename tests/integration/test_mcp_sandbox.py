"""Attacks from inside the sandbox, on every rung that this machine allows."""
# ruff: noqa: ASYNC221 - a test looks at the file system between its awaits

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from haas_common.errors import SandboxUnavailable
from haas_mcp.sandbox import Limits, Program, ProgramFailed, ProgramTimeout, Sandbox, guard_exit, rungs, runner

# Each runs ATTACK; "held" means that the kernel refused it.
_FRAME = """
import os, sys, socket, ctypes
def attack():
{attack}
try:
    leaked = attack()
except (OSError, ValueError) as error:
    print("held", type(error).__name__, end="")
else:
    print("LEAKED", repr(leaked)[:200], end="")
"""

_REFUSED = {
    "read_shadow": "return open('/etc/shadow').read()",
    "read_passwd": "return open('/etc/passwd').read()",
    "read_secret_of_the_service": "return open({secret!r}).read()",
    "list_folder_of_the_service": "return os.listdir({folder!r})",
    "read_own_environment_by_proc": "return open('/proc/self/environ').read()",
    "read_parent_environment": "return open(f'/proc/{{os.getppid()}}/environ').read()",
    "write_outside": "return open('/tmp/escaped', 'w').write('x')",
    "write_to_root": "return open('/escaped', 'w').write('x')",
    "write_to_library": "return open(os.__file__, 'a').write('x')",
    "connect_loopback": "return socket.create_connection(('127.0.0.1', {port}), 2)",
    "connect_outside": "return socket.create_connection(('1.1.1.1', 53), 2)",
    "connect_unix_path": "s = socket.socket(socket.AF_UNIX); s.connect({unix!r}); return 'connected'",
    "connect_unix_abstract": "s = socket.socket(socket.AF_UNIX); s.connect('\\0' + {abstract!r}); return 'connected'",
    "socket_pair": "return socket.socketpair()",
    "packet_socket": "return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "netlink_socket": "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "fork": "return os.fork()",
    "spawn": "return os.posix_spawn('/bin/sh', ['sh', '-c', 'true'], {{}})",
    "exec": "return os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])",
    "signal_everyone": "return os.kill(-1, 15)",
    "signal_parent": "return os.kill(os.getppid(), 9)",
    "become_root": "return os.setuid(0)",
    "chroot": "return os.chroot('/')",
    "change_mode": "return os.chmod(os.getcwd(), 0o777)",
    "hard_link": "return os.link(os.__file__, 'copy')",
    "read_through_symlink": "os.symlink('/etc/shadow', 'innocent'); return open('innocent').read()",
    "read_through_descriptor_link": "return open('/proc/self/root/etc/shadow').read()",
    "read_above_by_dots": "return open('../../../../../../etc/shadow').read()",
    "raise_own_limit": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (100, 100)); return os.fork()",
    "memory_of_another": "return open('/proc/1/mem', 'rb').read(1)",
    "anonymous_file": "return os.memfd_create('x')",
    "make_device": "return os.mknod('disk', 0o60600, os.makedev(8, 0))",
}
# By number, past Python's own wrappers: the result is -1 and EPERM (1) is the errno.
_SYSTEM_CALLS = {
    "ptrace": 101, "mount": 165, "unshare": 272, "setns": 308, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
    "keyctl": 250, "clone3": 435, "clone": 56, "vfork": 58, "process_vm_readv": 310, "personality": 135,
    "open_by_handle_at": 304,
    "perf_event_open": 298, "init_module": 175, "socket": 41, "pidfd_open": 434, "prctl": 157, "fsopen": 430,
}  # fmt: skip


@pytest.fixture(params=["bubblewrap", "landlock"])
async def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    sandbox = await Sandbox.open(slots=2, ladder=(request.param,))
    if not sandbox.rung:
        pytest.skip(sandbox.describe())
    return sandbox


@pytest.fixture
async def surroundings(tmp_path: Path):
    """A secret, a TCP server and unix sockets that a program must not reach."""
    secret = tmp_path / "secret.txt"
    secret.write_text("top secret")
    secret.chmod(0o644)
    servers = [await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)]
    short = Path(f"/tmp/haas-test-{os.getpid()}.sock")
    servers.append(await asyncio.start_unix_server(lambda r, w: w.close(), path=str(short)))
    short.chmod(0o777)
    name = f"haas-test-{os.getpid()}"  # abstract names are the whole machine's: each worker has its own
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{name}")
    abstract.listen()
    values = {
        "secret": str(secret),
        "folder": str(tmp_path),
        "unix": str(short),
        "abstract": name,
        "port": servers[0].sockets[0].getsockname()[1],
    }
    yield values
    for server in servers:
        server.close()
    abstract.close()
    short.unlink(missing_ok=True)


@pytest.mark.parametrize("name", sorted(_REFUSED))
async def test_an_attack_from_inside_is_refused(sandbox: Sandbox, surroundings: dict, name: str) -> None:
    attack = "    " + _REFUSED[name].format(**surroundings)
    output = await sandbox.run(Program(_FRAME.format(attack=attack), {}))
    assert output.stdout.startswith(b"held"), output.stdout
    assert Path(surroundings["secret"]).read_text() == "top secret"
    assert not Path("/tmp/escaped").exists()


async def test_the_same_attack_succeeds_outside_the_sandbox(surroundings: dict) -> None:
    attack = "    " + _REFUSED["read_secret_of_the_service"].format(**surroundings)
    command = [sys.executable, "-c", _FRAME.format(attack=attack)]
    assert subprocess.run(command, capture_output=True, check=True).stdout.startswith(b"LEAKED 'top secret'")


async def test_system_calls_outside_the_list_are_refused(sandbox: Sandbox) -> None:
    program = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {_SYSTEM_CALLS!r}.items():
    result = libc.syscall(number, 0, 0, 0, 0, 0)
    if result != -1 or ctypes.get_errno() != 1:
        print(name, result, ctypes.get_errno())
"""
    output = await sandbox.run(Program(program, {}))
    assert output.stdout == b""


async def test_the_program_runs_without_root_capabilities_or_environment(sandbox: Sandbox) -> None:
    program = """
import json, os
def _closed(number):
    try:
        os.fstat(number)
    except OSError:
        return True
print(json.dumps({"ids": [os.getuid(), os.geteuid(), os.getgid()], "groups": os.getgroups(),
 "environment": sorted(os.environ),
 "descriptors": [n for n in range(3, 64) if not _closed(n)]}))
"""
    facts = json.loads((await sandbox.run(Program(program, {}))).stdout)
    assert 0 not in facts["ids"]
    assert facts["groups"] == [] or os.getuid() != 0
    assert set(facts["environment"]) <= {"LC_CTYPE", "PWD"}
    assert facts["descriptors"] == []


async def test_a_memory_bomb_ends_at_the_limit(sandbox: Sandbox) -> None:
    limits = Limits(memory_bytes=128 << 20)
    with pytest.raises(ProgramFailed) as failed:
        await sandbox.run(Program("x = []\nwhile True: x.append(bytearray(1 << 20))", {}), limits=limits)
    assert failed.value.cause == "memory"


async def test_a_disk_bomb_ends_at_the_size_of_the_work_folder(sandbox: Sandbox) -> None:
    program = """
written = 0
try:
    for number in range(100):
        with open(f"fill{number}", "wb") as file:
            for _ in range(4):
                written += file.write(bytes(1 << 20))
except OSError:
    pass
print(written)
"""
    output = await sandbox.run(Program(program, {}), limits=Limits(work_bytes=8 << 20))
    assert int(output.stdout) <= 8 << 20


async def test_an_endless_sleep_is_killed_at_the_wall_limit(sandbox: Sandbox) -> None:
    with pytest.raises(ProgramTimeout):
        await sandbox.run(Program("import time; time.sleep(600)", {}), limits=Limits(wall_s=0.5))


async def test_an_endless_loop_is_killed_at_the_cpu_limit(sandbox: Sandbox) -> None:
    with pytest.raises(ProgramFailed) as failed:
        await sandbox.run(Program("while True: pass", {}), limits=Limits(wall_s=20, cpu_s=1))
    assert failed.value.cause == "cpu"


async def test_a_program_that_ignores_signals_still_ends(sandbox: Sandbox) -> None:
    program = "import signal\nfor n in (1, 2, 15, 24): signal.signal(n, signal.SIG_IGN)\nwhile True: pass"
    with pytest.raises(ProgramFailed) as failed:
        await sandbox.run(Program(program, {}), limits=Limits(wall_s=20, cpu_s=1))
    assert failed.value.cause == "killed"


async def test_an_output_flood_is_cut_and_killed(sandbox: Sandbox) -> None:
    started = time.monotonic()
    with pytest.raises(ProgramFailed) as failed:
        await sandbox.run(
            Program("import sys\nwhile True: sys.stdout.write('x' * 65536)", {}), limits=Limits(output_bytes=1 << 16)
        )
    assert failed.value.cause == "output"
    assert time.monotonic() - started < 10


async def test_an_error_flood_does_not_fill_memory(sandbox: Sandbox) -> None:
    program = "import sys\nfor _ in range(1000): sys.stderr.write('x' * 65536)\nprint('done', end='')"
    assert (await sandbox.run(Program(program, {}))).stdout == b"done"


async def test_input_arrives_whole(sandbox: Sandbox) -> None:
    payload = os.urandom(3 << 20)
    program = "import sys, hashlib\nprint(hashlib.sha256(sys.stdin.buffer.read()).hexdigest(), end='')"
    assert (await sandbox.run(Program(program, {}), payload)).stdout.decode() == hashlib.sha256(payload).hexdigest()


async def test_an_error_of_the_program_is_reported_for_the_log(sandbox: Sandbox) -> None:
    with pytest.raises(ProgramFailed) as failed:
        await sandbox.run(Program("1 / 0", {}))
    assert failed.value.cause == "error"
    assert "ZeroDivisionError" in failed.value.detail


async def test_cancelling_the_caller_kills_the_child(sandbox: Sandbox) -> None:
    before = _children(os.getpid())
    running = asyncio.create_task(sandbox.run(Program("import time\nprint('up', flush=True)\ntime.sleep(600)", {})))
    await asyncio.sleep(0)  # one turn of the loop: the start itself does not wait
    started = _children(os.getpid()) - before
    assert len(started) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not started & _children(os.getpid())


async def test_two_runs_share_no_uid_and_wait_for_a_slot(sandbox: Sandbox) -> None:
    outputs = await asyncio.gather(*(sandbox.run(Program("import os; print(os.getuid())", {})) for _ in range(5)))
    uids = {int(output.stdout) for output in outputs}
    assert uids <= ({rungs.UID_BASE, rungs.UID_BASE + 1} if os.getuid() == 0 else {os.getuid()})


async def test_without_a_rung_nothing_runs() -> None:
    sandbox = await Sandbox.open(ladder=())
    with pytest.raises(SandboxUnavailable):
        await sandbox.run(Program("print(1)", {}))
    assert sandbox.describe().startswith("none")


async def test_a_rung_that_leaks_is_not_taken_and_its_fault_stays_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PROBE", "print('[\"shadow\"]')")
    sandbox = await Sandbox.open()
    assert "leaks: shadow" in sandbox.describe()
    with pytest.raises(SandboxUnavailable) as refused:
        await sandbox.run(Program("print(1)", {}))
    assert refused.value.metadata == {"tried": "bubblewrap, landlock"}


async def test_a_guard_that_cannot_lock_itself_down_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = await Sandbox.open()
    monkeypatch.setattr(sandbox, "_filter", "00" * 8)
    with pytest.raises(SandboxUnavailable):
        await sandbox.run(Program("print(1)", {}))


async def test_the_guard_and_the_runner_agree_on_exit_codes() -> None:
    line = f"EXIT_PROGRAM, EXIT_MEMORY, EXIT_GUARD = {guard_exit.PROGRAM}, {guard_exit.MEMORY}, {guard_exit.GUARD}"
    assert line in rungs.guard_source().decode()


def _children(parent: int) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}
