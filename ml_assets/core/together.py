"""All numbers of a partition together: many columns that moved a little, none of which alone is more than chance.

The mean of the squares of the columns' z, each at most `LARGEST`: what one column says by itself is its own test's.
Were columns independent, it would be a chi-squared over its degrees of freedom. They are not, so its mean and variance
are learnt from history, never below those of theory, and the tail is that of the gamma distribution that has them
(Satterthwaite, Biometrics Bulletin 2, 1946; for p-values that depend on each other Brown, Biometrics 31, 1975).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Fewer columns have nothing to add to what each says.
FEWEST = 5
LARGEST = 9.0


@dataclass(frozen=True)
class Together:
    """How far all columns together are from the reference when nothing has happened.

    Attributes:
        mean: of the mean square; 1 in theory.
        variance: of the mean square; 2 / columns in theory.
    """

    mean: float
    variance: float

    def log_p(self, value: float) -> float:
        """Natural logarithm of the p-value of a mean square; NaN where that is."""
        from scipy.special import gammaincc  # noqa: PLC0415

        shape = self.mean**2 / self.variance
        p = float(gammaincc(shape, value * shape / self.mean))
        return p if math.isnan(p) else math.log(max(p, 1e-300))


def mean_square(log_ps: Floats) -> Floats:
    """Mean of the squares of z over the columns that are there; NaN where these are too few.

    Args:
        log_ps: logarithms of two-sided p-values, NaN where a column lacks, shape (partitions, columns).
    """
    import numpy as np  # noqa: PLC0415
    from scipy.special import ndtri_exp  # noqa: PLC0415

    squares = np.minimum(ndtri_exp(log_ps - math.log(2)) ** 2, LARGEST)
    there = np.isfinite(squares)
    sums = np.where(there, squares, 0.0).sum(axis=1)
    return np.where(there.sum(axis=1) >= FEWEST, sums / np.maximum(there.sum(axis=1), 1), np.nan)


def learn(values: Floats, columns: int, prior: float) -> Together:
    """What mean squares of history say, as if theory had been seen in `prior` partitions more.

    Args:
        values: mean squares, NaN where there is none, shape (partitions,).
        columns: how many there are.
        prior: in partitions.
    """
    import numpy as np  # noqa: PLC0415

    seen = values[np.isfinite(values)]
    mean = max(1.0, float((prior + seen.sum()) / (prior + seen.size)))
    theory = 2 / max(columns, 1)
    return Together(mean, max(theory, float((prior * theory + ((seen - mean) ** 2).sum()) / (prior + seen.size))))
