"""Whether a model learns too much by heart, or too little: from the rows it learnt, like ones, and later ones.

A model fitted on a share of the training rows is judged on three kinds of rows: those it learnt from, the other
training rows, and those held out. What it loses between the first two is learnt by heart; what it loses between the
last two comes from rows of another time, or another group. A single gap between train and test cannot tell them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_assets.core.tasks import Values

Kind = Literal["overfits", "underfits", "moved", "wants_rows", "fits"]

# A gap counts where it is more than noise, and at least these shares of the error and of the error without a model.
GAP = 0.2
GAP_OF_DUMMY = 0.05
# A model that takes away less of the error than this, on the rows that it learnt from, has hardly learnt.
LEARNT = 0.1
# The learning curve still falls where its last step takes away this share of the error.
FALLS = 0.02
NOISE = 2.0


@dataclass(frozen=True)
class Loss:
    """A mean loss over rows.

    Attributes:
        value: the mean.
        error: its standard error, 0 where there is one row.
        rows: how many rows.
    """

    value: float
    error: float
    rows: int


@dataclass(frozen=True)
class Step:
    """A model that was fitted on some of the training rows.

    Attributes:
        rows: how many.
        train: its loss on them.
        left_out: on the other training rows; None for the model itself, which has learnt from all.
        test: on the rows held out.
    """

    rows: int
    train: Loss
    left_out: Loss | None
    test: Loss


@dataclass(frozen=True)
class Finding:
    """What a learning curve says of a model.

    Attributes:
        kind: what it is.
        said: why, with the numbers.
        remedies: what may help.
    """

    kind: Kind
    said: str
    remedies: tuple[str, ...] = ()


def loss_of(values: Values) -> Loss:
    """The mean of the losses of rows, shape (n,), with its standard error."""
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
    return Loss(float(values.mean()), error, len(values))


def judge_fit(
    steps: Sequence[Step], dummy: Loss, *, title: str, gained: Loss | None = None, linear_is_better: bool = False
) -> list[Finding]:
    """What is wrong with the fit, and what may help; one finding that it fits where nothing is.

    Args:
        steps: the learning curve in the order of rows; the last is the model itself.
        dummy: the loss on the training rows of a prediction that looks at no feature.
        title: the loss's name for people.
        gained: by how much the last step lowered the losses of the rows held out, row by row; None without a curve.
        linear_is_better: whether the linear baseline errs less on the rows held out, by more than noise.
    """
    model = steps[-1]
    partial = next((step for step in reversed(steps) if step.left_out is not None), None)
    found: list[Finding] = []
    unseen = _unseen(model, partial, gained)
    learnt = 1 - model.train.value / dummy.value if dummy.value > 0 else 1.0
    if _is_gap(model.train, unseen, dummy):
        found.append(
            Finding(
                "overfits",
                f"It learns by heart: {title} {model.train.value:.4g} on the {model.rows:,} rows it learnt from, and "
                f"{f'about {unseen.value:.4g} on others like them' if partial else f'{unseen.value:.4g} on others'}.",
                (
                    "regularize more: fewer leaves or less depth, more rows in a leaf, a larger penalty",
                    "leave out features that identify single rows",
                    "learn from more rows",
                ),
            )
        )
    if learnt < LEARNT or linear_is_better:
        why = (
            "a linear model of the same features errs less on the rows held out"
            if linear_is_better
            else f"on its own rows it takes away {max(learnt, 0):.0%} of the error of a constant ({title} "
            f"{model.train.value:.4g} of {dummy.value:.4g})"
        )
        found.append(
            Finding(
                "underfits",
                f"It learns too little: {why}.",
                (
                    "features that tell more of the target",
                    "a richer model, or less regularization: more leaves, more iterations, a smaller penalty",
                    "ask whether the target can be told from what is known by then",
                ),
            )
        )
    if partial is not None and partial.left_out is not None and _is_gap(partial.left_out, partial.test, dummy):
        found.append(
            Finding(
                "moved",
                f"The rows held out are others than it learnt from: a model of {partial.rows:,} rows has {title} "
                f"{partial.left_out.value:.4g} on training rows that it has not seen and {partial.test.value:.4g} on "
                "those held out.",
                (
                    "retrain more often, or on a shorter window",
                    "features that carry what changes: a price level, a rate of last month",
                ),
            )
        )
    if gained is not None and gained.value > max(FALLS * steps[-2].test.value, NOISE * gained.error):
        found.append(
            Finding(
                "wants_rows",
                f"More rows still help: from {steps[-2].rows:,} to {model.rows:,} the {title} on the rows held out "
                f"fell from {steps[-2].test.value:.4g} to {model.test.value:.4g}.",
                ("a longer window",),
            )
        )
    said = f"{title} {model.train.value:.4g} on the rows it learnt from, {model.test.value:.4g} on those held out"
    return found or [Finding("fits", f"It neither overfits nor underfits: {said}.")]


def _unseen(model: Step, partial: Step | None, gained: Loss | None) -> Loss:
    """The loss of a model on rows like those it learnt from, had it not seen them: it is estimated.

    That of the model of fewer rows, less what the other rows then gained on the rows held out.
    """
    if partial is None or partial.left_out is None or gained is None:
        return model.test
    value = max(partial.left_out.value - gained.value, 0.0)
    return Loss(value, math.hypot(partial.left_out.error, gained.error), partial.left_out.rows)


def _is_gap(less: Loss, more: Loss, dummy: Loss) -> bool:
    gap = more.value - less.value
    noise = NOISE * math.hypot(less.error, more.error)
    return gap > noise and gap > GAP * more.value and gap > GAP_OF_DUMMY * dummy.value
