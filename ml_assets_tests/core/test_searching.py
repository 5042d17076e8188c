from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.core import search as searching
from ml_assets.core.search import Attempt, Plan, Progress, SearchError, Trial, search
from ml_assets.core.splitting import folds
from ml_assets.core.training import Recipe

if TYPE_CHECKING:
    from pathlib import Path

TREE = "sklearn.tree.DecisionTreeRegressor"
MIDDLE = "own_estimators.Middle"
SPACE: dict[str, Any] = {"max_depth": {"low": 1, "high": 8}, "min_samples_leaf": [1, 5, 20]}


def rows(number: int = 240) -> pl.DataFrame:
    random = np.random.default_rng(0)
    area = random.uniform(30, 150, number)
    towns = ["EAST" if one else "WEST" for one in random.integers(0, 2, number)]
    price = area * 1000 * (1 + random.normal(0, 0.1, number))
    return pl.DataFrame({"area": area, "town": towns, "price": price, "secret": price})


def recipe(estimator: str = TREE, **parameters: Any) -> Recipe:
    kinds = {"area": "number", "town": "category"}
    return Recipe(estimator, parameters, kinds, 0, allowed=("own_estimators",))


def run(
    plan: Plan, folder: Path, progress: Progress | None = None, *, made_from: Recipe | None = None, number: int = 240
) -> searching.Outcome:
    data = rows(number)
    cut = folds("random", 3, partitions=[0] * data.height, seed=1)  # type: ignore[list-item]
    file = folder / "rows.arrow"
    found = search(plan, made_from or recipe(), data, data["price"].to_numpy(), folds=cut, file=file, progress=progress)
    assert not file.exists()
    return found


def told(found: searching.Outcome) -> list[Any]:
    return [(one.number, dict(one.parameters), one.share, one.values, one.failed) for one in found.trials]


PLANS = [
    Plan("grid", {"max_depth": [1, 3, 5], "min_samples_leaf": [1, 20]}, "mape"),
    Plan("random", SPACE, "mape", trials=5, seed=3),
    Plan("halving", SPACE, "r2", trials=9, seed=3),
    Plan("bayesian", SPACE, "mape", trials=6, seed=3),
]
BY_KIND = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.kind)


@BY_KIND
def test_the_trials_and_the_best_are_the_same_with_any_number_of_processes_and_after_a_kill(
    tmp_path: Path, plan: Plan
) -> None:
    number = 900 if plan.kind == "halving" else 240
    one, two = (Plan(**{**vars(plan), "workers": workers}) for workers in (1, 2))
    whole = run(two, tmp_path, number=number)
    kept: list[Attempt] = []

    class Killed(Exception):  # noqa: N818
        pass

    def note(attempt: Attempt, _: Trial) -> None:
        kept.append(attempt)
        if len(kept) == 7:
            raise Killed

    with pytest.raises(Killed):
        run(one, tmp_path, Progress(tell=note), number=number)
    before = {(done.trial, done.fold): done for done in kept}
    again: list[Attempt] = []
    resumed = run(one, tmp_path, Progress(before, lambda done, _: again.append(done)), number=number)

    assert told(resumed) == told(whole)
    assert (resumed.best.number, resumed.best.value) == (whole.best.number, whole.best.value)
    assert resumed.resumed == 7
    # Nothing that was finished is done again, and nothing is left out.
    times = Counter((done.trial, done.fold) for done in [*kept, *again])
    assert set(times) == {(trial.number, fold) for trial in whole.trials for fold in range(3)}
    assert set(times.values()) == {1}


def test_a_search_in_processes_can_be_stopped(tmp_path: Path) -> None:
    def stop(_attempt: Attempt, _trial: Trial) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Plan(**{**vars(PLANS[1]), "workers": 2}), tmp_path, Progress(tell=stop))
    assert list(tmp_path.iterdir()) == []


def test_a_grid_tries_all_combinations_in_order_and_finds_what_scikit_learn_finds(tmp_path: Path) -> None:
    from sklearn.model_selection import GridSearchCV

    from ml_assets.core.training import as_inputs

    data, plan = rows(), PLANS[0]
    found = run(plan, tmp_path)
    cut = folds("random", 3, partitions=[0] * data.height, seed=1)  # type: ignore[list-item]
    space = {f"estimator__{name}": values for name, values in plan.space.items()}
    theirs = GridSearchCV(
        recipe().pipeline(), space, cv=cut, scoring="neg_mean_absolute_percentage_error", refit=False
    ).fit(as_inputs(data, recipe().kinds), data["price"].to_numpy())

    assert [one.value for one in found.trials] == pytest.approx(list(-theirs.cv_results_["mean_test_score"]))
    assert [dict(one.parameters) for one in found.trials] == [
        {name.removeprefix("estimator__"): value for name, value in each.items()}
        for each in theirs.cv_results_["params"]
    ]
    assert found.best.value == pytest.approx(-theirs.best_score_)


def test_of_equal_trials_the_first_is_the_best() -> None:
    plan = Plan("grid", {}, "r2")
    trials = [Trial(1, {}, values=(0.5,)), Trial(2, {}, values=(0.75,)), Trial(3, {}, values=(0.75,))]

    assert searching.best_of(plan, trials).number == 2
    assert searching.best_of(Plan("grid", {}, "mape"), trials).number == 1


def test_a_halving_gives_the_best_third_three_times_the_rows_up_to_all(tmp_path: Path) -> None:
    found = run(PLANS[2], tmp_path, number=1500)

    shares = [one.share for one in found.trials]
    assert shares == [1 / 9] * 9 + [1 / 3] * 3 + [1.0]
    first = sorted(found.trials[:9], key=lambda one: (-(one.value or 0), one.number))
    assert [one.parameters for one in found.trials[9:12]] == [one.parameters for one in first[:3]]
    assert found.best.share == 1


def test_a_halving_of_few_rows_has_fewer_rungs(tmp_path: Path) -> None:
    assert {one.share for one in run(PLANS[2], tmp_path).trials} == {1.0}


@settings(max_examples=60, deadline=None)
@given(
    low=st.integers(1, 50), more=st.integers(1, 1000), log=st.booleans(), whole=st.booleans(), seed=st.integers(0, 999)
)
def test_a_draw_lies_in_its_range(low: int, more: int, seed: int, *, log: bool, whole: bool) -> None:
    high = low + more if whole else low + more / 7
    plan = Plan("random", {"x": {"low": low, "high": high, "log": log}}, "mape", trials=4, seed=seed)
    drawn = [choice["x"] for choice in searching._draws(plan)]

    assert all(low <= one <= high for one in drawn)
    assert all(isinstance(one, int) == whole for one in drawn)
    # The first draws are the same whatever the budget.
    longer = Plan("random", plan.space, "mape", trials=9, seed=seed)
    assert [choice["x"] for choice in searching._draws(longer)][:4] == drawn


def test_a_logarithmic_range_is_drawn_as_often_below_its_geometric_middle_as_above() -> None:
    plan = Plan("random", {"x": {"low": 0.001, "high": 10.0, "log": True}}, "mape", trials=400)
    below = sum(choice["x"] < 0.1 for choice in searching._draws(plan))

    assert 160 < below < 240


def test_no_combination_of_lists_comes_twice() -> None:
    space = {"a": [1, 2, 3], "b": [True, False]}
    drawn = [tuple(one.values()) for one in searching._draws(Plan("random", space, "mape", trials=50))]

    assert sorted(drawn) == sorted((a, b) for a in (1, 2, 3) for b in (True, False))
    assert len(list(searching._draws(Plan("random", space, "mape", trials=4)))) == 4


def test_a_trial_that_fails_is_told_and_never_the_best(tmp_path: Path) -> None:
    found = run(Plan("grid", {"max_depth": [-1, 2]}, "mape", workers=1), tmp_path)

    assert "max_depth" in found.trials[0].failed
    assert found.trials[0].value is None
    assert found.best.parameters == {"max_depth": 2}


@pytest.mark.parametrize("kind", ["random", "halving"])
def test_draws_of_lists_do_not_build_all_combinations(kind: Any) -> None:
    space = {f"parameter_{number}": list(range(100)) for number in range(12)}  # 10^24 of them
    drawn = list(searching._draws(Plan(kind, space, "mape", trials=300)))

    assert len({tuple(one.values()) for one in drawn}) == 300
    for name in space:
        values = [one[name] for one in drawn]
        assert len(set(values)) > 50, "every list is drawn from"
    assert list(searching._draws(Plan(kind, space, "mape", trials=20))) == drawn[:20]


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_draws_of_lists_come_to_each_combination_once(sizes: list[int], seed: int) -> None:
    space = {f"p{number}": list(range(size)) for number, size in enumerate(sizes)}
    drawn = [tuple(one.values()) for one in searching._draws(Plan("random", space, "mape", trials=500, seed=seed))]

    assert Counter(drawn) == Counter(itertools.product(*space.values()))


@pytest.mark.parametrize("kind", ["grid", "halving", "bayesian"])
def test_a_search_whose_trials_all_fail_says_why(tmp_path: Path, kind: Any) -> None:
    plan = Plan(kind, {"max_depth": [-1, -2]}, "mape", workers=1, trials=None if kind == "grid" else 2)
    with pytest.raises(SearchError, match=r"all of 2 trials failed; the first with .*max_depth.*Remedy"):
        run(plan, tmp_path)


def test_when_the_time_is_up_no_further_trial_begins_and_the_best_of_those_finished_is_taken(tmp_path: Path) -> None:
    plan = Plan("random", {"times": {"low": 0.5, "high": 2.0}}, "mape", seconds=60.0, workers=1)
    progress = Progress()

    def note(attempt: Attempt, _: Trial) -> None:
        if attempt.trial == 3:  # as if it had taken all the time
            progress.finished[attempt.trial, attempt.fold] = attempt
            raise KeyboardInterrupt

    progress.tell = note
    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path, progress, made_from=recipe(MIDDLE))
    spent = {key: Attempt(**{**vars(one), "at": 61.0}) for key, one in progress.finished.items()}
    found = run(plan, tmp_path, Progress(spent), made_from=recipe(MIDDLE))

    assert [one.number for one in found.trials] == [1, 2]
    assert found.best in found.trials
    with pytest.raises(SearchError, match=r"no trial was finished in time\. Remedy: more minutes"):
        run(plan, tmp_path, Progress({(9, 0): Attempt(9, 0, 1.0, 1.0, at=61.0)}), made_from=recipe(MIDDLE))


def test_a_fold_that_lacks_a_class_gives_it_no_chance(tmp_path: Path) -> None:
    data = pl.DataFrame({"area": [float(number % 3) for number in range(30)]})
    wanted = np.array([number % 3 if number >= 15 else number % 2 for number in range(30)])
    made_from = Recipe(
        "sklearn.tree.DecisionTreeClassifier", {}, {"area": "number"}, 0, task="multiclass", classes=("a", "b", "c")
    )
    cut = [(np.arange(15), np.arange(15, 30))]
    plan = Plan("grid", {"max_depth": [1]}, "log_loss", workers=1)
    found = search(plan, made_from, data, wanted, folds=cut, file=tmp_path / "rows.arrow")

    assert found.best.value is not None
    assert math.isfinite(found.best.value)


def test_without_optuna_a_bayesian_search_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(SearchError, match=r"pip install 'ml-assets\[search\]'"):
        run(PLANS[3], tmp_path)
