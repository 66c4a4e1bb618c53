"""A migration's way through: its operations, the engine's editor, the steps, and back again.

Decides whether a migration runs whole or step by step, resumes one that was interrupted, and takes back one
that failed. The steps themselves are the executor's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from django.db import transaction
from django.db.migrations import Migration
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from segue import history
from segue.core.change import Act, Cemetery, Irreversible, Kind, Restore, images_of
from segue.core.errors import NeedsPerson, SegueError, StepFailed
from segue.core.event import EventKind
from segue.core.evidence import Timing
from segue.core.plan import Phase, Step
from segue.core.run import Run, Work
from segue.engines.base import Capture, SchemaTouched
from segue.executor import (
    carry_out,
    carry_out_unnoted,
    end_captures,
    settle_intended,
    undo,
    undo_in_background,
)
from segue.operations import (
    Move,
    capture_step,
    has_reverse,
    is_capture,
    is_silent,
    is_sql,
    is_translated,
    on_database,
    opaque_step,
    place_of,
    prefix,
    prefix_of,
    walk,
    writes_step,
)
from segue.owncode import OwnCode, named, require_no_transaction
from segue.session import Session


def runs_whole(session: Session, migration: Migration, *, fresh: bool) -> bool:
    """Whether a migration runs in one transaction, as stock Django runs it: where it has no step of its own."""
    if fresh or not session.engine.online:
        return True
    loud = [operation for _, operation in on_database(migration.operations) if not is_silent(operation)]
    as_one = migration.atomic and not session.captures and not any(is_translated(operation) for operation in loud)
    return not loud or as_one


def translate(
    editor: Any,
    migration: Migration,
    state: ProjectState,
    *,
    backwards: bool,
    opaque: Callable[[Move], None],
    is_undone: Callable[[Operation], bool] = lambda operation: operation.reversible,
) -> ProjectState:
    """Let every operation speak to the step editor, or to `opaque` when it does more than that.

    `is_undone` says of an operation whether there is a way back. Returns the state after the migration, or backwards
    the one before it.
    """
    with editor:
        for move in walk(migration, state, backwards=backwards, is_undone=is_undone):
            editor.prefix = prefix_of(move)
            editor.states = (move.start, move.end)
            if is_translated(move.operation) or is_silent(move.operation):
                move.run(editor)
            else:
                opaque(move)
        editor.prefix = f"{prefix(migration, backwards=backwards)}:end"
    return state


class ReleaseCarrier:
    """Carries one release's migrations out: `history.Carrier` for the real thing.

    `deferring` says whether contract steps wait for finalize; when a release is rolled back there is nothing
    to wait for. An interrupted run's work is taken up where it stopped.
    """

    def __init__(self, session: Session, release: str, *, fresh: bool, deferring: bool) -> None:
        self._session = session
        self._release = release
        self._fresh = fresh
        self._deferring = deferring
        self._work: Work | None = session.journal.run(release).work
        self._cemetery: Cemetery = session.journal.cemetery(before_work_of=release)
        self._new_tables = _tables_made(session, session.journal.run(release))
        self._recorder = session.migrator.recorder
        self._touched: dict[str, SchemaTouched] = {}
        self._capture: Capture | None = None

    def forward(self, migration: Migration, state: ProjectState) -> ProjectState:
        """Apply the migration to the database; return the state after it."""
        return self._carry(migration, state, backwards=False)

    def backward(self, migration: Migration, state: ProjectState) -> ProjectState:
        """Unapply the migration; `state` is the one before it."""
        return self._carry(migration, state, backwards=True)

    def _carry(self, migration: Migration, state: ProjectState, *, backwards: bool) -> ProjectState:
        self._session.engine.check_held()
        key = (migration.app_label, migration.name)
        begun = self._work is not None and self._work.migration == key
        if not begun and runs_whole(self._session, migration, fresh=self._fresh):
            if self._fresh or not self._session.engine.online:
                return self._whole(migration, state, backwards)
            after = self._whole_unless_touched(migration, state.clone(), backwards)
            if after is not None:
                return after
        return self._step_by_step(migration, state, backwards)

    def _step_by_step(self, migration: Migration, state: ProjectState, backwards: bool) -> ProjectState:
        key = (migration.app_label, migration.name)
        start = state.clone()
        try:
            if self._work is None or self._work.migration != key:
                self._work = Work(migration=key, backwards=backwards)
                self._append_started(migration, backwards)
            self._take_over(migration, backwards)
            state = self._stepwise(migration, state, backwards)
            with transaction.atomic(using=self._session.engine.connection.alias):
                history.record(self._recorder, migration, backwards=backwards)
                self._append(EventKind.MIGRATION_DONE, migration=key, backwards=backwards)
        except NeedsPerson:
            raise
        except (Exception, KeyboardInterrupt) as error:
            # Whatever the migration's own code raises, what was done is taken back before anybody hears of it.
            self._take_back(migration, start, error)
            raise
        self._work = None
        return state

    def _append(self, kind: EventKind, **data: Any) -> None:
        self._session.journal.append(self._release, kind, **data)

    def _append_started(self, migration: Migration, backwards: bool) -> None:
        key, file = (migration.app_label, migration.name), history.file_digest(migration)
        self._append(EventKind.MIGRATION_STARTED, migration=key, backwards=backwards, file=file)

    def _take_over(self, migration: Migration, backwards: bool) -> None:
        """Take on what a rolled back release has left loose for new code: it stays so, and this one's undo ends it."""
        journal = self._session.journal
        for run in journal.runs_behind():
            for step in reversed(run.background):
                if step.id.startswith(f"{prefix(migration, backwards=backwards)}:"):
                    kept = replace(step, id=f"{step.id}:kept", forward=Act(), probe="", clean=())
                    with transaction.atomic(using=self._session.engine.connection.alias):
                        journal.append(run.release, EventKind.ACT_UNDONE, id=step.id, act=Act(), acts_left=0)
                        self._append(EventKind.STEP_DONE, step=kept)

    # Whole: in one transaction, as stock Django

    def _whole(self, migration: Migration, state: ProjectState, backwards: bool) -> ProjectState:
        key = (migration.app_label, migration.name)

        archives = count(1)

        def archived(act: Act) -> None:
            self._cemetery.follow(act)
            step = Step(
                id=f"{migration.app_label}.{migration.name}:whole:{next(archives)}:archive",
                title="archive",
                phase=Phase.EXPAND,
                forward=act,
                undo=(),
            )
            self._append(EventKind.STEP_DONE, step=step)

        stock = self._fresh and (self._session.engine.online or not migration.atomic)
        if stock:
            # Nobody has written anything yet, so there is nothing to archive.
            made = self._session.engine.connection.schema_editor(atomic=migration.atomic)
        else:
            made = self._session.engine.whole_editor(
                atomic=migration.atomic,
                release=self._release,
                migration=f"{migration.app_label}.{migration.name}",
                backwards=backwards,
                cemetery=self._cemetery,
                done=archived,
            )
        with made as editor:
            self._append_started(migration, backwards)
            if stock:
                state = migration.unapply(state, editor) if backwards else migration.apply(state, editor)
            else:
                _run_archiving(editor, migration, state, backwards=backwards)
            for sql in editor.deferred_sql:
                editor.execute(sql, None)
            editor.deferred_sql.clear()
            history.record(self._recorder, migration, backwards=backwards)
            self._append(EventKind.MIGRATION_DONE, migration=key, backwards=backwards, whole=True)
        return state

    def _whole_unless_touched(self, migration: Migration, state: ProjectState, backwards: bool) -> ProjectState | None:
        """Run a migration of nothing but code whole; None, and nothing has happened, when it changes the schema."""
        key = (migration.app_label, migration.name)
        try:
            with self._editor(_no_step).tripwire(atomic=True) as editor:
                self._append_started(migration, backwards)
                for move in walk(migration, state, backwards=backwards):
                    met = move
                    editor.armed = not is_sql(move.operation)
                    with named(move, self._cemetery.aliases):
                        move.run(editor)
                    editor.require_untouched()
                history.record(self._recorder, migration, backwards=backwards)
                self._append(EventKind.MIGRATION_DONE, migration=key, backwards=backwards, whole=True)
        except SchemaTouched as touched:
            self._touched[prefix_of(met)] = touched
            return None
        return state

    # Stepwise: each step commits by itself

    def _stepwise(self, migration: Migration, state: ProjectState, backwards: bool) -> ProjectState:
        assert self._work is not None
        run = self._session.journal.run(self._release)
        done = {step.id for step in self._work.steps} | {step.id for _, step in run.deferred}
        begun = {place_of(step) for step in self._work.steps if not is_capture(step)}
        busy = False

        def carry(step: Step) -> None:
            nonlocal busy
            if step.id in done:
                return
            require_no_transaction(self._session, step)
            busy = True
            try:
                with nullcontext() if self._capture is None else self._capture.paused():
                    self._carry_step(step)
            finally:
                busy = False

        def opaque(move: Move) -> None:
            if opaque_step(move).id not in done:
                self._run_own_code(editor, move, done, begun=move.place in begun, busy=lambda: busy)

        editor = self._editor(carry)
        return translate(editor, migration, state, backwards=backwards, opaque=opaque)

    def _editor(self, emit: Callable[[Step], None]) -> Any:
        editor = self._session.engine.step_editor(
            emit=emit, prefix="", release=self._release, cemetery=self._cemetery, new_tables=self._new_tables
        )
        editor.defers = self._deferring
        return editor

    def _carry_step(self, step: Step) -> None:
        if step.phase is not Phase.CONTRACT:
            carry_out(self._session, self._release, step)
        elif self._deferring:
            self._append(EventKind.STEP_DEFERRED, step=step)

    def _run_own_code(self, editor: Any, move: Move, done: set[str], *, begun: bool, busy: Callable[[], bool]) -> None:
        """Run an operation that Segue cannot see through and journal that it is done, and that it has written."""
        began, began_at = time.monotonic(), time.time()
        alias = self._session.engine.connection.alias
        capture = self._capture = self._captured(move, done) if self._session.captures else None
        noting = False
        noted = [partial(done.add, writes_step(move, captured=captured).id) for captured in (False, True)]

        def note_done(step: Step) -> None:
            self._note_done(step, time.monotonic() - began, began_at)

        def is_captured(sql: str) -> bool:
            return capture is not None and capture.covers(sql)

        def listens(sql: str) -> bool:
            """Whether a write is the code's own, and none is noted yet; a note goes when its write is rolled back."""
            if noting or busy():
                return False
            captured = is_captured(sql)
            waiting = [hook[1] for hook in self._session.engine.connection.run_on_commit]
            return writes_step(move, captured=captured).id not in done and noted[captured] not in waiting

        def wrote(sql: str) -> None:
            nonlocal noting
            noting, captured = True, is_captured(sql)
            try:
                self._append(EventKind.STEP_DONE, step=writes_step(move, captured=captured))
            finally:
                noting = False
            transaction.on_commit(noted[captured], using=alias)

        def then() -> None:
            whole = capture is not None and not capture.missed
            note_done(opaque_step(move, undo=() if whole else None))

        code = OwnCode(
            session=self._session,
            move=move,
            editor=editor,
            aliases=self._cemetery.aliases,
            then=then,
            listens=listens,
            wrote=wrote,
            capture=capture,
        )
        if begun and capture is not None:
            self._begin_anew(move, capture)
        try:
            if code.run(begun=begun, touched=self._touched.get(prefix_of(move))):
                note_done(opaque_step(move, undo=()))
        finally:
            self._capture = None
        if capture is not None:
            self._tell_missed(move, capture)
            end_captures(self._session)

    def _captured(self, move: Move, done: set[str]) -> Capture:
        """Return what keeps images of what an operation's own code changes; each table's begin with a step."""
        operation = prefix_of(move)
        run = self._session.journal.run(self._release)
        steps = [*(step for _, steps in run.done for step in steps), *(run.work.steps if run.work else ())]

        def begin(table: str, forward: Act, undo: tuple[Act, ...]) -> None:
            step = capture_step(move, table, forward, undo)
            if not undo:  # It had begun before an interruption, and the journal has it.
                self._session.elsewhere(lambda session: carry_out_unnoted(session, forward))
                return
            self._session.elsewhere(lambda session: carry_out(session, self._release, step))
            self._cemetery.follow(forward)
            done.add(step.id)

        return self._session.engine.capture(
            self._release,
            operation,
            begin=begin,
            most_rows=self._session.most_captured,
            columns_made=frozenset(_columns_made(steps)),
            tables_made=frozenset(self._new_tables),
            earlier=_images_of(operation, self._cemetery, besides=self._release),
        )

    def _begin_anew(self, move: Move, capture: Capture) -> None:
        """Put back what an interrupted run of the code had committed, where all of it was kept."""
        run = self._session.journal.run(self._release)
        steps = [step for step in run.work.steps if place_of(step) == move.place] if run.work else []
        if any(isinstance(step.undo, Irreversible) for step in steps):
            return
        self._session.say(f"{move.migration}: {move.operation.describe()} was interrupted; what it wrote is put back")
        restore = Restore(place=capture.place, operation=prefix_of(move), release=self._release, forgets=True)
        carry_out_unnoted(self._session, Act(restore=restore))

    def _tell_missed(self, move: Move, capture: Capture) -> None:
        if not capture.missed:
            return
        way_back = "its own reverse takes it back" if has_reverse(move.operation) else "it cannot be taken back"
        what = f"{move.migration}: not all that {move.operation.describe()} changed is kept"
        self._session.say(f"{what} ({capture.missed[0]}): {way_back}")

    def _note_done(self, step: Step, seconds: float, began_at: float) -> None:
        """Journal that an operation that Segue cannot see through is done, in its transaction if it has one."""
        timing = Timing(
            id=step.id,
            title=step.title,
            phase=step.phase,
            seconds=round(seconds, 4),
            attempts=1,
            waited_seconds=0.0,
            began_at=began_at,
        )
        self._append(EventKind.STEP_DONE, step=step, timing=timing)
        transaction.on_commit(lambda: self._session.timed(timing), using=self._session.engine.connection.alias)

    # Taking back

    def _take_back(self, migration: Migration, start: ProjectState, error: BaseException) -> None:
        """Undo what is done of the migration; raise NeedsPerson, from the error, when something cannot be."""
        try:
            stays = take_back(self._session, self._release, migration, start, leaving_writes=True)
            finish_in_background(self._session, self._release)
        except (SegueError, IrreversibleError) as second:
            raise NeedsPerson(
                f"{migration} failed: {error}\nand could not be taken back: {second}",
                next_command="mend the cause, then run the same command again: it goes on where it stopped",
            ) from error
        self._work = None
        self._cemetery = self._session.journal.cemetery()
        if stays:
            raise NeedsPerson(
                f"{migration} failed: {error}\nEvery change of the schema is taken back. What this wrote beside them "
                f"stays, because it was committed as it went and has no reverse: {', '.join(stays)}.",
                next_command="settle what it wrote and mend the cause, then run the same command again: the migration "
                "begins anew",
            ) from error


def _run_archiving(editor: Any, migration: Migration, state: ProjectState, *, backwards: bool) -> None:
    """Run a migration through an editor that archives: its own code apart, which needs no reverse to be taken back."""

    def is_undone(operation: Operation) -> bool:
        return operation.reversible or not is_translated(operation)

    for move in walk(migration, state, backwards=backwards, is_undone=is_undone):
        operation = move.operation
        if is_translated(operation) or is_silent(operation):
            move.run(editor)
            continue
        name = f"{migration.app_label}.{migration.name}:{move.place}"
        back = partial(move.run, editor) if has_reverse(operation) else None
        editor.own_code(name, partial(move.run, editor), back, is_reversible=operation.reversible)


def _no_step(step: Step) -> None:
    raise TypeError(f"a migration that runs whole has no step of its own: {step.title}")


def _columns_made(steps: Sequence[Step]) -> Iterator[tuple[str, str]]:
    """The columns that steps have added; a twin, whose place says so, is another one's values."""
    for step in steps:
        acts = () if isinstance(step.undo, Irreversible) else step.undo
        retired = (r for act in acts for r in act.retires if r.kind is Kind.COLUMN and not r.place)
        yield from ((r.table, r.name) for r in retired)


def _images_of(operation: str, cemetery: Cemetery, *, besides: str) -> str:
    """Where the images lie of what an operation changed when it last ran, in another release; "" for nowhere."""
    every = (r for r in reversed(cemetery.all()) if r.kind is Kind.TABLE and r.definition == images_of(operation))
    return next((retired.place for retired in every if besides not in retired.place), "")


def _tables_made(session: Session, run: Run) -> set[str]:
    """The tables that a release has made in the migrations that are done, which nobody uses yet."""
    steps = [step for _, done in run.done for step in done if not step.forward.revives]
    acts = [act for step in steps if not isinstance(step.undo, Irreversible) for act in step.undo]
    retired = (retired for act in acts for retired in act.retires if retired.kind is Kind.TABLE)
    return {session.engine.name_of(table) for table in retired}


def take_back(
    session: Session,
    release: str,
    migration: Migration | None,
    start: ProjectState | None,
    *,
    leaving_writes: bool = False,
    older: Sequence[Step] | None = None,
) -> tuple[str, ...]:
    """Undo, newest first, what old code needs undone of the migration in work, and journal that it never was.

    What may wait is left to `finish_in_background`. Each act commits by itself; an interrupted one is gone on
    with by the next call. Where a step has no undo of its own the whole operation is undone by its other direction,
    which needs the migration and the state before it. A migration that was recorded as applied no longer is.

    With the release's `older` steps given, new code is spared: what it uses and nothing older needs out of the way
    waits in the background too.

    Raises StepFailed, before anything is undone, when something cannot be: a migration that cannot go back can
    still go on. Returns the operations that failed half way and whose own writes stay, only when that is allowed.
    """
    work = session.journal.run(release).work
    if work is None:
        return ()
    by_operation, stays = _without_undo(session, work, migration, start, leaving_writes=leaving_writes)
    end_captures(session)
    if work.intended is not None:
        settle_intended(session, work.intended)
    turned: set[str] = set()
    for step in reversed(work.begun):
        place = place_of(step)
        if place not in by_operation:
            before = None if older is None else (*older, *work.begun[: work.begun.index(step)])
            _undo_or_leave(session, release, step, work, sparing=before is not None and _stands_alone(step, before))
        elif place not in turned:
            _reverse(session, release, by_operation[place], work)
            turned.add(place)
    with transaction.atomic(using=session.engine.connection.alias):
        if not work.backwards:
            history.unrecord(session.migrator.recorder, work.migration, migration)
        session.journal.append(release, EventKind.MIGRATION_UNDONE, migration=work.migration)
    return stays


def finish_in_background(session: Session, release: str, *, sparing: bool = False) -> None:
    """Carry out, newest first, what could wait until old code ran again; an interrupted call is gone on with.

    `sparing` new code, because the same migrations are about to be applied again, what is against it is left out.
    """
    for step in session.journal.run(release).background:
        undo_in_background(session, release, step, sparing=sparing)


def _stands_alone(step: Step, older: Sequence[Step]) -> bool:
    """Whether undoing the older steps leaves the tables alone that what is against new code in this one is about."""
    if any(isinstance(one.undo, Irreversible) for one in older):
        return False
    acts = () if isinstance(step.undo, Irreversible) else step.undo
    about = {table for act in acts if act.against_new_code for table in _tables_of(act)}
    others = (act for one in older if not isinstance(one.undo, Irreversible) for act in one.undo)
    return not any(about & _tables_of(act) for act in others if not act.background and not act.against_new_code)


def _tables_of(act: Act) -> set[str]:
    named = {alias.table if alias.column else alias.place for alias in (*act.aliases, *act.unaliases)}
    return {lock.table for lock in act.locks} | named | {table for names in act.renames for table in names}


def is_undoable(steps: tuple[Step, ...], migration: Migration) -> bool:
    """Whether each step has an undo, or belongs to an operation that has a reverse."""
    operations = dict(on_database(migration.operations))
    fixed = [place_of(step) for step in steps if isinstance(step.undo, Irreversible)]
    return all(place in operations and operations[place].reversible for place in fixed)


def needs_operation(session: Session, step: Step) -> bool:
    """Whether a step may only be undone by its operation: it has no undo, or the operation's own reverse is wanted."""
    return isinstance(step.undo, Irreversible) or (session.reverse_code and step.opaque)


def _without_undo(
    session: Session, work: Work, migration: Migration | None, start: ProjectState | None, *, leaving_writes: bool
) -> tuple[dict[str, Move], tuple[str, ...]]:
    """Return the operations to reverse as wholes, by their places, and the titles of those whose writes stay."""
    fixed = [step for step in work.begun if needs_operation(session, step)]
    moves: dict[str, Move] = {}
    if fixed and migration is not None and start is not None:
        moves = _moves_at({place_of(step) for step in fixed}, migration, start, backwards=work.backwards)
    found: dict[str, Move] = {}
    stays: list[str] = []
    for step in fixed:
        move = moves.get(place_of(step))
        if move is not None and _is_reversed(move, work, step):
            found[move.place] = move
        elif move is not None and leaving_writes and step.id == writes_step(move).id and not _is_done(move, work):
            stays.append(step.title)
        elif isinstance(step.undo, Irreversible):
            raise StepFailed(f"{step.title} cannot be undone: {step.undo.reason}, without a reverse.")
    return found, tuple(stays)


def _is_reversed(move: Move, work: Work, step: Step) -> bool:
    """Whether an operation is to be taken back by its reverse; one that has none but what was kept is not."""
    return work.backwards or (
        move.operation.reversible if isinstance(step.undo, Irreversible) else has_reverse(move.operation)
    )


def _is_done(move: Move, work: Work) -> bool:
    return any(step.id == opaque_step(move).id for step in work.steps)


def _moves_at(places: set[str], migration: Migration, start: ProjectState, *, backwards: bool) -> dict[str, Move]:
    """Return the operations at these places, each with states of its own."""
    found = {}
    for move in walk(migration, start.clone(), backwards=backwards):
        if move.place in places:
            found[move.place] = replace(move, end=move.end.clone())
    return found


def _undo_or_leave(session: Session, release: str, step: Step, work: Work, *, sparing: bool) -> None:
    if isinstance(step.undo, Irreversible):
        session.journal.append(release, EventKind.ACT_UNDONE, id=step.id, act=Act(), acts_left=0)
    else:
        undo(session, release, step, (work.acts_left or {}).get(step.id), sparing=sparing)


def _reverse(session: Session, release: str, move: Move, work: Work) -> None:
    """Undo an operation by its other direction, through the same door; what that has done already it does not do again.

    Raises StepFailed, whatever the operation's own code raises.
    """
    back = move.reverse()
    begun = {done for done in work.reversed_by if done.split(":")[2] == move.place}

    def carry(step: Step) -> None:
        if step.id not in begun and step.phase is not Phase.CONTRACT:
            require_no_transaction(session, step)
            carry_out(session, release, step, undoes=prefix_of(move))

    def note_undone() -> None:
        with transaction.atomic(using=session.engine.connection.alias):
            for step in work.begun:
                if place_of(step) == move.place:
                    session.journal.append(release, EventKind.ACT_UNDONE, id=step.id, act=Act(), acts_left=0)

    cemetery = session.journal.cemetery(before_reversal=(release, prefix_of(move)))
    editor = session.engine.step_editor(
        emit=carry, prefix=prefix_of(back), release=release, cemetery=cemetery, new_tables=set()
    )
    editor.defers = False
    as_it_went = True
    try:
        with editor:
            if is_translated(back.operation):
                back.run(editor)
            else:
                as_it_went = OwnCode(
                    session=session,
                    move=back,
                    editor=editor,
                    aliases=cemetery.aliases,
                    then=note_undone,
                ).run(begun=bool(begun), touched=None)
    except SegueError:
        raise
    except Exception as error:
        raise StepFailed(f"{move.operation.describe()} could not be reversed: {error}") from error
    if as_it_went:
        note_undone()
