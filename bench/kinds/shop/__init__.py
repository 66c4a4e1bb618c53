"""The Django app whose schema the benchmark of kinds changes: a shop of songs."""
