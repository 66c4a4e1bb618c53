"""What steps do, as values: each function returns the acts, or the SQL of an act, for one thing. Emits nothing."""
