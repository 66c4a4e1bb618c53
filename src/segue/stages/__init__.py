"""One verb a file. A stage takes a session and values, and returns a value; stages never call each other."""
