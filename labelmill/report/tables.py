"""Tables for a terminal: no number is ever cut off. Where there is less room there are fewer columns.

Which columns a table shows is decided here, by pure functions of the widths of its cells and of the room there is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from labelmill.plural import counted
from labelmill.report.formatting import visible
from labelmill.report.lines import broken

NOTHING = frozenset({"", "–", "0", "0.0%", "$0.00"})
"""Cells that say nothing."""
_BETWEEN_COLUMNS = 3
"""What a column takes beside its cells: a space on either side, and a line."""
_NARROWEST, _WIDEST = 10, 24
"""Between these a column of prose is as wide as its longest word, where it is to take little room."""
_NARROWEST_NAME = 8


@dataclass(frozen=True)
class FittingTable:
    """A table of plain words that is never cut off: no amount loses its digits on a narrow screen.

    A column without a cell that says anything is left out, and one that repeats another (`same_as`). Where there is too
    little room, headings and the cells of `prose` are broken between words; where that doesn't do, columns are left out in
    the order of `leave_out`. What is left out is said below the table. Where not even the rest has room, each row is a list
    of its cells. The columns of `left` are aligned to the left, the others to the right. `footers` is empty, or has a cell for
    each heading.

    Args:
        keep: columns that are shown whatever is in them.
        same_as: columns that are left out where they say the same as another, by the other's heading.
        more: where all of it is, for the line that says what was left out.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    footers: Sequence[str] = ()
    left: frozenset[str] = field(default_factory=frozenset)
    prose: frozenset[str] = field(default_factory=frozenset)
    leave_out: Sequence[str] = ()
    keep: frozenset[str] = field(default_factory=frozenset)
    same_as: Mapping[str, str] = field(default_factory=dict)
    more: str = "--json has all"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The columns that fit, and a line that names the others."""
        fit = fit_of([self], options.max_width)
        yield from self.shown(fit, options.max_width)
        if words := fit.words(self.more):
            yield Text(words, style="dim")

    def shown(self, fit: "Fit", room: int) -> Iterator[Table | Text]:
        """The table without the columns that were left out."""
        names = [name for name in self.headings if name not in fit.gone]
        widths = widths_in(self, names, room)
        if widths is None:
            yield from self._as_lists(names)
            return
        table = Table(show_footer=bool(self.footers))
        for name in names:
            table.add_column(
                Text(
                    visible(name)
                    if cell_len(visible(name)) <= widths[name]
                    else visible(name).replace(" ", "\n")
                ),
                Text(visible(self.footers[self._place(name)])) if self.footers else "",
                justify="left" if name in self.left else "right",
                width=widths[name],
                no_wrap=name not in self.prose | self.left,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(Text(self._cell(row, name, widths[name])) for name in names))
        yield table

    def _cell(self, row: Sequence[str], name: str, width: int) -> str:
        words = visible(row[self._place(name)])
        return broken(words, width) if name in self.prose | self.left else words

    def cells(self, name: str) -> list[str]:
        """All cells of a column, with that of the footer."""
        place = self._place(name)
        return [visible(row[place]) for row in [*self.rows, *([self.footers] if self.footers else [])]]

    def _as_lists(self, names: Sequence[str]) -> Iterator[Table | Text]:
        for row in [*self.rows, *([self.footers] if self.footers else [])]:
            for name in names:
                if cell := visible(row[self._place(name)]):
                    yield Text(f"{visible(name)}: {cell}", overflow="fold")
            yield Text("")

    def _place(self, name: str) -> int:
        return list(self.headings).index(name)


@dataclass(frozen=True)
class Fit:
    """The columns that tables leave out: for want of room, since they repeat another one, since nothing is in them."""

    no_room: tuple[str, ...] = ()
    repeated: Mapping[str, str] = field(default_factory=dict)
    empty: tuple[str, ...] = ()

    @property
    def gone(self) -> frozenset[str]:
        """All of them."""
        return frozenset([*self.no_room, *self.repeated, *self.empty])

    def words(self, more: str) -> str:
        """What is left out, in a line; nothing where all is shown."""
        if not self.gone:
            return ""
        parts = [f"{', '.join(self.no_room)} (no room)"] if self.no_room else []
        for other in dict.fromkeys(self.repeated.values()):
            names = [name for name, its in self.repeated.items() if its == other]
            parts.append(f"{', '.join(names)} (same as {other})")
        if self.empty:
            parts.append(f"{', '.join(self.empty)} (nothing in {'it' if len(self.empty) == 1 else 'them'})")
        return f"{counted(len(self.gone), 'column')} left out: {'; '.join(parts)}; {more}"


def fit_of(tables: Sequence[FittingTable], room: int) -> Fit:
    """What some tables leave out so that each has room; they leave out the same, so that one can be read beside the other."""
    told = [(table, name) for table in tables for name in table.headings]
    names = list(dict.fromkeys(name for _, name in told))
    shown = {
        name: [(table, table.cells(name)) for table in tables if name in table.headings] for name in names
    }
    fixed = frozenset(name for table in tables for name in table.left | table.keep)
    empty = tuple(
        name
        for name in names
        if name not in fixed and all(NOTHING.issuperset(cells) for _, cells in shown[name])
    )
    repeated = {
        name: other
        for table in tables
        for name, other in table.same_as.items()
        if name in shown and name not in empty and _repeats(shown, name, other)
    }
    said = [name for name in names if name not in repeated and name not in empty]
    order = list(dict.fromkeys(name for table in tables for name in table.leave_out if name in said))
    gone: list[str] = []
    while order and not all(_has_room(table, said, room) for table in tables):
        gone.append(order.pop(0))
        said.remove(gone[-1])
    return Fit(tuple(name for name in names if name in gone), repeated, empty)


def widths_in(table: FittingTable, names: Sequence[str], room: int) -> dict[str, int] | None:
    """How wide each of a table's columns is; None where they have no room side by side.

    Headings and prose are broken between words only where they must be. Names of things are broken last, and numbers never.
    """
    widest = {name: _widest(table, name) for name in names}
    if _width(widest) <= room:
        return widest
    widths = {name: _least_width(table, name) for name in names}
    lacking = _width(widths) - room
    for name in (name for name in names if name in table.left):
        if lacking > 0:
            taken = min(lacking, max(0, widths[name] - _NARROWEST_NAME))
            widths[name] -= taken
            lacking -= taken
    if lacking > 0:
        return None
    # What room is left makes prose easier to read.
    for name in (name for name in names if name in table.prose | table.left):
        given = min(-lacking, widest[name] - widths[name])
        widths[name] += given
        lacking += given
    return widths


def _has_room(table: FittingTable, kept: Sequence[str], room: int) -> bool:
    """Whether a table's columns have room with headings and prose broken between words, and names whole."""
    names = [name for name in table.headings if name in kept]
    return _width({name: _least_width(table, name) for name in names}) <= room


def _widest(table: FittingTable, name: str) -> int:
    return max([cell_len(visible(name)), *map(cell_len, table.cells(name))])


def _least_width(table: FittingTable, name: str) -> int:
    """The least width that a column can be read in."""
    heading = max(map(cell_len, visible(name).split()), default=0)
    cells = table.cells(name)
    if name not in table.prose:
        return max([heading, *map(cell_len, cells)])
    words = [cell_len(word) for cell in cells for word in cell.split()]
    return min(_widest(table, name), max(heading, min(_WIDEST, max([_NARROWEST, *words]))))


def _width(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _BETWEEN_COLUMNS * len(widths) + 1


def _repeats(shown: Mapping[str, Sequence[tuple[FittingTable, list[str]]]], name: str, other: str) -> bool:
    """Whether a column has the cells of another in every table."""
    others = {id(table): cells for table, cells in shown.get(other, ())}
    return all(others.get(id(table)) == cells for table, cells in shown[name])
