"""The live progress bar. It draws on stderr, so that a result on stdout can be piped on."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from breakbulk.console import words
from breakbulk.console.printable import printable_line
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_STYLES = {
    RunStatus.SUCCEEDED: "green",
    RunStatus.FAILED: "red",
    RunStatus.CANCELLED: "magenta",
    RunStatus.PARTIAL: "yellow",
    RunStatus.HELD: "yellow",
    RunStatus.PAUSED: "yellow",
}


class Bar:
    """A bar for one run, with a line of figures beneath it.

    Args:
        run: the run.
        console: where to draw; default stderr.
    """

    def __init__(self, run: Run, console: Console | None = None) -> None:
        self._title = printable_line(f"Run {run.id}  {run.job}")
        self._console = console
        self._live: Live | None = None
        self._progress: Progress | None = None
        self._trouble = ""

    def __enter__(self) -> Self:
        # Rich takes its time to load, and is needed only here.
        from rich.console import Console
        from rich.live import Live

        console = self._console or Console(stderr=True)
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=5, transient=False
        )
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._live is not None
        self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show one look at the run."""
        self._progress, self._trouble = progress, ""

    def trouble(self, sentence: str) -> None:
        """Show trouble until the next look succeeds."""
        self._trouble = f"{sentence} Trying again."

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = self._progress
        if progress is None:
            return Text(self._title, style="bold")
        style = _STYLES.get(progress.status, "cyan")
        fraction = progress.fraction
        bar = ProgressBar(
            total=1.0 if fraction is not None else None,
            completed=fraction or 0.0,
            pulse=fraction is None,
            complete_style=style,
            finished_style=style,
        )
        first = Table.grid(expand=True, padding=(0, 1))
        first.add_column(ratio=1)
        first.add_column(justify="right", no_wrap=True)
        first.add_row(bar, Text(words.percent(progress), style=style))
        title = Text.assemble(
            (self._title, "bold"), "  ", (printable_line(words.status(progress)), style)
        )
        parts: list[Any] = [
            title,
            first,
            Text(" · ".join([words.rows(progress), *words.figures(progress)])),
        ]
        if self._trouble:
            parts.append(Text(printable_line(self._trouble), style="yellow"))
        return Group(*parts)
