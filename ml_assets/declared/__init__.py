"""What a team declares, section by section.

The classes are Dagster models, so that `dg check yaml` knows them; they only hold values and refuse wrong ones.
"""
