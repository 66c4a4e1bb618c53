"""What the README claims, measured: one subcommand of `python -m bench` for each claim.

Start at `__main__.py`. The benchmarks start every server and client that they need, on VILLEN Music.
"""
