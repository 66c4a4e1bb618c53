"""Literals, and statements that the server runs as one block of PL/pgSQL. Builds SQL only."""

from __future__ import annotations


def literal(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def block(body: str, *, declare: str = "") -> str:
    """Return statements as one, for the server to run; a column's name wins over a variable's."""
    tag = "$segue$"
    while tag in body:
        tag = f"{tag[:-1]}_$"
    declared = f" DECLARE {declare};" if declare else ""
    return f"DO {tag} #variable_conflict use_column\n{declared.lstrip()} BEGIN {body}; END {tag}"


def fail_if_any(rows: str, said: str, *, error: str) -> str:
    """Return the statement that fails when there are rows, saying "there are 2 rows" and then what is said.

    `rows` is what follows FROM, `error` the name of a condition:
    https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    return block(
        f"SELECT count(*) INTO segue_found FROM {rows}; IF segue_found > 0 THEN RAISE EXCEPTION "
        f"USING ERRCODE = {literal(error)}, MESSAGE = 'there ' || CASE segue_found WHEN 1 THEN 'is 1 row' "
        f"ELSE 'are ' || segue_found || ' rows' END || {literal(said)}; END IF",
        declare="segue_found bigint",
    )
