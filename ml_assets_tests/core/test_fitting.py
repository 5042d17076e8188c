from __future__ import annotations

import numpy as np
import pytest

from ml_assets.core.fitting import Loss, Step, judge_fit, loss_of

DUMMY = Loss(1.0, 0.01, 1000)
NOTHING = Loss(0.0, 0.0, 1000)


def loss(value: float, error: float = 0.005) -> Loss:
    return Loss(value, error, 1000)


def curve(train: float, left_out: float, test: float, *, error: float = 0.005) -> list[Step]:
    """A model of a third of the rows, and the model itself, which does as well."""
    return [
        Step(300, loss(train, error), loss(left_out, error), loss(test, error)),
        Step(1000, loss(train, error), None, loss(test, error)),
    ]


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        (curve(0.3, 0.31, 0.32), ["fits"]),
        (curve(0.1, 0.4, 0.41), ["overfits"]),
        (curve(0.3, 0.31, 0.6), ["moved"]),
        (curve(0.1, 0.4, 0.8), ["overfits", "moved"]),
        (curve(0.95, 0.96, 0.96), ["underfits"]),
        # Four times the error, and hardly anything of what there was to err.
        (curve(0.001, 0.004, 0.004), ["fits"]),
        # As far apart as noise takes them.
        (curve(0.3, 0.4, 0.4, error=0.05), ["fits"]),
        # Without a learning curve, what is learnt by heart and what has moved cannot be told apart.
        (curve(0.1, 0.4, 0.41)[1:], ["overfits"]),
    ],
)
def test_each_gap_has_its_name(steps: list[Step], kinds: list[str]) -> None:
    found = judge_fit(steps, DUMMY, title="MAE", gained=NOTHING if len(steps) > 1 else None)

    assert [finding.kind for finding in found] == kinds
    assert all(finding.said.strip() for finding in found)
    assert all(bool(finding.remedies) == (finding.kind != "fits") for finding in found)


def test_a_model_that_a_linear_one_beats_learns_too_little() -> None:
    (found,) = judge_fit(curve(0.3, 0.31, 0.32), DUMMY, title="MAE", linear_is_better=True)

    assert (found.kind, "linear model" in found.said) == ("underfits", True)


@pytest.mark.parametrize(
    ("gained", "wanted"),
    [(loss(0.05), True), (loss(0.05, error=0.04), False), (loss(0.001, 0), False), (NOTHING, False), (None, False)],
)
def test_more_rows_are_wanted_where_the_last_of_them_still_helped(gained: Loss | None, *, wanted: bool) -> None:
    kinds = [finding.kind for finding in judge_fit(curve(0.3, 0.31, 0.32), DUMMY, title="MAE", gained=gained)]

    assert kinds == (["wants_rows"] if wanted else ["fits"])


def test_a_loss_is_a_mean_with_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)

    found = loss_of(values)
    assert (found.value, found.rows) == (pytest.approx(values.mean()), 400)
    assert found.error == pytest.approx(values.std(ddof=1) / 20)
    assert loss_of(values[:1]).error == 0.0


def test_what_more_rows_have_mended_is_no_longer_held_against_a_model() -> None:
    steps = [Step(300, loss(0.1), loss(0.4), loss(0.4)), Step(1000, loss(0.25), None, loss(0.28))]
    kinds = {finding.kind for finding in judge_fit(steps, DUMMY, title="MAE", gained=loss(0.12))}

    assert kinds == {"wants_rows"}


def test_real_models_are_told_apart() -> None:
    """A tree without a limit learns by heart, a fitting one does not; a stump of a useless feature learns nothing."""
    from sklearn.tree import DecisionTreeRegressor

    random = np.random.default_rng(7)
    inputs = random.uniform(0, 1, (3000, 4))
    target = 10 * (inputs[:, 0] > 0.5) + 3 * (inputs[:, 1] > 0.3) + random.normal(0, 1.5, 3000)
    train, test = slice(0, 2000), slice(2000, 3000)

    def judged(**parameters: int) -> set[str]:
        steps, tested = [], []
        for rows in (600, 2000):
            model = DecisionTreeRegressor(random_state=0, **parameters).fit(inputs[:rows], target[:rows])
            losses = np.abs(model.predict(inputs) - target)
            left_out = loss_of(losses[rows:2000]) if rows < 2000 else None
            steps.append(Step(rows, loss_of(losses[:rows]), left_out, loss_of(losses[test])))
            tested.append(losses[test])
        dummy, gained = loss_of(np.abs(target[train] - target[train].mean())), loss_of(tested[0] - tested[1])
        return {finding.kind for finding in judge_fit(steps, dummy, title="MAE", gained=gained)}

    assert "overfits" in judged()
    assert judged(max_depth=2) <= {"fits", "wants_rows"}
    assert "underfits" in judged(max_depth=1, max_features=1)
