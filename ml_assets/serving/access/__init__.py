"""Who may do what: keys, sessions, the gate before every route, and what a person does from a page."""
