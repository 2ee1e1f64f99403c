"""Keeps processes running: starts them in order, restarts those that die, ends them in reverse.

Knows a child as something to start and an exit status; what it is for is the caller's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from types import FrameType

LONGEST_PAUSE_S = 30.0
STEADY_AFTER_S = 60.0
"""A child that lived this long had a good start: its earlier deaths are forgotten."""
TRIES_BEFORE_READY = 3
BAD_SETTINGS = 2
"""The exit status of a child that will not start until its configuration changes."""
_PROBE_EVERY_S = 0.2

Process = subprocess.Popen[bytes]


class CannotStart(Exception):
    """The service cannot start on this machine as it is set; the message is one line."""


def say(text: str) -> None:
    """Tell the operator; a terminal that has gone away is no reason to stop the service badly."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it stays for the rest of the process


class Signals:
    """Counts requests to stop (Ctrl-C, SIGTERM, SIGHUP), and wakes its waiter when a child ends."""

    def __init__(self) -> None:
        self.stops = 0
        # Its put may interrupt anything, itself too; an Event's set may not.
        self._arrivals: SimpleQueue[int] = SimpleQueue()

    def __enter__(self) -> Signals:
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD]
        # nohup was asked to keep it running
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._arrived) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        self.stops += number != signal.SIGCHLD
        self._arrivals.put(number)

    def wait(self, limit_s: float) -> None:
        try:
            self._arrivals.get(timeout=max(0.0, limit_s))
        except Empty:
            return


def pause_before_restart(deaths: int) -> float:
    """Seconds to wait after the latest of so many deaths in a row: none, then 1, 2, 4 … 30."""
    return 0.0 if deaths == 1 else min(2.0 ** (deaths - 2), LONGEST_PAUSE_S)


class Child:
    """One process of the service, and when it may be started again."""

    def __init__(
        self,
        name: str,
        spawn: Callable[[], Process],
        stop_limit_s: float,
        hurried_limit_s: float = 0.0,
    ) -> None:
        self.name = name
        self.stop_limit_s, self.hurried_limit_s = stop_limit_s, hurried_limit_s
        self.deaths = 0
        self.due: float | None = 0.0
        self.process: Process | None = None
        self._spawn = spawn
        self._started = 0.0

    def adopt(self, process: Process | None) -> None:
        """Take a process that runs already for the child's first."""
        self.process, self.due, self._started = process, None, time.monotonic()

    def start(self) -> str | None:
        """Start it; returns what went wrong."""
        try:
            self.adopt(self._spawn())
        except (OSError, CannotStart) as error:
            self._note_death()
            return f"cannot start: {error}"
        return None

    def ending(self) -> tuple[int, str] | None:
        """Once after each death: the exit status, and how it reads."""
        status = None if self.process is None else self.process.poll()
        if status is None:
            return None
        self.process = None
        if time.monotonic() - self._started > STEADY_AFTER_S:
            self.deaths = 0
        self._note_death()
        return (
            status,
            f"ended with status {status}"
            if status >= 0
            else f"was ended by {signal.Signals(-status).name}",
        )

    def _note_death(self) -> None:
        self.deaths += 1
        self.due = time.monotonic() + pause_before_restart(self.deaths)

    def end(self, signals: Signals) -> None:
        """Ask it to end, wait, and kill it when its time is up or the operator has asked twice."""
        if self.process is None:
            return
        self.process.terminate()
        begun = time.monotonic()
        while self.process.poll() is None:
            limit_s = self.hurried_limit_s if signals.stops > 1 else self.stop_limit_s
            left_s = begun + limit_s - time.monotonic()
            if left_s <= 0:
                self.process.kill()
                self.process.wait()
            else:
                signals.wait(left_s)


class Supervisor:
    """Starts the children in order, keeps them running, and ends them in the opposite order."""

    def __init__(
        self,
        children: Sequence[Child],
        signals: Signals,
        ready: Callable[[], bool],
        greeting: Callable[[], str],
    ) -> None:
        self._children = children
        self._signals = signals
        self._ready = ready
        self._greeting = greeting
        self._greeted = False

    def run(self) -> int:
        """Run until a request to stop or a failed start; returns the exit status."""
        status = None
        while status is None and not self._signals.stops:
            status = self._tend()
            if status is None and not self._greeted and self._ready():
                say(self._greeting())
                self._greeted = True
            if status is None:
                self._signals.wait(self._next_look())
        say("Stopping: running answers get time to end. Ctrl-C again stops at once.")
        for child in reversed(self._children):
            child.end(self._signals)
        say("Stopped.")
        return status or 0

    def _next_look(self) -> float:
        dues = [child.due - time.monotonic() for child in self._children if child.due is not None]
        return min([*dues, 10.0 if self._greeted else _PROBE_EVERY_S])

    def _tend(self) -> int | None:
        """Look after every child once; returns an exit status when the service cannot go on."""
        for child in self._children:
            ending = child.ending()
            problem = ending[1] if ending else None
            if child.due is not None and child.due <= time.monotonic():
                problem = child.start() or problem
            if problem is None:
                continue
            if not self._greeted:
                if ending and ending[0] == BAD_SETTINGS:
                    say(f"The {child.name} {problem}: see its message above.")
                    return BAD_SETTINGS
                if child.deaths >= TRIES_BEFORE_READY:
                    say(
                        f"The {child.name} {problem}, {child.deaths} times before the service "
                        f"was ready: giving up."
                    )
                    return 1
            pause_s = pause_before_restart(child.deaths)
            say(
                f"The {child.name} {problem}; starting it again "
                f"{f'in {pause_s:g} s' if pause_s else 'now'}."
            )
        return None
