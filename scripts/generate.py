"""Generates everything that comes from the contracts: `make gen`. A house test runs it and compares.

Writes gen/python/{haas,buf} (stubs), gen/python/haas/api.binpb (the descriptor set for Envoy, without comments).
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(*argv: str) -> None:
    """Runs a command from the root; a failure ends the generation with its own words."""
    done = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(argv[:4])} …\n{done.stdout}{done.stderr}")


def services(path: pathlib.Path) -> bool:
    """Whether a proto file defines a service (others need no grpc stub)."""
    return any(line.startswith("service ") for line in path.read_text().splitlines())


def generate(out: pathlib.Path) -> None:
    """Generates into `out` (a fresh folder)."""
    bin_dir = pathlib.Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as scratch:
        image = f"{scratch}/api.binpb"
        run(str(bin_dir / "buf"), "build", "--as-file-descriptor-set", "-o", image)
        ours = sorted(p.relative_to(ROOT / "proto") for p in (ROOT / "proto").rglob("*.proto"))
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={image}"]
        run(*protoc, f"--python_out={out}", f"--pyi_out={out}", *map(str, ours), "buf/validate/validate.proto")
        with_service = [str(p) for p in ours if services(ROOT / "proto" / p)]
        run(*protoc, f"--grpc_python_out={out}", *with_service)
        slim = str(out / "haas" / "api.binpb")
        run(str(bin_dir / "buf"), "build", "--as-file-descriptor-set", "--exclude-source-info", "-o", slim)
    for folder in [p for p in out.rglob("*") if p.is_dir()]:
        (folder / "__init__.py").touch()
    (out / "haas" / "py.typed").touch()


def main() -> None:
    """Replaces gen/python by a fresh generation."""
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "python"
        out.mkdir()
        generate(out)
        target = ROOT / "gen" / "python"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(out, target)


if __name__ == "__main__":
    main()
