"""segue purge: archive what was retired long enough ago, prove the archive, and only then drop it.

Each object by itself: one that cannot be dropped is named, and the others go on. A killed purge leaves nothing that
the next one does not find: an archive without manifest is written again, an object that was not dropped is still there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from secrets import token_hex

from django.apps import apps
from django.utils import timezone

from segue.core import archive
from segue.core.archive import Fingerprint, Manifest
from segue.core.change import Act, Irreversible, Kind, Retired
from segue.core.errors import ArchiveDamaged, StepFailed, StoreFailed, UsageError
from segue.core.event import EventKind
from segue.core.plan import Phase, Plan, Step
from segue.core.purge import Due, Kept, Purge, Purged, Survey, reason_to_keep, spoken
from segue.core.run import State
from segue.executor import carry_out
from segue.session import Session
from segue.storage.archives import Archives

_FORWARD = Irreversible(reason="purge only goes forward; what it drops comes back from its archive")


def survey(session: Session, older_than: timedelta, *, measured: bool) -> Survey:
    """Return what a purge would find; `measured` reads every row of what is due. Writes nothing."""
    runs = {run.release: run for run in session.journal.runs()}
    used, told, now = _used(session), _told(session), timezone.now()
    archivist = session.engine.archivist()
    due: list[Due] = []
    held: list[Kept] = []
    kept: list[Kept] = []
    # A table first: what lies retired in it goes with it.
    for grave in sorted(session.journal.graveyard().graves, key=lambda g: g.retired.kind is not Kind.TABLE):
        remains = archivist.look(grave.retired)
        if remains is None:
            continue
        if reason := reason_to_keep(grave, runs, used, now, older_than):
            kept.append(Kept(retired=grave.retired, reason=reason))
        elif session.engine.name_of(grave.retired) in told:
            kept.append(Kept(retired=grave.retired, reason="new code of a release that is rolled back still uses it"))
        elif remains.hindrances:
            held.append(Kept(retired=grave.retired, reason="; ".join(remains.hindrances)))
        else:
            remains = archivist.measure(grave.retired, remains) if measured else remains
            due.append(Due(retired=grave.retired, since=grave.since, releases=grave.releases, remains=remains))
    return Survey(due=tuple(due), held=tuple(held), kept=tuple(kept))


def _used(session: Session) -> set[tuple[str, str]]:
    """The tables, columns and indexes that the code knows, or the migrations that are applied."""
    state = session.migrator._create_project_state(with_applied_migrations=True)
    found = {(alias.table, alias.place) for alias in session.journal.cemetery().aliases}
    for registry in (apps, state.apps):
        for model in registry.get_models(include_auto_created=True, include_swapped=True):
            options = model._meta
            names = [field.column for field in options.local_fields if field.column]
            names += [made.name for made in (*options.indexes, *options.constraints)]
            found |= {(options.db_table, name) for name in ("", *names)}
    return found


def _told(session: Session) -> set[str]:
    """The tables of which code is told that is still connected, although they are retired."""
    return {alias.place for alias in session.journal.cemetery().aliases if not alias.column}


def purge(session: Session, archives: Archives, older_than: timedelta) -> Purge:
    """Archive and drop what is due; call it while holding the target.

    What something uses is held, what is busy is postponed. Raises StoreFailed or ArchiveDamaged when an archive
    cannot be made: what was purged before stays purged, nothing else is touched.
    """
    found = survey(session, older_than, measured=False)
    purged: list[Purged] = []
    postponed: list[Kept] = []
    tables = tuple(dict.fromkeys(due.retired.table for due in found.due if due.retired.kind is not Kind.TABLE))
    with session.watching(tables) as canary:
        for due in found.due:
            try:
                purged += _purge_one(session, archives, due)
            except StepFailed as error:
                postponed.append(Kept(retired=due.retired, reason=str(error)))
            except (StoreFailed, ArchiveDamaged) as error:
                _end(session, found.due)
                error.message += f"\nNothing of {spoken(due.retired)} was dropped."
                raise
    _end(session, found.due)
    return Purge(
        purged=tuple(purged),
        held=found.held,
        postponed=tuple(postponed),
        kept=found.kept,
        store=archives.url,
        blocked=canary.blocked(),
    )


def _purge_one(session: Session, archives: Archives, due: Due) -> list[Purged]:
    """Archive, prove and drop one object; there is nothing to do for one that has gone with its table.

    Raises StepFailed when the database refuses something.
    """
    archivist = session.engine.archivist()
    retired, remains = due.retired, archivist.look(due.retired)
    if remains is None:
        return []
    if not retired.place and remains.has_values:
        _require_unused(session, due)
        act = archivist.bury(retired, f"{due.release}_{token_hex(3)}")
        _carry_out(session, due.release, f"rename {spoken(retired)} out of the way", act)
        retired = act.retires[0]
    manifest = _archive(session, archives, due.release, retired) if remains.has_values else None
    where = f", which lies in {manifest.key}" if manifest else ""
    _carry_out(session, due.release, f"drop {spoken(retired)}{where}", archivist.drop(retired, manifest))
    done = Purged(retired=due.retired, freed_bytes=remains.freed_bytes)
    if manifest is None:
        return [done]
    return [replace(done, rows=manifest.fingerprint.rows, archive=manifest.key, archive_bytes=manifest.bytes)]


def _require_unused(session: Session, due: Due) -> None:
    """Raise StepFailed while code is connected that knows an object which still has its own name."""
    tags = {session.journal.run(release).tag for release in due.releases}
    if using := [c for c in session.engine.connected() if c.tag in tags and c.tag != session.tag]:
        raise StepFailed(f'pid {using[0].pid} "{using[0].application}" runs the code that made it')


def _carry_out(session: Session, release: str, title: str, act: Act) -> None:
    step = Step(id=f"purge:{title}", title=title, phase=Phase.PURGE, forward=act, undo=_FORWARD)
    carry_out(session, release, step)


def _archive(session: Session, archives: Archives, release: str, retired: Retired) -> Manifest:
    """Return an archive of the object that has been read back from the store and is what the database has.

    1. In one snapshot: the fingerprint of the rows, and the rows themselves, in parts.
    2. The parts are read back, and their fingerprint is that of the rows.
    3. The manifest, which makes an archive of them, is written and read back.

    One of an earlier purge that was interrupted serves, if it still has the same rows.
    """
    archivist = session.engine.archivist()
    with archivist.snapshot():
        contents = archivist.contents(retired)
        fingerprint = archivist.fingerprint(contents)
        folder = archive.folder(session.engine.connection.alias, release, retired)
        key = f"{folder}/{fingerprint}"
        earlier = _earlier(archives, key)
        if earlier and earlier.contents == contents and _holds(session, archives, earlier, fingerprint):
            return earlier
        session.say(f"archive {spoken(retired)}: {fingerprint.rows:,} rows")
        writer = archives.writer(key)
        archivist.copy(contents, writer.write)
        writer.flush()
    manifest = Manifest(
        key=key,
        release=release,
        server=session.engine.target().version,
        at=timezone.now().isoformat(),
        contents=contents,
        fingerprint=fingerprint,
        parts=writer.parts,
    )
    if not _holds(session, archives, manifest, fingerprint):
        raise _unproved(archives, key)
    archives.seal(manifest)
    if archives.find(key) != manifest:
        raise _unproved(archives, key)
    return manifest


def _earlier(archives: Archives, key: str) -> Manifest | None:
    try:
        return archives.find(key)
    except ArchiveDamaged:
        return None  # The object is still there, so it is simply archived again.


def _holds(session: Session, archives: Archives, manifest: Manifest, fingerprint: Fingerprint) -> bool:
    try:
        return session.engine.archivist().fingerprint_of(archives.rows(manifest)) == fingerprint
    except ArchiveDamaged:
        return False  # Its reader decides what follows: it is written again, or nothing is dropped.


def _unproved(archives: Archives, key: str) -> ArchiveDamaged:
    return ArchiveDamaged(
        f"{key} in {archives.url} does not read back as it was written.",
        next_command="see to the store, then segue purge again",
    )


def _end(session: Session, tried: Sequence[Due]) -> None:
    """Say in the journal how much is left of each release; one that a killed purge had emptied is among them."""
    touched = {release for due in tried for release in due.releases}
    yard, archivist = session.journal.graveyard(), session.engine.archivist()
    left = [grave for grave in yard.graves if archivist.look(grave.retired) is not None]
    for run in session.journal.runs():
        mine = sum(run.release in grave.releases for grave in left)
        emptied = run.release in yard.purged and not mine and run.state is State.FINALIZED
        if run.release in touched or emptied:
            session.journal.append(run.release, EventKind.PURGE_ENDED, left=mine)


# The way back


def prove_archives(session: Session, plan: Plan) -> None:
    """Read every archive that the plan will load; raise ArchiveDamaged or StoreFailed before anything has begun."""
    for step in plan.steps:
        if step.forward.load is not None and session.archives is not None:
            manifest = session.archives.manifest(step.forward.load.archive)
            for _ in session.archives.rows(manifest):
                pass  # Each part is proved as it is read.


def forget(session: Session, key: str) -> Retired:
    """Give an archive up: what it holds will be made anew, as if it had never been. The store keeps what it has."""
    archived = {retired.archive: retired for retired in session.journal.cemetery().archived()}
    if key not in archived:
        raise UsageError(
            f"There is no archive {key}." + (f" There are: {', '.join(archived)}." if archived else ""),
            next_command="segue status, which lists the archives",
        )
    owner = next(run.release for run in session.journal.runs() if f"/{run.release}/" in key)
    retired = archived[key]
    _carry_out(session, owner, f"forget the archive of {spoken(retired)}", Act(purges=(retired,)))
    session.journal.append(owner, EventKind.PURGE_ENDED, left=0)
    return retired
