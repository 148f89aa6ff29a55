"""Words that sentences are made of: shapes, ranges and lists."""

from collections.abc import Sequence

from mtbench.results.answers.contests import Shape

NAMED_SHAPES = 3
"""More are counted."""


def listed(some: Sequence[Shape], of: Sequence[Shape]) -> str:
    """Shapes in words, which say only what differs among all shapes."""
    if len(some) > NAMED_SHAPES:
        return f"{len(some)} of {len(of)} shapes"
    return and_([shape_words(shape, of) for shape in some])


def shape_words(shape: Shape, of: Sequence[Shape] = ()) -> str:
    """`batch 8 seq 64`, without what is the same in all of these shapes."""
    names = ("batch", "seq", "kv")
    differing = [index for index in range(3) if len({one[index] for one in of}) > 1] or list(range(3))
    return " ".join(f"{names[index]} {shape[index]}" for index in differing if shape[index] is not None)


def from_to(low: str, high: str) -> str:
    """`1.2x to 3.4x`, or `1.2x` where both are alike."""
    return low if low == high else f"{low} to {high}"


def and_(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return _joined(names, "and")


def or_(names: Sequence[str]) -> str:
    return _joined(names, "or")


def _joined(names: Sequence[str], word: str) -> str:
    return f" {word} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
