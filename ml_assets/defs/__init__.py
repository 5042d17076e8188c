"""The projects shipped with the platform, one folder each. A new folder with a `defs.yaml` is a new project."""
