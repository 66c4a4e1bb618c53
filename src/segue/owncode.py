"""Runs the operations that Segue cannot see through: a migration's own code, and those of third parties.

Such code first runs in its transaction, as in stock Django, with an editor that stops it at the first change of
the schema. Then nothing has happened yet, and it runs again, outside a transaction: each change is a step that is
carried out online and journaled by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from segue.core.change import Alias
from segue.core.errors import StepFailed
from segue.core.plan import Step
from segue.engines.base import Capture, SchemaTouched, Uncaptured
from segue.engines.names import physical_names
from segue.operations import Move, is_sql
from segue.session import Session


@dataclass(frozen=True, kw_only=True)
class OwnCode:
    """One operation that Segue cannot see through, and who hears of what it does.

    `editor` is the step editor. `then` commits together with an operation that runs in a transaction; `wrote` hears
    of the writes of one that does not, while it `listens`. With a `capture`, what it changes in rows is kept.
    """

    session: Session
    move: Move
    editor: Any
    aliases: tuple[Alias, ...]
    then: Callable[[], None]
    listens: Callable[[str], bool] = lambda _: False
    wrote: Callable[[str], None] = lambda _: None
    capture: Capture | None = None

    def run(self, *, begun: bool, touched: SchemaTouched | None) -> bool:
        """Run the operation; return whether its steps and its writes were committed as it went.

        One that is `begun` goes on so, because a part of it is committed already; one that is known to have touched
        the schema need not show it again.
        """
        self.session.await_canary()
        if begun or not (self.move.migration.atomic or self.move.operation.atomic):
            return self._as_it_goes()
        if is_sql(self.move.operation):
            return self._in_transaction(armed=False)
        if touched is None:
            try:
                return self._in_transaction(armed=True)
            except SchemaTouched as met:
                touched = met
        return self._again(nested=touched.nested)

    def _again(self, *, nested: bool) -> bool:
        what = f"{self.move.migration}: {self.move.operation.describe()}"
        if nested:
            self.session.say(
                f"{what} changes the schema within a transaction of its own, so it runs as in stock Django"
            )
            return self._in_transaction(armed=False)
        self.session.say(
            f"{what} changes the schema, so it begins again: each change is made online by itself, and what else it "
            "writes is committed as it goes"
        )
        return self._as_it_goes()

    def _in_transaction(self, *, armed: bool) -> bool:
        """Run it as stock does, all or nothing; raise SchemaTouched when it was stopped."""
        while True:
            try:
                with (
                    self._alone(),
                    self.editor.tripwire(atomic=self.move.migration.atomic, armed=armed) as stock,
                    self._captured(local=True),
                ):
                    with named(self.move, self.aliases):
                        self.move.run(stock)
                    stock.require_untouched()
                    if self.capture is not None:
                        self.capture.settle(counted=True)
                    self.then()
                return False
            except Uncaptured as met:
                assert self.capture is not None
                self.session.say(
                    f"{self.move.migration}: {self.move.operation.describe()} writes to what it does not name, so it "
                    "begins again: first Segue sees to it that what it changes there is kept, too"
                )
                for table in met.tables:
                    self.capture.begin(table)

    def _captured(self, *, local: bool) -> AbstractContextManager[None]:
        return nullcontext() if self.capture is None else self.capture.watching(local=local)

    def _alone(self) -> AbstractContextManager[Any]:
        """Begin the transaction of an atomic operation; that of an atomic migration is the editor's own."""
        if self.move.migration.atomic:
            return nullcontext()
        return transaction.atomic(using=self.session.engine.connection.alias)

    def _as_it_goes(self) -> bool:
        with (
            self._captured(local=False),
            self.editor.own_code(self.listens, self.wrote),
            named(self.move, self.aliases),
        ):
            if is_sql(self.move.operation):
                with self.editor.tripwire(atomic=False, armed=False) as stock:
                    self.move.run(stock)
            else:
                self.move.run(self.editor)
            if self.capture is not None:
                with transaction.atomic(using=self.session.engine.connection.alias):
                    self.capture.settle(counted=False)
        return True


@contextmanager
def named(move: Move, aliases: tuple[Alias, ...]) -> Iterator[None]:
    """Let the models of the operation's states use the database's own names for the block."""
    with ExitStack() as stack:
        if aliases:
            for state in (move.start, move.end):
                # Code asks for every model whole; what is made anew later would have the other names again.
                state.clear_delayed_apps_cache()
                state.is_delayed = False
                stack.enter_context(physical_names(state.apps, aliases))
        yield


def require_no_transaction(session: Session, step: Step) -> None:
    """Raise StepFailed when code changes the schema inside a transaction that it has begun and Segue cannot end."""
    if session.engine.connection.in_atomic_block:
        raise StepFailed(
            f"{step.title}: the migration is not atomic, and its code changes the schema inside transaction.atomic(). "
            "Take the change out of that block, or make the migration atomic."
        )
