"""The lock of the second rules: `python data/paper/lock.py` writes `rules.lock`, with today's day, before the study has
a score. It never replaces a lock unless told so (`--overwrite`): once results are known, a rule is revised (its
entry `revised` in claims.toml) and not locked anew. A test asks what differs from the lock (`changed`).
"""

import hashlib
import sys
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

from vwlib.files import write_whole
from vwlib.ledger.before import FIRST_EDITION, PREDICTIONS
from vwlib.ledger.claims import CLAIMS, digest_of, load_checks, load_claims, load_settings

LOCK = Path(__file__).with_name("rules.lock")
HEAD = """# The second rules as they were on the day below, before a score of the second edition's study: digests of
# what each decides by (words do not count), of checks and settings, and of whole files. lock.py wrote it.
"""


def digests(claims: Path = CLAIMS, predictions: Path = PREDICTIONS) -> dict[str, dict[str, str]]:
    """The digests of all that is locked, by kind and name."""
    words = {"sentence": True, "at_least": {"__all__": {"quantity"}}}
    files = [predictions, *sorted(FIRST_EDITION.glob("*.*"))]
    return {
        "rules": {str(claim.id): claim.digest for claim in load_claims(claims)},
        "checks": {name: digest_of(check.model_dump(exclude=words)) for name, check in load_checks(claims).items()},
        "settings": {"settings": digest_of(load_settings(claims).model_dump(mode="json"))},
        "files": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }


def changed(claims: Path = CLAIMS, lock: Path = LOCK, predictions: Path = PREDICTIONS) -> list[str]:
    """What is not as it was locked, such as "rules 30", but for rules that were revised on a later day and say why."""
    locked, now = tomllib.loads(lock.read_text()), digests(claims, predictions)
    revised = {str(claim.id) for claim in load_claims(claims) if claim.revised and claim.revised.on > locked["locked"]}
    return [
        f"{kind} {name}"
        for kind, found in now.items()
        for name in sorted(found.keys() | locked[kind].keys())
        if found.get(name) != locked[kind].get(name) and not (kind == "rules" and name in revised)
    ]


def write_lock(day: date, lock: Path = LOCK, overwrite: bool = False) -> Path:
    """Lock the rules as they are. Raises FileExistsError for a lock that exists, unless it may be overwritten."""
    if lock.exists() and not overwrite:
        raise FileExistsError(f"{lock.name} exists; --overwrite replaces it, which is for days before results only.")
    tables = [
        "\n".join([f"\n[{kind}]", *(f'"{name}" = "{digest}"' for name, digest in found.items())])
        for kind, found in digests().items()
    ]
    write_whole(lock, f"{HEAD}locked = {day.isoformat()}\n{chr(10).join(tables)}\n".encode())
    return lock


if __name__ == "__main__":
    print(f"Locked in {write_lock(datetime.now(UTC).date(), overwrite='--overwrite' in sys.argv[1:])}.")
