"""Model versions and the ledger: what was trained on what, what served when, and who or what decided."""
