"""Tables for a terminal, no wider than it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from labelmill.report.formatting import visible

_AS_WIDE_AS_IT_LIKES = 10_000
_NARROWEST, _WIDEST = 10, 24
"""Between these a column of prose is as wide as its longest word."""


@dataclass(frozen=True)
class FittingTable:
    """A table of plain words that is never cut off: no amount loses its digits on a narrow screen.

    Where its place is too narrow, its headings and the cells of `prose` are broken between words. Where that doesn't do, it
    leaves out columns in the order of `leave_out`, and says which. The columns of `left` are aligned to the left, the others
    to the right. `footers` is empty, or has a cell for each heading.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    footers: Sequence[str] = ()
    left: frozenset[str] = field(default_factory=frozenset)
    prose: frozenset[str] = field(default_factory=frozenset)
    leave_out: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The first of its forms that has room; the narrowest where none has."""
        unlimited = options.update(width=_AS_WIDE_AS_IT_LIKES)
        for table in self._forms():
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                break
        yield table

    def _forms(self) -> Iterator[Table]:
        yield self._table(frozenset(), is_narrow=False)
        gone = [heading for heading in self.leave_out if heading in self.headings]
        for count in range(len(gone) + 1):
            yield self._table(frozenset(gone[:count]), is_narrow=True)

    def _table(self, gone: frozenset[str], *, is_narrow: bool) -> Table:
        caption = (
            f"no room for: {', '.join(name for name in self.headings if name in gone)}" if gone else None
        )
        table = Table(show_footer=bool(self.footers), caption=caption, caption_justify="left")
        kept = [index for index, heading in enumerate(self.headings) if heading not in gone]
        for index in kept:
            heading = self.headings[index]
            is_broken = is_narrow and heading in self.prose
            table.add_column(
                Text(visible(heading).replace(" ", "\n") if is_narrow else visible(heading)),
                Text(visible(self.footers[index])) if self.footers else "",
                justify="left" if heading in self.left else "right",
                no_wrap=not is_broken,
                max_width=self._longest_word(index) if is_broken else None,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(Text(visible(row[index])) for index in kept))
        return table

    def _longest_word(self, index: int) -> int:
        words = [cell_len(word) for row in self.rows for word in row[index].split()]
        return min(_WIDEST, max([_NARROWEST, *words]))
