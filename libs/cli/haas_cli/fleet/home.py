"""The state folder of one fleet: everything it writes lies below it."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from haas_cli.errors import FleetError


@dataclass(frozen=True, slots=True)
class Home:
    """Names the places of a fleet.

    Attributes:
        root: HAAS_HOME, or `.haas` in the checkout; absolute.
    """

    root: Path

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Home":
        """Returns the home that the environment names, else the checkout's `.haas`, else the working directory's."""
        named = (os.environ if environ is None else environ).get("HAAS_HOME", "").strip()
        if named:
            return cls(Path(named).expanduser().absolute())
        checkout = Path(__file__).resolve().parents[4]
        return cls((checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / ".haas")

    @property
    def run(self) -> Path:
        """What is true only while the fleet runs: lock, ports, process ids."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """A file per part."""
        return self.root / "log"

    @property
    def secrets(self) -> Path:
        """Keys, certificates, passwords; a folder per service."""
        return self.root / "secrets"

    @property
    def store(self) -> Path:
        """The artifact store's blobs."""
        return self.root / "store"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor for its whole life."""
        return self.run / "fleet.lock"

    @property
    def state_file(self) -> Path:
        """What `haas status` reads."""
        return self.run / "fleet.json"

    def make(self) -> None:
        """Makes the folders.

        Raises:
            FleetError: They cannot be made.
        """
        try:
            self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
            for folder in (self.run, self.log, self.secrets, self.store):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FleetError(f"The state folder {self.root} cannot be made ({error.strerror}).") from error


def kept_password(path: Path) -> str:
    """Returns the password of a file; makes both, 0600, when there is none.

    The file appears whole or not at all, and of two makers one wins.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        try:
            os.link(scratch, path)
        except FileExistsError:
            return path.read_text()
    finally:
        scratch.unlink()
    return path.read_text()
