"""`ml-assets predict`: every row of a file has a prediction or a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from typer.testing import CliRunner

from ml_assets.cli import app
from ml_assets.registry.ledger import read_entries
from ml_assets.serving.predicting import files
from ml_assets.serving.predicting.files import Done, predict_file
from ml_assets.serving.predicting.served import Served

if TYPE_CHECKING:
    from pathlib import Path

    from small_market import Market

CSV = """\
id,month,town,area
1,2024-03-01,EAST,100
2,2024-03-01,NORTH,10

3,2024-03-01,WEST, 50
4,2024-03-01,EAST
5,2024-03-01,EAST,60,more
6,2024-03-01,WEST,
7,2024-03-01,EAST,100
"""


@pytest.fixture(scope="module")
def served(town: Market) -> Served:
    with town.settings(), town.lake.reader() as cursor:
        return Served(town.project, town.lake, town.registry, 1, read_entries(cursor, "flats"))


@pytest.mark.parametrize("size", [2, 100])
def test_rows_keep_their_columns_and_order_and_those_that_do_not_pass_their_values_and_reasons(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(files, "PIECE", size)
    given, output, refused = (tmp_path / name for name in ("in.csv", "out.csv", "out.refused.csv"))
    given.write_text(CSV)
    said: list[str] = []

    assert predict_file(served, given, output, refused, said.append) == Done(3, 4)

    out, bad = pl.read_csv(output), pl.read_csv(refused, infer_schema=False)
    assert out["id"].to_list() == [1, 3, 7]
    assert out.columns == ["id", "month", "town", "area", "prediction", "version"]
    wanted = served.answer([{"town": "EAST", "area": 100.0}, {"town": "WEST", "area": 50.0}])
    assert out["prediction"].to_list() == pytest.approx([wanted[place].told["prediction"] for place in (0, 1, 0)])
    assert bad.select("_row", "id", "town").rows() == [
        ("2", "2", "NORTH"), ("4", "4", "EAST"), ("5", "5", "EAST"), ("6", "6", "WEST"),
    ]  # fmt: skip
    assert bad["_reasons"].to_list() == [
        "area: 10.0 is not a number at least 20 and at most 400; town: NORTH is not one of EAST, WEST",
        "3 fields, 4 in the header; beyond it: []",
        "5 fields, 4 in the header; beyond it: ['more']",
        "area: null is not a number at least 20 and at most 400",
    ]
    assert said[-1] == "7 rows: 3 predicted, 4 refused"


def test_parquet_stays_parquet(town: Market, served: Served, tmp_path: Path) -> None:
    given, output, refused = (tmp_path / name for name in ("in.parquet", "out.parquet", "out.refused.parquet"))
    rows = town.table("features", "2024-03")
    rows.with_columns(price=pl.lit("kept")).write_parquet(given)

    assert predict_file(served, given, output, refused, lambda _: None) == Done(60, 0)

    out = pl.read_parquet(output)
    with town.settings():
        own = town.registry.predict(town.registry.version("flats", 1), rows)
    assert out["prediction"].to_list() == pytest.approx(own.tolist(), rel=1e-6)
    assert out["price"].unique().to_list() == ["kept"]
    assert not refused.exists()


def test_the_command_predicts_with_the_champion(town: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_assets.projects.load_project", lambda _: town.project)
    (tmp_path / "in.csv").write_text(CSV)
    words = ["predict", "flats", "--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv")]
    with town.settings():
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert "out.csv: 3 rows predicted by version 1 (onnx)" in done.output
        assert "out.refused.csv: 4 rows refused, with their reasons" in done.output
        again = CliRunner().invoke(app, words)
        assert str(again.exception).endswith("out.csv is there already. Remedy: another name, or --force")
        assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0


def test_the_file_given_is_never_written_over_or_deleted(
    town: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.projects.load_project", lambda _: town.project)
    given = tmp_path / "out.refused.csv"
    given.write_text(CSV)
    (tmp_path / "linked.csv").symlink_to(given)
    with town.settings():
        for output in ("out.csv", "out.refused.csv", "linked.csv"):
            words = ["predict", "flats", "--input", str(given), "--output", str(tmp_path / output), "--force"]
            said = str(CliRunner().invoke(app, words).exception)
            assert "would be read and written" in said
            assert said.endswith("Remedy: another --output")
    assert given.read_text() == CSV
    assert {path.name for path in tmp_path.iterdir()} == {"out.refused.csv", "linked.csv"}


def test_an_older_file_of_refused_rows_goes_only_once_the_rows_are_predicted(
    town: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.projects.load_project", lambda _: town.project)
    given, older = tmp_path / "in.csv", tmp_path / "out.refused.csv"
    older.write_text("_row,_reasons\n")
    words = ["predict", "flats", "--input", str(given), "--output", str(tmp_path / "out.csv"), "--force"]
    with town.settings():
        given.write_bytes(b"area,town\n100,\xff\n")
        assert CliRunner().invoke(app, words).exit_code == 1
        assert older.exists()
        given.write_text("area,town\n100,EAST\n")
        assert CliRunner().invoke(app, words).exit_code == 0
        assert not older.exists()


def test_columns_given_that_have_names_of_the_outputs_are_kept_under_others(served: Served, tmp_path: Path) -> None:
    given, output, refused = (tmp_path / name for name in ("in.csv", "out.csv", "out.refused.csv"))
    given.write_text(
        "_row,town,area,version,prediction,given_version,_reasons\n77,EAST,100,v9,2,x,a\n78,NORTH,100,v8,3,y,b\n"
    )
    assert predict_file(served, given, output, refused, lambda _: None) == Done(1, 1)
    out, bad = pl.read_csv(output), pl.read_csv(refused)
    names = ["_row", "given_given_version", "given_prediction", "given_version", "_reasons", "version"]
    assert out.select(names).rows() == [(77, "v9", 2, "x", "a", 1)]
    names = ["_row", "given__row", "version", "prediction", "given_version", "given__reasons"]
    assert bad.select(names).rows() == [(2, 78, "v8", 3, "y", "b")]
    assert bad["_reasons"].to_list() == ["town: NORTH is not one of EAST, WEST"]


@pytest.mark.parametrize("content", ["town,area\n", "town,area", "town,area\n\n", '"town","area"\n\n\n'])
def test_a_file_without_rows_gives_the_header_alone(served: Served, tmp_path: Path, content: str) -> None:
    given, output, refused = (tmp_path / name for name in ("in.csv", "out.csv", "out.refused.csv"))
    given.write_text(content)
    assert predict_file(served, given, output, refused, lambda _: None) == Done(0, 0)
    assert output.read_text() == "town,area,prediction,version\n"
    assert not refused.exists()


def test_raw_rows_are_refused_with_every_column_that_is_missing_and_what_rows_must_be(
    town: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.projects.load_project", lambda _: town.project)
    given = tmp_path / "in.csv"
    given.write_text("month,TOWN,floor_area\n2024-03,EAST,100\n")
    words = ["predict", "flats", "--input", str(given), "--output", str(tmp_path / "out.csv")]
    with town.settings():
        told = CliRunner().invoke(app, words)
    assert isinstance(told.exception, ValueError)
    assert str(told.exception) == (
        f"{given}: area, town are missing. Remedy: rows as flats.validated has them, after clean.sql and not as they "
        "come from the source; its columns are month, contract, town, area"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"id,town\n1,EAST\n", "area is missing. Remedy: rows as flats.validated has them"),
        (b"", "expected a header of names that differ"),
        (b"area,area\n", "expected a header of names that differ"),
        (b"area,town\n\xff,EAST\n", "this is no CSV in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_predicted_is_refused_and_leaves_nothing(
    served: Served, tmp_path: Path, content: bytes, words: str
) -> None:
    given = tmp_path / "in.csv"
    given.write_bytes(content)
    with pytest.raises(Exception, match=words):
        predict_file(served, given, tmp_path / "out.csv", tmp_path / "refused.csv", lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
