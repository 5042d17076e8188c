"""Where a project's rows come from before the platform sees them: what is on disk, a publisher, or a simulation.

Nothing here knows Dagster or the lake: it ends with a folder of CSV files and a note of their origin beside them, so
that a run reads the same files whoever put them there, and made-up rows can never be taken for published ones.
"""
