"""Whether the record is what was written: the ledger's chain, its heads kept outside of the lake, the versions' files.

Every entry carries the hash of the one before, so an edit, a removal, an insertion or another order breaks the chain,
unless everything after it is written anew; and a chain that was cut short at its end is still a chain. For both, each
append leaves a line in a file beside the lake: the number and hash of the newest entry. Whoever can rewrite the ledger,
that file and the versions' folders can rewrite history unseen: only a head that was noted elsewhere tells then.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ml_assets.registry.export import ONNX, is_exported_as_told
from ml_assets.registry.ledger import VERDICTS, heads_file, newest_id, read_all, read_new, seal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_assets.lake.connection import Lake
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Registry

# Bytes of a line of the heads: a number, a colon, 64 hex digits and the end of the line.
LONGEST_HEAD = 19 + 1 + 64 + 1


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        entries: entries of the ledger, of all projects.
        versions: versions whose files were held against the ledger.
        head: number and hash of the newest entry, `ID:HASH`; "" where there is none.
        findings: what is not as it was written, a sentence each; none where all is.
    """

    entries: int
    versions: int
    head: str
    findings: tuple[str, ...]


def verify(lake: Lake, registry: Registry, head: str = "") -> Audit:
    """Hold the whole ledger and all versions against each other.

    Args:
        lake: holds the ledger.
        registry: holds the versions.
        head: `ID:HASH`, noted at an earlier audit; "" where there is none.

    Raises:
        ValueError: if the head is none.
    """
    heads = _read_heads(lake)
    with lake.reader() as cursor:
        entries = read_all(cursor)
    noted = [_read_head(head)] if head else []
    findings = [
        *_chain(entries),
        *_heads(lake, heads, entries),
        *(_missing(number, sealed, entries, "the head that was noted") for number, sealed in noted),
        *_versions(registry, entries),
    ]
    newest = f"{entries[-1].id}:{entries[-1].hash}" if entries else ""
    checked = len({(one.project, one.version) for one in entries if one.kind == "registered"})
    return Audit(len(entries), checked, newest, tuple(filter(None, findings)))


@dataclass(frozen=True)
class Chain:
    """Whether the newest entries of the ledger follow one on another.

    Attributes:
        entries: of the ledger, of all projects.
        checked: how many of them were held against each other: the newest.
        findings: what is not as it was written; none where all is.
    """

    entries: int
    checked: int
    findings: tuple[str, ...]


def verify_newest(lake: Lake, most: int) -> Chain:
    """Hold the newest entries against each other and against the heads kept beside the lake: fast enough for a page.

    Args:
        lake: holds the ledger.
        most: so many entries are looked at.
    """
    heads = _read_heads(lake, most)
    with lake.reader() as cursor:
        newest = newest_id(cursor)
        after = max(0, newest - most)
        entries = read_new(cursor, after)
    findings = [*_chain(entries, after), *_heads(lake, heads, entries, after)]
    return Chain(newest, len(entries), tuple(filter(None, findings)))


def _read_head(head: str) -> tuple[int, str]:
    number, _, sealed = head.partition(":")
    if not number.isdecimal() or len(sealed) != 64:  # noqa: PLR2004 - a SHA-256
        raise ValueError(f"--head {head}: expected what an audit has printed: a number, a colon and 64 hex digits")
    return int(number), sealed


def _chain(entries: Sequence[Entry], after: int = 0) -> list[str]:
    """What is wrong with the chain, from the entry after one: each finding names the entry where it shows."""
    findings, previous = [], entries[0].previous if entries and after else ""
    for expected, entry in enumerate(entries, after + 1):
        if entry.id != expected:
            findings.append(f"entry {entry.id} stands where entry {expected} should: entries were removed or inserted")
            break  # all that follow are shifted
        if entry.hash != seal(asdict(entry)):
            findings.append(f"entry {entry.id} ({_named(entry)}) is not what was written: its hash does not fit it")
        if entry.previous != previous:
            findings.append(f"entry {entry.id} ({_named(entry)}) does not follow entry {entry.id - 1} as it stands now")
        previous = entry.hash
    return findings


def _named(entry: Entry) -> str:
    version = f" version {entry.version}" if entry.version else ""
    return f"{entry.kind} of {entry.project}{version}, {entry.at}"


def _read_heads(lake: Lake, most: int = 0) -> list[tuple[str, str]] | None:
    """The heads kept outside of the lake. To be read before the ledger: entries written in between have none yet.

    Args:
        lake: they are kept beside it.
        most: no more than the heads of so many entries are needed, the newest; 0 for all.

    Returns:
        Where each line stands, and its text; None where there is no file.
    """
    file = heads_file(lake)
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        start = max(0, opened.seek(0, os.SEEK_END) - (most + 1) * LONGEST_HEAD) if most else 0
        opened.seek(start)
        lines = opened.read().decode(errors="replace").splitlines()
    if start:  # amid a line
        return [(f"{file}, near its end", text) for text in lines[1:]]
    return [(f"{file}, line {line}", text) for line, text in enumerate(lines, 1)]


def _heads(lake: Lake, heads: list[tuple[str, str]] | None, entries: Sequence[Entry], after: int = 0) -> list[str]:
    """What the heads say that were kept outside of the lake, of the entries after one."""
    file = heads_file(lake)
    if heads is None:
        missing = f"{file} is missing: without the heads kept there, entries cut off the end are not noticed"
        return [missing] if entries else []
    findings = []
    for where, text in heads:
        try:
            number, sealed = _read_head(text)
        except ValueError:
            findings.append(f"{where}: this is no head: it was edited, or the machine failed while writing")
            continue
        if number > after:
            findings.append(_missing(number, sealed, entries, where, after))
    return findings


def _missing(number: int, sealed: str, entries: Sequence[Entry], where: str, after: int = 0) -> str:
    """What is wrong with an entry that a head names; "" where nothing is."""
    if not after < number <= after + len(entries):
        last = after + len(entries)
        return f"entry {number} is gone: the ledger ends at entry {last}, and {where} names entry {number}"
    if entries[number - after - 1].hash != sealed:
        return f"entry {number} is another than {where} names: the ledger was written anew from there or before"
    return ""


def _versions(registry: Registry, entries: Sequence[Entry]) -> list[str]:
    """Versions that the ledger names and whose files are others, or gone."""
    findings: list[str] = []
    told: dict[tuple[str, int], Entry] = {}
    for entry in entries:
        name = (entry.project, entry.version)
        if entry.kind == "registered" and told.setdefault(name, entry) != entry:
            findings.append(f"entry {entry.id} ({_named(entry)}): it was registered in entry {told[name].id} already")
        if entry.kind in VERDICTS and name not in told:
            findings.append(f"entry {entry.id} ({_named(entry)}): it was judged, and had not been registered")
    for (project, number), entry in told.items():
        if number not in registry.numbers(project):
            findings.append(f"{project} version {number} is registered, and its folder is gone")
            continue
        facts, found = entry.facts, registry.hashes(project, number)
        findings += [
            f"{registry.folder / project / str(number)}: its {name} is not the one that was registered"
            for name in ("record", "artefact")
            if facts.get(name, found[name]) != found[name]
        ]
        if not is_exported_as_told(registry.folder / project / str(number)):
            findings.append(
                f"{registry.folder / project / str(number)}: its {ONNX} is gone, or not the one that was exported. "
                f"Remedy: export it again, `ml-assets models export {project}@{number} --onnx FILE`"
            )
    return findings
