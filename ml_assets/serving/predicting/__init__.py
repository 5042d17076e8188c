"""Predictions over HTTP: the same features.sql and the same version as in the graph."""
