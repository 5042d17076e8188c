"""Storage of tables. Everything that touches the lake's catalogue is in this package, and nothing else may write it."""
