"""Any value of the core, for the properties that hold for all of them."""

from __future__ import annotations

from hypothesis import strategies as st

from segue.core.change import Act, Backfill, Irreversible, Kind, LockMode, Retired, TableLock
from segue.core.plan import Direction, Phase, Plan, PlannedMigration, Step, Target

texts = st.text(max_size=12)
retired = st.builds(
    Retired,
    kind=st.sampled_from(Kind),
    table=st.sampled_from(["book", "author"]),
    name=st.sampled_from(["title", "name"]),
    definition=st.sampled_from(["text", "integer"]),
    place=st.sampled_from(["", "grave"]),
)
several_retired = st.lists(retired, max_size=2).map(tuple)
locks = st.lists(st.builds(TableLock, table=texts, mode=st.sampled_from(LockMode)), max_size=2).map(tuple)
acts = st.builds(
    Act,
    statements=st.lists(texts, max_size=2).map(tuple),
    locks=locks,
    transactional=st.booleans(),
    backfill=st.one_of(st.none(), st.builds(Backfill, table=texts, assignments=texts, where=texts)),
    retires=several_retired,
    revives=several_retired,
    purges=several_retired,
)
steps = st.builds(
    Step,
    id=texts,
    title=texts,
    phase=st.sampled_from(Phase),
    forward=acts,
    undo=st.one_of(st.lists(acts, max_size=2).map(tuple), st.builds(Irreversible, reason=texts)),
    probe=texts,
    clean=st.lists(texts, max_size=2).map(tuple),
    while_retired=several_retired,
    online=st.booleans(),
    opaque=st.booleans(),
    note=texts,
)
plans = st.builds(
    Plan,
    target=st.builds(Target, alias=texts, name=texts, vendor=texts, version=texts),
    direction=st.sampled_from(Direction),
    migrations=st.lists(
        st.builds(
            PlannedMigration, app=texts, name=texts, steps=st.lists(steps, max_size=3).map(tuple), whole=st.booleans()
        ),
        max_size=2,
    ).map(tuple),
)
