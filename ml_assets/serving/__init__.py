"""The report pages: what the lake, the registry and the ledger hold, for people to look at."""
