"""The science: plain functions on frames, arrays and numbers. Nothing here knows Dagster, files or the network."""
