"""One module per layer of a project's graph, each a function from the project to Dagster definitions.

Thin: the science is in `core`, the tables in `lake`, the versions in `registry`.
"""
