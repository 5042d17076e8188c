"""Small tables of many kinds: each becomes a project by `ml-assets new`, and a trained model, unedited."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
import pytest
from small_market import Market

from ml_assets.assets.source import held_by_source
from ml_assets.component import build_definitions
from ml_assets.history import backfill
from ml_assets.lake.resource import shared_lake
from ml_assets.projects import check_projects, load_projects, without_warnings_of_dagster_itself
from ml_assets.scaffold.scaffolder import Made, Wanted, new_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_assets.project import Project

# Dagster's own loader of components uses what pydantic calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")

NAME = "flats"
START = datetime(2023, 1, 1)  # noqa: DTZ001 - naive UTC


@dataclass(frozen=True)
class Scaffolded:
    """A project that was written and filled, and what was told of it."""

    made: Made
    project: Project
    market: Market

    def text(self, name: str) -> str:
        (path,) = [path for path in self.made.files if path.name == name and (name != "__init__.py")]
        return path.read_text(encoding="utf-8")


Scaffold = Callable[..., Scaffolded] if TYPE_CHECKING else Any


@pytest.fixture
def scaffold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scaffold:
    """Write a file into the data folder of an empty folder, scaffold, check, and backfill all that it holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ML_ASSETS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    (tmp_path / "data").mkdir()

    def run(
        content: str | bytes | pl.DataFrame,
        target: str,
        *,
        file: str = "table.csv",
        verdict: str = "promoted",
        **options: Any,
    ) -> Scaffolded:
        path = tmp_path / "data" / file
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        made = new_project(NAME, Wanted.model_validate({"from": file, "target": target, **options}))
        assert check_projects(NAME) == {NAME: []}
        assert made.lines <= 60
        project = load_projects()[NAME]
        shared_lake.cache_clear()
        with without_warnings_of_dagster_itself():
            defs = build_definitions(project)
        market = Market(tmp_path, project, defs, dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)))
        held = [project.key_of(start) for start in held_by_source(project, market.lake)]
        backfill(market.instance, defs, market.book(), project, first=held[0], last=held[-1], say=lambda _: None)
        assert [entry.kind for entry in market.ledger("registered", "promoted", "rejected")] == [
            "registered",
            verdict,
        ]
        return Scaffolded(made, project, market)

    return run


def csv_of(rows: list[dict[str, Any]], delimiter: str = ",", padded: str = "") -> str:
    header = delimiter.join(f"{padded}{name}{padded}" for name in rows[0])
    return "\n".join([header, *(delimiter.join(map(str, row.values())) for row in rows), ""])


def sales(rows: int = 400, seed: int = 1) -> list[dict[str, Any]]:
    made = random.Random(seed)
    found = []
    for number in range(rows):
        area, rooms, town = made.uniform(30, 150), made.randint(1, 5), made.choice(["East", "West", "North"])
        price = 2000 * area + 9000 * rooms + (5000 if town == "East" else 0) + made.gauss(0, 4000)
        found.append({"nr": number + 1, "area": round(area, 1), "rooms": rooms, "town": town, "price": round(price)})
    return found


def quarantined(market: Market) -> int:
    return market.table("quarantine").height if "quarantine" in market.tables() else 0


def test_a_table_without_times_is_one_partition_whose_rows_are_held_out_by_chance(scaffold: Scaffold) -> None:
    found = scaffold(csv_of(sales()), "price")

    assert (found.project.partitions.grain, found.project.task) == ("none", "regression")
    assert "nr is left out of features.sql: it names rows: 400 values in 400 rows" in found.made.warnings
    assert "unique=True" in found.text("schema.py")
    assert quarantined(found.market) == 0
    assert set(found.market.columns("features")) >= {"area", "rooms", "town", "price"}
    assert "nr" not in found.market.columns("features")


def test_padded_headers_blank_rows_and_thousands_separators_are_dealt_with(scaffold: Scaffold) -> None:
    lines = [" Units Sold , Sale Price ,Segment, Gross Sales ,Note"]
    made = random.Random(2)
    for number in range(600):
        units, price = made.uniform(200, 4000), made.choice([7, 12, 125])
        gross = units * price * made.uniform(0.9, 1.1)
        lines.append(
            f'" {units:,.1f} "," ${price:,.2f} ",{made.choice(["Big", "Small "])}," ${gross:,.2f} ",row {number}'
        )
        lines += [",,,,"] * 4
    found = scaffold("\n".join([*lines, ""]), "Gross Sales")

    assert found.project.source.dialect.trim_header
    assert found.project.source.dialect.blank_lines == "skip"
    assert "2,400 lines hold nothing" in found.text("defs.yaml")
    assert found.market.table("validated").height == 600
    assert set(found.market.table("validated")["segment"]) == {"Big", "Small"}
    assert found.market.table("validated")["units_sold"].max() > 3_000  # type: ignore[operator]


def test_hourly_rows_with_gaps_and_repeated_times_are_cut_by_the_finest_grain_that_fits(scaffold: Scaffold) -> None:
    made, moment, rows = random.Random(3), START, []
    for _ in range(2500):
        moment += timedelta(hours=made.choice([0, 1, 1, 1, 2, 30]))
        warmth = made.uniform(-5, 30)
        traffic = 1000 + 100 * abs(moment.hour - 12) + 10 * warmth + made.gauss(0, 30)
        rows.append(
            {"date_time": f"{moment:%Y-%m-%d %H:%M:%S}", "temp": f"{warmth:.2f}", "traffic_volume": round(traffic)}
        )
    found = scaffold(csv_of(rows), "traffic_volume")

    assert (found.project.partitions.grain, found.project.partitions.time) == ("month", "date_time")
    assert set(found.market.columns("features")) >= {"hour", "weekday", "temp"}
    assert any("time zone" in question for question in found.made.questions)
    assert quarantined(found.market) == 0


def test_coded_nulls_are_missing_values(scaffold: Scaffold) -> None:
    rows = sales(500)
    for number, row in enumerate(rows):
        row["area"] = -999 if number % 9 == 0 else row["area"]
        row["town"] = "?" if number % 7 == 0 else row["town"]
        row["rooms"] = "NA" if number % 11 == 0 else row["rooms"]
        row["price"] = "n/a" if number % 50 == 0 else row["price"]
    found = scaffold(csv_of(rows), "price")

    features = found.market.table("features")
    assert features["area"].min() > 0  # type: ignore[operator]
    assert features["area"].null_count() > 40
    assert set(features["town"].drop_nulls()) == {"East", "West", "North"}
    assert features.height == 490
    assert "WHERE price IS NOT NULL" in found.text("features.sql")
    assert quarantined(found.market) == 0


def test_day_first_dates_with_decimal_comma_and_semicolons_in_an_old_encoding(scaffold: Scaffold) -> None:
    rows = []
    for number, row in enumerate(sales(900)):
        day = START + timedelta(days=number // 3)
        rows.append(
            {
                "Datum": f"{day:%d.%m.%Y}",
                "Größe": str(row["area"]).replace(".", ","),
                "Ort": row["town"].replace("East", "Zürich"),
                "Preis €": f"{row['price']:,}".replace(",", ".") + ",50",
            }
        )
    found = scaffold(csv_of(rows, ";").encode("cp1252"), "Preis €")

    assert found.project.source.dialect.encoding == "cp1252"
    assert found.project.target == "preis_eur"
    assert found.market.table("validated")["datum"].min() == START.date()
    assert found.market.table("validated")["groesse"].max() < 151  # type: ignore[operator]
    assert quarantined(found.market) == 0


def test_a_binary_target_in_words_and_what_leaks_it(scaffold: Scaffold) -> None:
    made, rows = random.Random(4), []
    for number in range(600):
        age, visits = made.randint(18, 80), made.randint(0, 20)
        left = age / 80 + made.gauss(0, 0.3) > 0.7
        rows.append(
            {
                "customer_id": f"C{number:05}",
                "age": age,
                "visits": visits,
                "colour": made.choice(["Red", "red", "BLUE"]),
                "closed_on": "2024-05-0" + str(made.randint(1, 9)) if left else "",
                "calls_after": made.randint(0, 3),
                "left": "yes" if left else "no",
            }
        )
    found = scaffold(csv_of(rows), "left", grain="none")

    assert (found.project.task, found.project.positive) == ("binary", "true")
    features = found.market.columns("features")
    assert {"age", "visits", "colour", "left_"} <= set(features)
    assert not {"customer_id", "closed_on", "calls_after"} & set(features)
    assert set(found.market.table("features")["colour"]) == {"red", "blue"}
    assert any("closed_on" in warning for warning in found.made.warnings)


def test_a_target_of_a_few_words_is_multiclass(scaffold: Scaffold) -> None:
    made, rows = random.Random(5), []
    for _ in range(450):
        kind = made.choice(["setosa", "versicolor", "virginica"])
        middle = {"setosa": 1.4, "versicolor": 4.2, "virginica": 5.5}[kind]
        rows.append(
            {"petal length (cm)": round(made.gauss(middle, 0.5), 1), "Order": made.randint(1, 9), "Species": kind}
        )
    found = scaffold(csv_of(rows), "Species")

    assert found.project.task == "multiclass"
    assert "isin=['setosa', 'versicolor', 'virginica']" in found.text("schema.py")
    assert "order_" in found.market.columns("features")


def test_json_lines_with_a_month_first_date_and_a_sum_that_leaks(scaffold: Scaffold) -> None:
    made, lines = random.Random(6), []
    for number in range(800):
        day = START + timedelta(days=number // 8)
        casual, member = made.randint(0, 50), made.randint(20, 300)
        entry = {"When": f"{day:%m/%d/%Y}", "casual": casual, "member": member, "wind": made.uniform(0, 9),
                 "rentals": casual + member}  # fmt: skip
        lines.append(json.dumps(entry))
    # Without what leaks, the wind is left, and tells nothing of the rentals: no model is better than their mean.
    found = scaffold("\n".join([*lines, ""]), "rentals", file="rides.jsonl", verdict="rejected")

    assert found.project.partitions.time == "when_"
    assert found.market.table("validated")["when_"].min() == START.date()
    assert not {"casual", "member"} & set(found.market.columns("features"))
    assert "casual is left out of features.sql: casual + member is rentals: leakage" in found.made.warnings
    assert any("needs evaluation.baselines_waiver" in warning for warning in found.made.warnings)


def test_a_parquet_file_by_day(scaffold: Scaffold) -> None:
    rows = sales(2400)
    frame = pl.DataFrame(rows).with_columns(
        sold_at=pl.Series([START + timedelta(hours=number * 6 / 100) for number in range(2400)])
    )
    found = scaffold(frame, "price", file="sales.parquet")

    assert (found.project.partitions.grain, found.project.partitions.time) == ("day", "sold_at")
    assert quarantined(found.market) == 0
    assert found.market.table("features").height == 2400


def test_a_table_of_a_database_becomes_a_project(scaffold: Scaffold, tmp_path: Path) -> None:
    made = random.Random(2)
    rows = [(n, area := made.uniform(30, 150), 2000 * area + made.gauss(0, 4000)) for n in range(400)]
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, area REAL, price REAL)")
        database.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    whole = (tmp_path / "shop.db").read_bytes()

    found = scaffold(whole, "price", file="shop.db", **{"from": "sqlite:shop.db#orders"})

    assert "table: orders" in found.text("defs.yaml")
    assert found.market.table("raw").height == 400
    assert [one.kind for one in found.market.ledger("promoted")] == ["promoted"]


def test_nothing_is_written_over(scaffold: Scaffold, tmp_path: Path) -> None:
    (tmp_path / "sql" / NAME).mkdir(parents=True)
    (tmp_path / "sql" / NAME / "clean.sql").write_text("mine")
    with pytest.raises(ValueError, match=r"clean\.sql: is there already"):
        scaffold(csv_of(sales(60)), "price")
    assert (tmp_path / "sql" / NAME / "clean.sql").read_text() == "mine"
    assert not (tmp_path / "pyproject.toml").exists()


def test_a_wrong_column_is_told_with_the_nearest(scaffold: Scaffold) -> None:
    with pytest.raises(ValueError, match="--target prize: there is no such column; did you mean price"):
        scaffold(csv_of(sales(60)), "prize")
