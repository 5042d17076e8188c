"""Who may do what: keys, sessions, the door before every route, and what a person does from a page."""
