"""A project is replayed: with the fits it would have made live, each made once."""

from __future__ import annotations

import json
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn import config_context, get_config
from small_market import NAME, PREPARING, Market, open_market, sales
from threadpoolctl import threadpool_info
from typer.testing import CliRunner

from ml_assets import cli, projects
from ml_assets.assets import replaying
from ml_assets.assets.replaying import ReplayError, history_of
from ml_assets.core import training
from ml_assets.core.evaluation import row_losses
from ml_assets.core.training import predict, train
from ml_assets.lake.connection import Commit
from ml_assets.lake.resource import shared_lake
from ml_assets.registry.replays import folder_of_fits, read_replay

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = [f"2024-{month:02}" for month in range(1, 13)]
ESTIMATOR = {"estimator": "sklearn.ensemble.HistGradientBoostingRegressor", "parameters": {"max_iter": 20}}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Twelve months; from July on prices grow by a tenth each month."""
    made = open_market(tmp_path_factory.mktemp("replayed"), training={"window": 3, "test": 1, **ESTIMATOR})
    for number, month in enumerate(MONTHS):
        made.write(month, sales(month, level=1.1 ** max(0, number - 5)))
    made.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    return made


class Counted:
    """Counts fits, and stops at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int = 1000) -> None:
        self.fits, self.stop, self.real = 0, stop, replaying.Recorded.fit

        def fit(recorded: Any, chosen: Any) -> Any:
            if self.fits == self.stop:
                raise KeyboardInterrupt
            self.fits += 1
            return self.real(recorded, chosen)

        # A function, so that it is a method.
        monkeypatch.setattr(replaying.Recorded, "fit", fit)


def history(market: Market, folder: Path, **asked: Any) -> Any:
    with market.settings():
        return history_of(market.project, market.lake, folder, **asked)


def test_a_fit_loses_what_a_version_trained_live_would_have_lost(market: Market, tmp_path: Path) -> None:
    found = history(market, tmp_path)
    project, rows = market.project, market.table("features").sort("_partition", "_source", "_row")
    kinds = {"town": "category", "area": "number"}

    def of(*months: str) -> Any:
        return rows.filter(rows["_partition"].is_in([project.start_of(month) for month in months]))

    with market.settings():
        recipe = replaying.recipe_of(project, kinds, ())
    # Of May to July the last judges; it serves from August on.
    number = found.partitions.index("2024-08")
    pipeline = train(recipe, of("2024-05", "2024-06"), "price").pipeline
    for month in ("2024-07", "2024-08", "2024-12"):
        judged = of(month)
        loss = row_losses("mape", judged["price"].to_numpy(), predict(pipeline, judged, kinds)).mean()
        at = found.references[number] if month == "2024-07" else found.losses[number, found.partitions.index(month)]
        assert at == pytest.approx(loss, rel=1e-12)


def test_the_first_champion_learns_from_a_whole_window_and_each_later_one_from_the_next(
    market: Market, tmp_path: Path
) -> None:
    found = history(market, tmp_path)

    assert found.partitions == tuple(MONTHS[3:])
    assert (found.metric, found.delay) == ("mape", 0)
    assert set(found.rows) == {60}
    assert np.isnan(found.losses).sum() == 9 * 8 / 2
    assert np.isfinite(found.references).all()


def test_late_labels_make_fits_older(market: Market, tmp_path: Path) -> None:
    prompt, late = history(market, tmp_path), history(market, tmp_path, delay=2)

    assert late.partitions == prompt.partitions[2:]
    # Who serves from June on has learnt what who could have served from April on has.
    assert late.losses[0, 1] == prompt.losses[0, 3]


def test_no_fit_is_made_twice(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, said = Counted(monkeypatch), []
    first = history(market, tmp_path, say=said.append)
    second = history(market, tmp_path, say=said.append)

    assert counted.fits == 9
    assert said[0] == "9 fits, 0 of them made before"
    assert said[-1] == "9 fits, 9 of them made before"
    assert "1 of 9 fits" in said[1]
    assert np.array_equal(first.losses, second.losses, equal_nan=True)


def test_an_interrupted_replay_goes_on_where_it_was(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch, stop=5)
    with pytest.raises(KeyboardInterrupt):
        history(market, tmp_path / "killed")
    counted.stop = 1000
    resumed = history(market, tmp_path / "killed")

    # The fifth was being judged, and is kept.
    assert counted.fits == 9
    whole = history(market, tmp_path / "whole")
    assert np.array_equal(resumed.losses, whole.losses, equal_nan=True)


class Watched:
    """Notes in which thread each fit and each judgement begins and ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str]] = []
        self.next_fits = threading.Semaphore(0)
        for name in ("fit", "judge"):
            monkeypatch.setattr(replaying.Recorded, name, self.noting(name, getattr(replaying.Recorded, name)))

    def noting(self, name: str, real: Any) -> Any:
        def noted(*given: Any) -> Any:
            thread = "main" if threading.current_thread() is threading.main_thread() else "other"
            if name == "fit" and self.seen:
                self.next_fits.release()
            self.seen.append((f"{name} begins", thread))
            if thread == "other":
                assert self.next_fits.acquire(timeout=10), "no fit has begun meanwhile"
            try:
                return real(*given)
            finally:
                self.seen.append((f"{name} ends", thread))

        return noted


def test_a_fit_is_judged_while_the_next_is_learnt(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = history(market, tmp_path / "before")
    before = threadpool_info(), list(warnings.filters), threading.active_count()
    watched = Watched(monkeypatch)
    found = history(market, tmp_path / "watched")

    judged_in = [thread for what, thread in watched.seen if what == "judge begins"]
    assert judged_in == ["other"] * 8 + ["main"], "beside the last there is no next"
    assert (threadpool_info(), list(warnings.filters), threading.active_count()) == before
    assert np.array_equal(found.losses, whole.losses, equal_nan=True)


def test_a_fit_is_judged_under_the_settings_that_it_was_learnt_under(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, real = [], replaying.Recorded.judge

    def judge(*given: Any) -> Any:
        found.append(get_config()["transform_output"])
        return real(*given)

    monkeypatch.setattr(replaying.Recorded, "judge", judge)
    with config_context(transform_output="pandas"):
        history(market, tmp_path)

    assert found == ["pandas"] * 9


def test_what_is_worth_all_cores_is_done_alone(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "ROWS_FOR_ONE_THREAD", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    watched = Watched(monkeypatch)
    history(market, tmp_path)

    assert watched.seen == [(f"{what} {when}", "main") for what in ("fit", "judge") for when in ("begins", "ends")] * 9


def test_a_fit_that_cannot_be_judged_stops_the_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = open_market(tmp_path, training={"window": 3, "test": 1})
    for month in MONTHS:
        market.write(month, sales(month))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    with market.lake.transaction(Commit(NAME, "test")) as transaction:
        sql = f"UPDATE {market.project.table('features').path} SET price = 0 WHERE _partition = ?"
        transaction.cursor.execute(sql, [market.project.start_of(MONTHS[-1])])
    counted = Counted(monkeypatch)
    with pytest.raises(ValueError, match="mape is undefined where an actual value is zero"):
        history(market, tmp_path / "fits")

    # The second was being learnt.
    assert counted.fits == 2


def test_a_corrected_month_makes_anew_what_saw_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = open_market(tmp_path, training={"window": 3, "test": 1})
    for month in MONTHS:
        market.write(month, sales(month))
    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    history(market, tmp_path / "fits")
    market.write("2024-02", sales("2024-02", level=1.01))
    market.materialize(PREPARING, "2024-02")
    counted = Counted(monkeypatch)
    history(market, tmp_path / "fits")

    # Those that were trained or tested on February: they could serve from April and May on.
    assert counted.fits == 2


def test_too_little_history_is_said(tmp_path: Path) -> None:
    market = open_market(tmp_path)
    for month in MONTHS[:5]:
        market.write(month, sales(month))
    market.materialize(PREPARING, MONTHS[0], MONTHS[4])

    with pytest.raises(ReplayError, match="5 partitions of features have labelled rows"):
        history(market, tmp_path / "fits")


def test_the_asset_tells_what_each_policy_would_have_come_to(market: Market) -> None:
    market.rerun("replay")
    told = market.metadata("replay")
    with market.settings():
        kept = read_replay(NAME)

    assert kept is not None
    assert told["recommended"] == kept["recommended"]
    assert [one["policy"] for one in kept["policies"]] == ["never", "periodic", "drift", "performance", "worth_it"]
    assert "| worth&#95;it |" in told["policies"]
    assert told["picture_over_time"].startswith("![The error over time")
    assert (market.folder / "home" / "reports" / NAME / "replay" / "frontier.png").is_file()
    assert kept["policies"][0]["error"] > kept["policies"][4]["error"]


def ask(market: Market, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr(projects, "load_project", lambda _: market.project)
    shared_lake.cache_clear()
    with market.settings():
        done = CliRunner().invoke(cli.app, ["replay", NAME, *words])
    shared_lake.cache_clear()
    return done


def test_the_command_prints_a_table_and_the_recommendation(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    done = ask(market, monkeypatch)

    assert done.exit_code == 0, done.output
    assert "flats: 2024-04 … 2024-12, price 1" in done.stdout
    assert "costs least over 9 partitions" in done.stdout
    assert "9 fits, " in done.stderr


def test_the_command_plays_what_is_asked_and_speaks_json(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    done = ask(market, monkeypatch, "--policy", "worth_it", "--price", "0.25", "--label-delay", "1", "--json")
    found = json.loads(done.stdout)

    assert [one["policy"] for one in found["policies"]] == ["never", "worth_it"]
    assert (found["price"], found["delay"], found["partitions"][0]) == (0.25, 1, "2024-05")


def test_a_policy_that_is_none_is_refused(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no policy 'sometimes'" in str(ask(market, monkeypatch, "--policy", "sometimes").exception)


def test_drift_is_replayed_from_profiles_and_without_them_says_what_to_do(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads(ask(market, monkeypatch, "--policy", "drift", "--json").stdout)
    assert [one["policy"] for one in found["policies"]] == ["never", "drift"]

    with market.lake.transaction(Commit(NAME, "test")) as transaction:
        sql = f"DELETE FROM {market.project.table('profile').path} WHERE _partition = ?"
        transaction.cursor.execute(sql, [market.project.start_of("2024-12")])
    assert "some partitions have no profile" in str(ask(market, monkeypatch, "--policy", "drift").exception)
    done = ask(market, monkeypatch)
    assert "the policy drift is not played: some partitions have no profile" in done.stderr
    assert "drift" not in done.stdout
    market.materialize(("profile",), "2024-12")


def test_without_any_history_it_says_what_to_do(tmp_path: Path) -> None:
    nothing = open_market(tmp_path)
    with pytest.raises(ReplayError, match=r"nothing has been materialized.*ml-assets backfill flats"):
        history(nothing, tmp_path / "fits")


def test_fits_are_kept_beside_the_versions(market: Market) -> None:
    with market.settings():
        assert folder_of_fits(NAME) == market.folder / "home" / "registry" / NAME / "replays"
        assert not market.registry.numbers(NAME), "they are no versions"
