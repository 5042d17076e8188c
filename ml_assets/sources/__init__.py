"""Where a project's rows come from before the platform sees them: files, a publisher, or a simulation.

Nothing here knows Dagster. Publisher and simulation end with a folder of CSV files and a note of their origin beside
them, so that a run reads the same files whoever put them there, and made-up rows can never be taken for published ones.
What reads them does what `reading.Reader` says: `files.FileReader` finds them, `storage` opens them, `text` cuts them
into lines, and a module for each format makes rows of these.
"""
