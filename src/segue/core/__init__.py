"""Values and decisions. Standard library only: no Django, no driver, no effect.

The words of the project, as the code uses them:

target      one database alias, its vendor and server version
release     one move of one target from a migration state to another
plan        what a release will do: a value that can be stored and compared
step        the smallest piece of work that is journaled, resumed or undone
act         statements carried out together under named locks: a step's forward, or a piece of its undo
phase       expand, backfill, validate, contract (waits for finalize), purge
retire      hide an object instead of dropping it; revive brings it back instead of creating it
bury        give a retired object another name, so that its old name is free again
archive     the values of what purge drops, in the store, read back and proved
quarantine  rows that the way back cannot attach: kept and listed, never dropped
release tag the migration graph's hash that the installed app appends to application_name
journal     the release's events in the target's database; the ledger is its mirror in the store
"""
