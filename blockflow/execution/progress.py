"""Progress: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

__all__ = ["LiveProgress", "PlainProgress", "Progress", "Silent", "progress_for"]


class Progress(Protocol):
    """What Daisy tells while it runs: the state of each task by its name."""

    def on_start(self, states: Mapping[str, Any]) -> None: ...

    def on_progress(self, states: Mapping[str, Any]) -> None: ...

    def on_finish(self, states: Mapping[str, Any]) -> None: ...

    def note(self, message: str) -> None:
        """Say something beside the progress."""


def progress_for(stream: TextIO | None = None) -> Progress:
    """The progress that fits `stream` (default: standard error)."""
    stream = stream or sys.stderr
    return LiveProgress(stream) if stream.isatty() else PlainProgress(stream)


class Silent:
    """No progress at all."""

    def on_start(self, states: Mapping[str, Any]) -> None:
        pass

    def on_progress(self, states: Mapping[str, Any]) -> None:
        pass

    def on_finish(self, states: Mapping[str, Any]) -> None:
        pass

    def note(self, message: str) -> None:
        pass


class PlainProgress:
    """A line per task every few seconds in which something changed.

    Parameters
    ----------
    stream : text stream
    every : float
        Seconds between lines.
    """

    def __init__(self, stream: TextIO, every: float = 10.0) -> None:
        self._stream = stream
        self._every = every
        self._last = time.monotonic()
        self._began = time.monotonic()
        self._printed: dict[str, str] = {}

    def on_start(self, states: Mapping[str, Any]) -> None:
        self._began = self._last = time.monotonic()
        for name, state in states.items():
            self.note(f"{name}: {state.total_block_count} blocks")

    def on_progress(self, states: Mapping[str, Any]) -> None:
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._print(states)

    def on_finish(self, states: Mapping[str, Any]) -> None:
        self._print(states)

    def note(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def _print(self, states: Mapping[str, Any]) -> None:
        for name, state in states.items():
            done = state.completed_count
            rate = (done - state.skipped_count) / max(time.monotonic() - self._began, 1e-9)
            counts = f"{done}/{state.total_block_count} done"
            if state.processing_count:
                counts += f", {state.processing_count} running"
            undone = "left" if state.abandoned else "orphaned"  # Daisy calls what it gave up orphaned too
            for count, word in ((state.failed_count, "failed"), (state.orphaned_count, undone)):
                if count:
                    counts += f", {count} {word}"
            if self._printed.get(name) != counts:
                self._printed[name] = counts
                self.note(f"{name}: {counts}, {rate:.3g} blocks/s")


class LiveProgress:
    """A bar per task: done, running, failed, rate and time left."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._display = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TextColumn("{task.fields[rate]}", justify="right"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            expand=True,
        )
        self._bars: dict[str, Any] = {}
        self._began = time.monotonic()

    def on_start(self, states: Mapping[str, Any]) -> None:
        self._began = time.monotonic()
        for name, state in states.items():
            self._bars[name] = self._display.add_task(name, total=state.total_block_count, counts="", rate="")
        self._display.start()
        self.on_progress(states)

    def on_progress(self, states: Mapping[str, Any]) -> None:
        for name, state in states.items():
            counts = [f"{state.processing_count} running"]
            if state.failed_count:
                counts.append(f"[red]{state.failed_count} failed[/red]")
            if state.orphaned_count:
                counts.append(f"[yellow]{state.orphaned_count} orphaned[/yellow]")
            done = state.completed_count - state.skipped_count
            rate = done / max(time.monotonic() - self._began, 1e-9)
            self._display.update(
                self._bars[name],
                completed=state.completed_count,
                counts=", ".join(counts),
                rate=f"{rate:.3g}/s",
            )

    def on_finish(self, states: Mapping[str, Any]) -> None:
        self.on_progress(states)
        self._display.stop()

    def note(self, message: str) -> None:
        self._display.console.print(message, markup=False, highlight=False)
