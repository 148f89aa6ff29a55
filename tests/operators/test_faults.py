"""Each fault that a norm over all outputs hides is seen by the correctness gate, in each dtype whose rounding is smaller."""

from pathlib import Path

import pytest
from faults import BEGIN, DTYPES, END, FAULTS, Fault, found

PAGE = Path(__file__).parents[2] / "docs" / "truth.md"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_is_seen_where_rounding_is_smaller(fault: Fault) -> None:
    assert [dtype for dtype in DTYPES if found(fault, dtype).seen] == list(fault.seen)


def test_the_page_says_what_is_seen() -> None:
    rows = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    said = [[text.strip() for text in row.strip("|").split("|")] for row in rows]
    assert [(what, ["not seen" not in text for text in told]) for what, _, *told in said] == [
        (fault.what, [dtype in fault.seen for dtype in DTYPES]) for fault in FAULTS
    ]
