"""Errors of more than one room, where the command line can know them without importing Dagster."""

from __future__ import annotations


class RunFailedError(Exception):
    """A run failed; the message says which step and why."""
