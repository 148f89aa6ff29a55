"""A bar for what comes before a large sweep's first measurement: composing and writing the configurations of its jobs."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SHOWN_AFTER_S = 1.0
"""What takes less needs no bar."""

REFRESH_S = 0.1


class Composing:
    """`with Composing("composing jobs") as told`, where `told(done, of)` is told of each. It shows itself on stderr, where that
    is a terminal, and only where it takes a while."""

    def __init__(
        self, title: str, console: Console | None = None, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self.title = title
        self.console = console or Console(stderr=True)
        self.seconds = seconds
        self.bar: Progress | None = None

    def __enter__(self) -> Callable[[int, int], None]:
        self.started = self.refreshed = self.seconds()
        return self._told

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def _told(self, done: int, of: int) -> None:
        now = self.seconds()
        if now - self.refreshed < REFRESH_S or now - self.started < SHOWN_AFTER_S or not self.console.is_terminal:
            return
        self.refreshed = now
        if self.bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console, auto_refresh=False, transient=True)
            self.task = self.bar.add_task(self.title, total=of)
            self.bar.start()
        self.bar.update(self.task, completed=done, refresh=True)
