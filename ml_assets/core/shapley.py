"""What each feature of a row contributed to its prediction: Shapley values, by sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ml_assets.core.tasks import Values


@dataclass(frozen=True)
class Contribution:
    """What a feature contributed.

    Attributes:
        feature: its name.
        value: in the prediction's unit; those of all features add up to the prediction less the mean one.
        error: standard error of the value, from the spread over the permutations drawn.
    """

    feature: str
    value: float
    error: float


def shapley(
    predict: Callable[[dict[str, list[Any]]], Values],
    row: Mapping[str, Any],
    background: Sequence[Mapping[str, Any]],
    *,
    permutations: int = 200,
    seed: int = 0,
) -> tuple[float, list[Contribution]]:
    """What each feature of a row contributed to its prediction, against rows of a background.

    A permutation of the features is drawn, and a row of the background is taken, one after the other; feature by
    feature, in that order, its values give way to the row's, and each step's change of the prediction is the feature's.
    Permutations come in pairs, one the reverse of the other, which takes much of the noise away.

    Args:
        predict: feature → values, shape (n,), to predictions, shape (n,). It is called once.
        row: the row, with all features.
        background: rows as the model knows them, at least one.
        permutations: to draw, an even number, at least 4; twice as many as the background has rows use each once.
        seed: of the draw.

    Returns:
        The mean prediction of the background's rows, and the contributions, greatest first.

    Source:
        Štrumbelj and Kononenko (2014), Explaining prediction models and individual predictions with feature
        contributions, Knowledge and Information Systems 41, algorithm 2; pairs of reversed permutations after Mitchell
        et al. (2022), Sampling permutations for Shapley value estimation, JMLR 23.
    """
    import numpy as np  # noqa: PLC0415

    names, draw = list(row), np.random.default_rng(seed)
    pairs = permutations // 2
    steps = len(names) + 1
    # Each row as often as any other: so the mean over them has no noise of its own.
    drawn = np.arange(pairs) % len(background)
    orders = np.stack([draw.permutation(len(names)) for _ in range(pairs)])
    orders = np.concatenate([orders, orders[:, ::-1]])
    # Of the feature at a place of the order, from which step on it is the row's.
    since = np.argsort(orders, axis=1)
    is_own = np.arange(steps)[None, :, None] > since[:, None, :]
    others = np.concatenate([drawn, drawn])
    columns = {
        name: [
            row[name] if own else background[other][name]
            for other, owns in zip(others.tolist(), is_own[:, :, place].tolist(), strict=True)
            for own in owns
        ]
        for place, name in enumerate(names)
    }
    said = np.asarray(predict(columns), dtype=float).reshape(2 * pairs, steps)
    changes = np.empty((2 * pairs, len(names)))
    np.put_along_axis(changes, orders, np.diff(said, axis=1), axis=1)
    by_pair = (changes[:pairs] + changes[pairs:]) / 2
    errors = by_pair.std(axis=0, ddof=1) / pairs**0.5
    found = [
        Contribution(name, float(value), float(error))
        for name, value, error in zip(names, by_pair.mean(axis=0), errors, strict=True)
    ]
    return float(said[:, 0].mean()), sorted(found, key=lambda one: -abs(one.value))
