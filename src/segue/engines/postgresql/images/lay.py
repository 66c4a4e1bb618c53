"""The way forth again: what an operation's own code had made of rows when it last ran, laid over what it makes now.

The code runs again, because others have written meanwhile. A row that it finds as the way back had left it becomes what
it was before that, with whatever new code had made of it; any other row is what the code makes of it now, but for what
new code had written. A row that the code makes again gets its former key. In the transaction of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from segue.engines.postgresql.images import shape
from segue.engines.postgresql.images.restore import BACK, KEPT, same
from segue.engines.postgresql.images.shape import EDITED, NUMBER, STATE, WHAT, Ask, Column, Images, Quote

Execute = Callable[[str], None]

_PAIRS = '"segue_pairs"'


def over(ask: Ask, execute: Execute, quote: Quote, place: str, earlier: str) -> None:
    """Lay the images in the one schema over what the code has just done, of which the other has the images."""
    now = {images.table.id: images for images in shape.found(ask, place)}
    layers = [
        Layer(ask=ask, execute=execute, quote=quote, was=was, now=now[was.table.id])
        for was in shape.found(ask, earlier)
        if was.table.id in now
    ]
    execute("SET CONSTRAINTS ALL DEFERRED")
    for layer in _parents_first(ask, layers):
        layer.give_keys_back()
    for layer in layers:
        layer.give_values_back()


def set_aside(ask: Ask, execute: Execute, quote: Quote, earlier: str, begin: Callable[[int], None]) -> None:
    """Delete what the code had made in tables of its own release and nobody has touched: it will make it again."""
    every = [images for images in shape.found(ask, earlier) if images.new]
    for images in every:
        begin(images.table.id)
    while sum(_rows_set_aside(ask, quote, images) for images in every):
        pass  # A row may go once what refers to it has gone.
    for images in every:
        execute(f"UPDATE {images.sql} SET {STATE} = '{KEPT}' WHERE {STATE} IS NULL")


def _rows_set_aside(ask: Ask, quote: Quote, images: Images) -> int:
    table = quote(images.table.name)
    free = []
    for key in shape.keys_onto(ask, images.table):
        refers = [f"c.{quote(o)} = t.{quote(n)}" for o, n in zip(key.others, key.own, strict=True)]
        free.append(f"NOT EXISTS (SELECT FROM {key.other} c WHERE {' AND '.join(refers)})")
    unchanged = [same(f"t.{quote(c.name)}", f"i.now_{c.number}") for c in images.table.columns]
    of_row = [f"t.{quote(c.name)} = i.key_{c.number}" for c in images.table.key]
    condition = " AND ".join([f"i.{STATE} IS NULL", *of_row, *unchanged, *free])
    return len(
        ask(
            f"WITH last AS ({_last(images)}), gone AS (DELETE FROM {table} t USING last i WHERE {condition} "
            f"RETURNING {', '.join(f'i.key_{c.number}' for c in images.table.key)}) "
            f"UPDATE {images.sql} i SET {STATE} = '{BACK}' FROM gone g "
            f"WHERE {' AND '.join(f'i.key_{c.number} = g.key_{c.number}' for c in images.table.key)} RETURNING 1"
        )
    )


def _last(images: Images) -> str:
    """Return SQL of the last image of each row."""
    keys = ", ".join(f"key_{c.number}" for c in images.table.key)
    return f"SELECT DISTINCT ON ({keys}) * FROM {images.sql} ORDER BY {keys}, {NUMBER} DESC"


def _first(images: Images) -> str:
    """Return SQL of the first image of each row."""
    keys = ", ".join(f"key_{c.number}" for c in images.table.key)
    return f"SELECT DISTINCT ON ({keys}) * FROM {images.sql} ORDER BY {keys}, {NUMBER}"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One table's images: `was` of the run that was taken back, `now` of the one that has just ended."""

    ask: Ask
    execute: Execute
    quote: Quote
    was: Images
    now: Images

    @property
    def _columns(self) -> list[Column]:
        """The columns that both have, of one type."""
        known = {(c.number, c.type) for c in self.was.table.columns}
        return [c for c in self.now.table.columns if (c.number, c.type) in known]

    @property
    def _table(self) -> str:
        return self.quote(self.now.table.name)

    # Values

    def give_values_back(self) -> None:
        """Give rows that the code has changed, and had changed before, what they had."""
        columns = [c for c in self._columns if not c.is_key and not c.is_fixed]
        if not columns:
            return
        as_left = " AND ".join(same(f"n.was_{c.number}", f"e.was_{c.number}") for c in self._columns)
        keys = [c.number for c in self.now.table.key]
        of_row = " AND ".join(f"e.key_{k} = n.key_{k}" for k in keys)
        newest = " AND ".join(f"l.key_{k} = e.key_{k}" for k in keys)
        values = {c: self._value(c) for c in columns}
        differs = " OR ".join(f"NOT {same(f't.{self.quote(c.name)}', value)}" for c, value in values.items())
        self.execute(
            f"WITH e AS ({_first(self.was)}), l AS ({_last(self.was)}), n AS ({_first(self.now)}), "
            f"x AS (SELECT {', '.join(f'e.key_{k}' for k in keys)}, ({as_left}) AS as_left, "
            f"{', '.join(f'l.now_{c.number}, e.was_{c.number} AS left_{c.number}' for c in columns)}, "
            f"{', '.join(f'n.was_{c.number} AS found_{c.number}' for c in columns)}, "
            f"ARRAY(SELECT unnest(d.{EDITED}) FROM {self.was.sql} d WHERE "
            f"{' AND '.join(f'd.key_{k} = e.key_{k}' for k in keys)}) AS edited "
            f"FROM e JOIN l ON {newest} JOIN n ON {of_row} "
            f"WHERE e.{WHAT} = 'U' AND l.{WHAT} = 'U' AND l.{STATE} = '{BACK}' AND n.{WHAT} = 'U') "
            f"UPDATE {self._table} t SET {', '.join(f'{self.quote(c.name)} = {value}' for c, value in values.items())} "
            f"FROM x WHERE {' AND '.join(f't.{self.quote(c.name)} = x.key_{c.number}' for c in self.now.table.key)} "
            f"AND ({differs})"
        )

    def _value(self, column: Column) -> str:
        number = column.number
        edited = f"{number} = ANY(x.edited) AND {same(f'x.found_{number}', f'x.left_{number}')}"
        return f"CASE WHEN x.as_left OR ({edited}) THEN x.now_{number} ELSE t.{self.quote(column.name)} END"

    # Rows

    def give_keys_back(self) -> None:
        """Give rows that the code has made, and had made before, the keys that they had, with what refers to them."""
        if len(self.now.table.key) != 1 or self.now.table.key[0].is_fixed:
            return
        key = self.now.table.key[0]
        onto = shape.keys_onto(self.ask, self.now.table)
        if not all(foreign.deferrable for foreign in onto):
            return
        name, number = self.quote(key.name), key.number
        content = [c for c in self._columns if not c.is_key]
        made = f"SELECT FROM {{0}} i WHERE i.{WHAT} = 'I' AND i.key_{number} = {{1}}"
        was = self._alike(", ".join(f"l.now_{c.number}" for c in content), f"l.key_{number}", f"l.{NUMBER}")
        now = self._alike(", ".join(f"t.{self.quote(c.name)}" for c in content), f"t.{name}", f"t.{name}")
        self.execute(
            f"CREATE TEMP TABLE {_PAIRS} ON COMMIT DROP AS SELECT w.key AS was, n.key AS now, w.state FROM "
            f"(SELECT {was}, l.{STATE} AS state FROM ({_last(self.was)}) l WHERE l.{WHAT} <> 'D' "
            f"AND l.{STATE} IN ('{BACK}', '{KEPT}') AND EXISTS ({made.format(self.was.sql, f'l.key_{number}')})) w "
            f"JOIN (SELECT {now} FROM {self._table} t WHERE EXISTS ({made.format(self.now.sql, f't.{name}')})) n "
            f"USING (content, place) WHERE w.key <> n.key "
            f"AND (w.state = '{KEPT}') = EXISTS (SELECT FROM {self._table} t WHERE t.{name} = w.key)"
        )
        for foreign in onto:
            if foreign.own == (key.name,):
                child = self.quote(foreign.others[0])
                self.execute(f"UPDATE {foreign.other} c SET {child} = p.was FROM {_PAIRS} p WHERE c.{child} = p.now")
        self.execute(f"DELETE FROM {self._table} t USING {_PAIRS} p WHERE t.{name} = p.now AND p.state = '{KEPT}'")
        self.execute(f"UPDATE {self._table} t SET {name} = p.was FROM {_PAIRS} p WHERE t.{name} = p.now")
        self.execute(f"DROP TABLE {_PAIRS}")

    def _alike(self, content: str, key: str, order: str) -> str:
        """Return SQL of a row's key, what it holds besides, and its place among those that hold the same."""
        held = f"md5(ROW({content})::text)"
        return f"{key} AS key, {held} AS content, row_number() OVER (PARTITION BY {held} ORDER BY {order}) AS place"


def _parents_first(ask: Ask, layers: Sequence[Layer]) -> list[Layer]:
    """Return the tables in an order in which none comes before one that it refers to, as far as there is one."""
    left, ordered = list(layers), list[Layer]()
    parents = {
        layer.now.table.id: {key.other_id for key in shape.keys_from(ask, layer.now.table)} - {layer.now.table.id}
        for layer in layers
    }
    while left:
        ids = {layer.now.table.id for layer in left}
        ready = [layer for layer in left if not parents[layer.now.table.id] & ids] or left[:1]
        ordered += ready
        left = [layer for layer in left if layer not in ready]
    return ordered
