from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.chunkmap import AHEAD, DONE, MOST_CELLS, SPLIT, cells_for, lay_out


def place_of(number: int, cells: int, total: int) -> int:
    """As the ledger computes it in SQL."""
    return (number - 1) * cells // total


@given(total=st.integers(1, 10**7), most=st.integers(1, MOST_CELLS))
def test_cells_tile_all_chunks(total: int, most: int) -> None:
    cells = cells_for(total, most)
    made = lay_out(total, total, exact=True, cells=cells, found=()).cells
    assert len(made) == min(total, most)
    assert made[0].first == 1
    assert made[-1].last == total
    assert all(one.last + 1 == following.first for one, following in pairwise(made))
    for place, cell in enumerate(made):
        assert place_of(cell.first, cells, total) == place_of(cell.last, cells, total) == place


@given(total=st.integers(1, 5000), data=st.data())
def test_what_is_not_carved_is_ahead(total: int, data: st.DataObject) -> None:
    carved = data.draw(st.integers(0, total))
    made = lay_out(carved, total, exact=False, cells=cells_for(total), found=())
    assert sum(cell.ahead for cell in made.cells) == total - carved
    assert {cell.state for cell in made.cells} <= {DONE, AHEAD}
    for cell in made.cells:
        # The cell at the frontier is not done before all of it is.
        assert (cell.state == DONE) == (cell.last <= carved)


def test_the_worst_names_a_cell() -> None:
    found = [(0, "split"), (0, "carved"), (0, "failed"), (1, "split"), (2, "waiting")]
    made = lay_out(8, 8, exact=True, cells=4, found=found)
    assert [cell.state for cell in made.cells] == ["failed", SPLIT, "waiting", DONE]
    assert made.cells_by_state() == {"failed": 1, "waiting": 1, SPLIT: 1, DONE: 1}
    assert made.cells[0].as_dict() == {
        "first": 1,
        "last": 2,
        "state": "failed",
        "states": ["failed", "carved", "split"],
        "ahead": 0,
    }


def test_nothing_to_show() -> None:
    made = lay_out(0, 0, exact=True, cells=0, found=())
    assert made.cells == ()
    assert made.cells_by_state() == {}
