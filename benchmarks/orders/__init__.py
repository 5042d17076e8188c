"""A table of orders of any length, 12 columns, one row in 200 with something wrong: what the rows about speed read."""
