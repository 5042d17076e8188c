"""Streams whose truth is known, as the history that a replay reads: least squares on a trailing window."""

from __future__ import annotations

import numpy as np

from ml_assets.core.replay import History

STREAMS = ("stable", "harder", "linear", "sudden", "season", "regimes", "spurt")


def stream(kind: str, seed: int = 0, *, many: int = 80, window: int = 12, rows: int = 150) -> History:
    """The mean absolute error of every fit on every later partition.

    stable: nothing changes. harder: the noise grows, and no model can help it. linear: one coefficient moves on.
    sudden: all coefficients jump three times. season: a wave of twelve partitions. regimes: two states that come back.
    spurt: slow, then fast, then slow.
    """
    made = np.random.default_rng([seed, STREAMS.index(kind)])
    total, features = many + window, 4
    time = np.arange(total) - window
    truth = np.tile(made.normal(size=features), (total, 1))
    way = made.normal(size=features)
    way /= np.linalg.norm(way)
    noise = np.ones(total)
    if kind == "harder":
        noise = 1 + np.maximum(time, 0) * 0.02
    elif kind == "linear":
        truth += np.outer(time * 0.06, way)
    elif kind == "sudden":
        for jump in made.choice(np.arange(5, many - 5), 3, replace=False):
            truth[jump + window :] += made.normal(size=features)
    elif kind == "season":
        truth += np.outer(1.2 * np.sin(2 * np.pi * time / 12), way)
    elif kind == "regimes":
        changes = (made.random(total) < 1 / 12) & (time > 0)
        truth += np.outer(2.0 * (np.cumsum(changes) % 2), way)
    elif kind == "spurt":
        fast = (time > 0.3 * many) & (time < 0.6 * many)
        truth += np.outer(np.cumsum(np.where(fast, 0.18, 0.015)), way)
    inputs = made.normal(size=(total, rows, features))
    wanted = np.einsum("trf,tf->tr", inputs, truth) + noise[:, None] * made.normal(size=(total, rows))
    losses = np.full((many, many), np.nan)
    for fit in range(many):
        learnt = inputs[fit : fit + window].reshape(-1, features)
        weights = np.linalg.lstsq(learnt, wanted[fit : fit + window].ravel(), rcond=None)[0]
        errors = np.abs(wanted[fit + window :] - inputs[fit + window :] @ weights)
        losses[fit, fit:] = errors.mean(axis=1)
    return history_of_losses(losses, rows)


def history_of_losses(losses: np.ndarray, rows: int = 500, *, delay: int = 0, metric: str = "mae") -> History:
    many = len(losses)
    names = tuple(f"{number:03}" for number in range(many))
    return History(names, np.full(many, float(rows)), losses, np.full(many, np.nan), metric, delay)


def aging(many: int, rate: float, *, base: float = 1.0) -> np.ndarray:
    """Losses that grow by a rate with each partition that a fit is older, without noise."""
    age = np.arange(many)[None, :] - np.arange(many)[:, None]
    return np.where(age >= 0, base + rate * age, np.nan)
