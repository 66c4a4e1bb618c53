"""Code of one version in a process of its own: its models, its migrations on disk, its connections.

A process is forked, so that what it does to the registry of models ends with it.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from segue.alias import published

PATIENCE_SECONDS = 60

_context = multiprocessing.get_context("fork")


def run(body: Callable[[], Any]) -> Any:
    """Run the body in a process of its own; return what it returns, or fail with its traceback."""
    connections.close_all()
    results, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_answer, args=(body, sender))
    process.start()
    sender.close()
    assert results.poll(PATIENCE_SECONDS), "the process gave no answer"
    result, failure = results.recv()
    process.join(PATIENCE_SECONDS)
    assert not failure, failure
    return result


def _answer(body: Callable[[], Any], sender: Any) -> None:
    _begin_anew()
    try:
        sender.send((body(), ""))
    except BaseException:
        sender.send((None, traceback.format_exc()))


class Traffic:
    """Processes of one version that repeat transactions until they are told to stop, several threads in each."""

    def __init__(self, processes: list[Any], done: Any, stop: Any, failures: Any) -> None:
        self._processes = processes
        self._done = done
        self._stop = stop
        self._failures = failures

    def wait_for(self, transactions: int) -> None:
        """Wait until so many more transactions are done; it ends early when one has failed."""
        wanted = self._done.value + transactions
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._done.value < wanted and self._failures.empty():
            assert time.monotonic() < deadline, "the traffic has stopped"
            time.sleep(0.01)

    def end(self) -> list[str]:
        """Let every process end; return the tracebacks of the transactions that failed."""
        self._stop.set()
        for process in self._processes:
            process.join(PATIENCE_SECONDS)
        found = []
        while not self._failures.empty():
            found.append(self._failures.get())
        return found


@contextmanager
def traffic(prepare: Callable[[], list[Callable[[], None]]], *, processes: int, threads: int) -> Iterator[Traffic]:
    """Run traffic beside the block; `prepare` makes a process's models and returns its transactions."""
    connections.close_all()
    done, stop, failures = _context.Value("i", 0), _context.Event(), _context.SimpleQueue()
    arguments = (prepare, threads, done, stop, failures)
    running = [_context.Process(target=_repeat, args=arguments, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    try:
        yield Traffic(running, done, stop, failures)
    finally:
        stop.set()
        for process in running:
            process.join(PATIENCE_SECONDS)


def _repeat(prepare: Callable[[], list[Callable[[], None]]], threads: int, done: Any, stop: Any, failures: Any) -> None:
    _begin_anew()
    try:
        transactions = prepare()
    except BaseException:
        failures.put(traceback.format_exc())
        return

    def work(number: int) -> None:
        turn = number
        while not stop.is_set():
            try:
                transactions[turn % len(transactions)]()
            except BaseException:
                failures.put(traceback.format_exc())
                stop.set()
            with done.get_lock():
                done.value += 1
            turn += 1
        connections.close_all()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _begin_anew() -> None:
    """Forget what the forked process had: its code may be another, and its connections belonged to Segue's commands."""
    published.installed.cache_clear()
    for database in list(connections):
        del connections[database]
