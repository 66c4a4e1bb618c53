"""Images of rows that a migration's own code changes: how they come to be, and how they serve both ways."""
