"""From a file to a project: what the data says, guesses with their reasons, and the four files that hold them."""
