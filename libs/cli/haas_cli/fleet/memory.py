"""How much memory a process and its children really take: PSS, which counts a shared page once over all sharers."""

import os


def family_pss_mib(pids: list[int]) -> dict[int, float | None]:
    """Returns the PSS of each process with all of its descendants.

    Args:
        pids: The heads of the families; a family that lies inside another one is not counted in the outer one.

    Returns:
        MiB by pid; None where this user may not look, or the process is gone.
    """
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    heads = set(pids)
    found: dict[int, float | None] = {}
    for head in pids:
        members, queue = [], [head]
        while queue:
            pid = queue.pop()
            members.append(pid)
            queue += [child for child in children.get(pid, []) if child not in heads]
        sizes = [_pss_kib(pid) for pid in members]
        known = [size for size in sizes if size is not None]
        found[head] = round(sum(known) / 1024, 1) if known else None
    return found


def _parents() -> dict[int, int]:
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                # The name in parentheses may hold spaces and parentheses itself.
                found[int(entry)] = int(file.read().rsplit(b")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _pss_kib(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1])
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return None
    return None
