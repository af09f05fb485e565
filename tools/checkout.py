"""Other commits of this repository, extracted beside it."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAIN_BRANCHES = ("origin/main", "main")


class UnknownRevision(Exception):
    """Git has no such commit here."""


def git(*arguments: str, repository: Path = ROOT) -> str:
    """Return what git prints, empty when it fails."""
    done = subprocess.run(["git", *arguments], cwd=repository, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def default_revision(repository: Path = ROOT) -> str:
    """Return what users upgrade from: the latest tag before HEAD; without tags, the commit at which this branch left
    main; on main, the commit before HEAD."""
    if tag := git("describe", "--tags", "--abbrev=0", "HEAD~1", repository=repository):
        return tag
    head = git("rev-parse", "HEAD", repository=repository)
    bases = (git("merge-base", "HEAD", branch, repository=repository) for branch in MAIN_BRANCHES)
    return next((base for base in bases if base not in ("", head)), "HEAD~1")


def checked_out(revision: str, folder: Path) -> Path:
    """Return a new folder with the files of a commit. Raises UnknownRevision."""
    done = subprocess.run(["git", "archive", revision], cwd=ROOT, check=False, capture_output=True)
    if done.returncode:
        raise UnknownRevision(f"git archive {revision}: {done.stderr.decode(errors='replace').strip()}")
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", folder], input=done.stdout, check=True)
    return folder
