"""The platform measured beside the plain script, the by-the-book project and bare Dagster: `make bench`."""
