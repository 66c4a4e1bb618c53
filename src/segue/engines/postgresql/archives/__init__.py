"""What purge takes out of the database and what quarantine holds: written as a stream, and put back from it."""
