"""A model card: what a version is for, what it was made from, what it is worth, and where it ends.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019 (arXiv:1810.03993): each of its parts is here that
can be told from the record; nobody has to write it, and nobody can forget to.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Characters that end a line, or move a terminal's cursor.
CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+"


@dataclass(frozen=True)
class Section:
    """A part of a card. Everything in it is plain text: whoever shows it escapes it.

    Attributes:
        title: the heading.
        lines: sentences, each a paragraph of its own.
        columns, rows: a table below them; none where there are no columns.
        commands: what to type.
    """

    title: str
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """What a card is about; all of it as JSON holds it.

    Attributes:
        description, owners: of the project.
        record: the version's.
        evaluation: the version's; None where there is none.
        history: entries of the ledger that name the version, oldest first.
        stage: the version's.
        warning: what must be said of where its rows came from; None where all are real.
        export: what is known of its ONNX file; None where there is none.
    """

    description: str
    owners: Sequence[str]
    record: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None
    history: Sequence[Mapping[str, Any]]
    stage: str
    warning: str | None = None
    export: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """`PROJECT@N`."""
        return f"{self.record['project']}@{self.record['number']}"


def card_of(subject: Subject) -> list[Section]:
    """The card of a version, section by section."""
    made = [_purpose(subject), _data(subject), _features(subject), *_metrics(subject), _history(subject)]
    return [*made, _leakage(subject), _limits(subject), _rebuild(subject)]


def as_markdown(name: str, sections: Sequence[Section]) -> str:
    """A card as Markdown; what comes from data or people is text there, never markup."""
    parts = [f"# Model card of {_escaped(name)}"]
    for section in sections:
        parts.append(f"## {_escaped(section.title)}")
        parts += [_escaped(line) for line in section.lines]
        if section.columns:
            table = [section.columns, tuple("---" for _ in section.columns)]
            lines = [" | ".join(table[0]), " | ".join(table[1])]
            lines += [" | ".join(_escaped(cell) for cell in row) for row in section.rows]
            parts.append("\n".join(f"| {line} |" for line in lines))
        parts += [f"    {' '.join(command.split())}" for command in section.commands]
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Text in which Markdown sees no markup, HTML no tag, and a table no further cell."""
    plain = re.sub(CONTROL, " ", text).strip()
    marked = re.sub(r"([\\`*\[\]<>|&#!~$])", r"\\\1", plain)
    # Within a word an underscore means nothing, and names are full of them.
    marked = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", marked)
    # At the beginning of a line these would make a list or a rule.
    return re.sub(r"^(\d+)(?=[.)](?:\s|$))|^(?=[-+=])", r"\1\\", marked)


def _purpose(subject: Subject) -> Section:
    record = subject.record
    question = f"It predicts {record['target']} ({record['task']})."
    classes = record.get("classes") or ()
    if classes:
        question = f"It predicts {record['target']} ({record['task']}): {', '.join(classes)}."
    facts = [
        ("Project", record["project"]),
        ("Owned by", ", ".join(subject.owners) or "nobody said"),
        ("Stage", subject.stage),
        ("Made", f"{record['created_at'][:16].replace('T', ' ')} UTC"),
        ("Estimator", record["estimator"]),
        ("Parameters", json.dumps(record["parameters"], sort_keys=True, ensure_ascii=False)),
        ("Seed", str(record["seed"])),
        ("Parent", f"version {record['parent']}" if record["parent"] else "none"),
        ("Model file", f"SHA-256 {record['artefact']}"),
    ]
    if subject.export:
        agreed = f"agrees on {subject.export['rows']:,} rows, by {subject.export['greatest']:.3g} at most"
        facts.append(("ONNX file", f"{agreed}; SHA-256 {subject.export['sha256']}"))
    return Section("Purpose", (subject.description, question), ("what", "value"), tuple(facts))


def _data(subject: Subject) -> Section:
    chosen = subject.record["training_set"]
    facts = [
        ("Snapshot of the lake", str(chosen["snapshot"])),
        ("Learnt from", _range(chosen["train"])),
        ("Judged on", _range(chosen["test"])),
        ("Rows", f"{chosen['rows']:,}"),
        ("Content", f"SHA-256 {chosen['content_hash']}"),
    ]
    if chosen.get("holdout"):
        facts.insert(3, ("Held back from every choice", _range(chosen["holdout"])))
    if chosen.get("test_share"):
        facts.append(("Held out by chance", f"{chosen['test_share']:.0%} of the rows, seed {chosen['seed']}"))
    return Section("Data", (subject.warning,) if subject.warning else (), ("what", "value"), tuple(facts))


def _features(subject: Subject) -> Section:
    return Section("Features", (), ("feature", "read as"), tuple(subject.record["features"].items()))


def _metrics(subject: Subject) -> Iterator[Section]:
    stored = subject.evaluation
    if stored is None:
        yield Section("Metrics", ("It has not been evaluated.",))
        return
    metrics, intervals = stored["metrics"], stored.get("intervals", {})
    rows = [
        (name, _figure(value), _figure(metrics["test"].get(name)), _interval(intervals.get(name)))
        for name, value in metrics["train"].items()
    ]
    lines = ("On rows that it has learnt from, and on those held out, which it has not.",)
    yield Section("Metrics", lines, ("metric", "train", "test", "interval of test"), tuple(rows))
    gates = [(gate["demand"], _figure(gate["value"]), passed(gate)) for gate in stored["gates"]]
    if gates:
        yield Section("Gates", (), ("gate", "reached", "verdict"), tuple(gates))
    else:
        yield Section("Gates", ("None is declared.",))
    watched = stored.get("watched", "")
    if baselines := stored.get("baselines"):
        columns = ("baseline", watched, "beaten", "p")
        yield Section("Baselines", (), columns, tuple(_baseline(one, watched) for one in baselines))
    if slices := stored.get("slices"):
        columns = ("slice", "rows", watched, "interval")
        yield Section("Slices", (), columns, tuple(_slice(one, watched) for one in slices))
    if stored.get("fit"):
        yield Section("Fit", tuple(one["said"] for one in stored["fit"]))


def passed(gate: Mapping[str, Any]) -> str:
    """Whether a gate was passed, in words."""
    if gate.get("waiver"):
        return f"waived: {gate['waiver']}"
    return "passed" if gate["passed"] else "not passed"


def _baseline(one: Mapping[str, Any], watched: str) -> tuple[str, ...]:
    """A rung of the ladder: its title, its error, and whether the version beats it by more than noise."""
    if "left_out" in one:
        return one["title"], one["left_out"], "", ""
    beaten = "yes" if one["beaten"] else "no"
    return one["title"], _figure(one["metrics"].get(watched)), beaten, f"{one['p_value']:.2g}"


def _slice(one: Mapping[str, Any], watched: str) -> tuple[str, ...]:
    interval = _interval(one["intervals"].get(watched))
    return one["title"], _figure(one["rows"]), _figure(one["metrics"].get(watched)), interval


def _history(subject: Subject) -> Section:
    rows = tuple(
        (f"{entry['at'][:16].replace('T', ' ')} UTC", entry["kind"], entry["reason"]) for entry in subject.history
    )
    if not rows:
        return Section("History", ("The ledger does not name it.",))
    return Section("History", (), ("when", "what", "why"), rows)


def _leakage(subject: Subject) -> Section:
    found = subject.record["training_set"].get("leakage") or ()
    if not found:
        return Section("Leakage", ("No waiver is on record.",))
    rows = tuple((one.get("name", ""), one.get("words", ""), one.get("waived", "")) for one in found)
    return Section("Leakage", ("Found, and waived for a written reason.",), ("what", "found", "waived because"), rows)


def _limits(subject: Subject) -> Section:
    record = subject.record
    chosen, kinds = record["training_set"], record["features"]
    lines = [
        f"It has learnt nothing later than {chosen['train'][-1]}, and was judged on {_range(chosen['test'])} only."
    ]
    if "category" in kinds.values():
        lines.append("A category that it has never seen is to it one that is missing, or none at all.")
    if "text" in kinds.values():
        lines.append("Of text it reads words, not their order; words that it has not learnt it does not see.")
    if subject.stage != "champion":
        lines.append(f"It does not serve: its stage is {subject.stage}.")
    failed = [gate["demand"] for gate in (subject.evaluation or {}).get("gates", ()) if not gate["passed"]]
    if failed:
        lines.append(f"It has not reached what was demanded: {'; '.join(failed)}.")
    if subject.warning:
        lines.append(subject.warning)
    return Section("Limits", tuple(lines))


def _rebuild(subject: Subject) -> Section:
    record = subject.record
    hashes = record["hashes"]
    facts = [(f"Hash of {name}", value) for name, value in sorted(hashes.items()) if name != "git"]
    if "git" in hashes:
        facts.insert(0, ("Commit", hashes["git"]))
    if record.get("threads"):
        facts.append(("Threads", str(record["threads"])))
    facts += [(name, value) for name, value in {**record.get("environment", {}), **record["packages"]}.items()]
    lines = ("From its record, its snapshot and the libraries below; every bit is compared.",)
    return Section("How to rebuild", lines, ("what", "value"), tuple(facts), (f"ml-assets rebuild {subject.name}",))


def _range(keys: Sequence[str]) -> str:
    return " … ".join(dict.fromkeys((keys[0], keys[-1]))) if keys else "nothing"


def _figure(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _interval(bounds: Sequence[float] | None) -> str:
    return " … ".join(map(_figure, bounds)) if bounds else "\N{EN DASH}"
