import pytest
from hypothesis import given
from hypothesis import strategies as st

from petapter.task.cutting import pieces, unread
from petapter_schemas.task import PatternSpec

KEEPS = ("head", "tail", "head+tail", "windows")


def pattern(keep: str, **windows: object) -> PatternSpec:
    options = {"windows": windows} if windows else {}
    return PatternSpec.model_validate({"template": "{text} {mask}", "keep": keep, **options})


def read(length: int, room: int, asked: PatternSpec) -> list[list[int]]:
    """The positions in every piece."""
    return [[position for part in piece for position in part] for piece in pieces(length, room, asked)]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("head", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("tail", [12, 13, 14, 15, 16, 17, 18, 19]),
        ("head+tail", [0, 1, 14, 15, 16, 17, 18, 19]),
    ],
)
def test_what_is_kept_of_twenty_tokens_in_a_room_of_eight(keep: str, kept: list[int]) -> None:
    assert read(20, 8, pattern(keep)) == [kept]


def test_a_room_of_one_token_keeps_the_first_of_head_and_tail() -> None:
    assert read(20, 1, pattern("head+tail")) == [[0]]


def test_windows_move_on_by_half_and_the_last_ends_with_the_text() -> None:
    # room 4, stride 0.5: starts 0, 2, 4, and 5 so that the window ends at 9
    assert read(9, 4, pattern("windows")) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [5, 6, 7, 8]]


def test_stride_of_one_makes_windows_without_overlap() -> None:
    assert read(8, 4, pattern("windows", stride=1.0)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_too_many_windows_are_spread_evenly_from_start_to_end() -> None:
    # 3 windows of 2 over 12 tokens: starts 0, floor(10 / 2), 10
    assert read(12, 2, pattern("windows", at_most=3)) == [[0, 1], [5, 6], [10, 11]]


def test_one_window_at_most_is_the_head() -> None:
    assert read(12, 2, pattern("windows", at_most=1)) == [[0, 1]]


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("length", [0, 5])
def test_field_that_fits_is_read_whole(keep: str, length: int) -> None:
    assert read(length, 5, pattern(keep)) == [list(range(length))]


def test_tokens_between_capped_windows_are_unread() -> None:
    assert unread(12, pieces(12, 2, pattern("windows", at_most=3))) == 6


@given(
    length=st.integers(0, 200),
    room=st.integers(1, 40),
    keep=st.sampled_from(KEEPS),
    stride=st.floats(0.01, 1),
    at_most=st.integers(1, 20),
)
def test_pieces_fill_the_room_in_order_and_unread_is_what_no_piece_holds(
    length: int, room: int, keep: str, stride: float, at_most: int
) -> None:
    asked = pattern(keep, stride=stride, at_most=at_most) if keep == "windows" else pattern(keep)
    found = read(length, room, asked)
    assert all(len(piece) == min(length, room) and piece == sorted(set(piece)) for piece in found)
    assert all(0 <= position < length for piece in found for position in piece)
    assert unread(length, pieces(length, room, asked)) == sum(
        all(position not in piece for piece in found) for position in range(length)
    )
    assert len(found) <= (at_most if keep == "windows" else 1)


@given(length=st.integers(1, 200), room=st.integers(1, 40), stride=st.floats(0.01, 1))
def test_windows_without_a_cap_read_every_token(length: int, room: int, stride: float) -> None:
    asked = pattern("windows", stride=stride, at_most=256)
    assert unread(length, pieces(length, room, asked)) == 0
