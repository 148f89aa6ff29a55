"""What an operator is: its maths once, portable; its best form in each library; its work in FLOPs and bytes.

An operator file defines one class, a frozen dataclass that derives from `Operator` and whose fields are its parameters. The
file imports no library at module level: the controller reads it too, and must start fast where one is missing or broken.

A form of an operator in a library is a method named after the library: `torch(self, w)`, `mlx(self, w)`. It gets the
weights as a namespace of that library's arrays, does what need be done once, and returns the function to be timed, which takes
the inputs in the order of `inputs()`. A library without such a method runs the form that its framework file brings
(`Framework.forms`) for this class, or for a class from which it inherits `portable`. Without such a form it runs `portable`. A
call with state of its own, which a compiler must not swallow, has a method `compiled`: given the library's compiler, it returns
the call with its pure part compiled. A variant, chosen by `operator.variant=stock`, is a method `<library>_<variant>`,
`torch_stock`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, get_type_hints

from mtbench.errors import ConfigError, Unsupported, unknown
from mtbench.operators._library_reference import answer_of_library
from mtbench.operators._parameters import LARGEST_SIZE, check_value
from mtbench.operators._parameters import Positive as Positive
from mtbench.operators._parameters import Size as Size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Host = NDArray[Any]
else:
    Host = Any  # a list of names, a help or a configuration need not wait for NumPy
"""An array in host memory: float64, int64 where it holds indices, or bool where it is a mask."""

T = TypeVar("T")
Call = Callable[..., Any]
Dimensions = tuple[int, ...]

ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}

_hints = cache(partial(get_type_hints, include_extras=True))  # slow, and a layer makes its parts again and again
DEFINED_BY = {"portable", "definition"}
"""The methods that say what an operator computes."""
OUTPUT_AXES = {
    0: (),
    1: ("row",),
    2: ("batch", "token"),
    3: ("batch", "token", "feature"),
    4: ("batch", "head", "token", "feature"),
}

INDEX_BYTES = 4
"""Bytes of an index. 32 bits suffice; torch uses 64 in most places, and so moves more than it must."""


@dataclass(frozen=True)
class Shape:
    """The sizes of one cell: batch, query length and key length (the query length where it is not given)."""

    batch_size: int
    seq_len: int
    kv_len: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "seq_len", "kv_len"):
            size = getattr(self, name)
            if size is not None and not 1 <= size <= LARGEST_SIZE:
                raise ConfigError(f"shape.{name}={size} is not a size; give 1 to {LARGEST_SIZE:,}.")

    @property
    def key_len(self) -> int:
        return self.seq_len if self.kv_len is None else self.kv_len

    def __str__(self) -> str:
        keys = "" if self.kv_len is None else f"_k{self.kv_len}"
        return f"b{self.batch_size}_s{self.seq_len}{keys}"


@dataclass(frozen=True)
class Operator(ABC):
    """Base of every operator. Subclasses are frozen dataclasses; see this module's docstring for the library forms.

    Parameters come from the user, so each is checked against its field's type when an operator is made: `Size`,
    `Positive`, bool, int, float, str, a `Literal` of names or numbers, or one of these or None. Raises ConfigError. A
    subclass with more to check extends `__post_init__`.
    """

    uses_kv_len = False
    """Whether the operator has a key length of its own. If not, `shape.kv_len` is refused rather than ignored."""

    independent_rows = True
    """Whether each batch row of the output depends only on that row of the inputs. If so, checking some rows is enough.

    Axis 0 of every input and output must then be the batch. Set it to False if the operator mixes rows (a sum over the batch,
    a gather from a table that is an input), or if an input or output has no batch axis. The reference is then of the whole
    batch, however long that takes. If it is True by mistake, a job that is too large to be checked whole fails and says so.
    """

    updates_inputs = False
    """Whether the operator writes into its inputs by definition (a cache), so that its result may share their memory. A second
    call on the same inputs must change nothing, because calls are repeated."""

    exact = False
    """Whether outputs are unchanged values of the inputs. Then nothing is rounded, and each must equal the reference's."""

    kept_inputs: ClassVar[tuple[str, ...]] = ()
    """Inputs that a call with state of its own may recognise by their arrays, such as a context that it has put into a cache.
    It may then miss that the values in these arrays have changed, so checks with other values use new arrays."""

    reference_library: ClassVar[str | None] = None
    """For an operator without a definition, which leaves `portable` out: the library whose native form is the reference, in
    float64 on the CPU, such as torch. Other libraries then need a form of their own."""

    own_forms_only = False
    """Whether only its native forms may run it. `portable` is then the reference and no contender."""

    quantises = False
    """Whether each library rounds the weights to integers in its own way, and is checked with the weights that it rounded."""

    has_trained_weights = False
    """Whether its weights are a user's own. With drawn weights, which token is the likeliest means nothing."""

    computes_in_dtype = True
    """Whether products are computed in the cell's dtype. Then the best rate in this dtype bounds them; products of integers are
    faster."""

    brings_modules = False
    """Whether its forms may be modules that still have to be moved to the device and dtype."""

    counts_tokens = False
    """Whether a call processes whole tokens, so that rates per token are meaningful."""

    gives_first_token = False
    """Whether a call ends with the first token of an answer, so that its latency is the time to first token."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "reference_library" in vars(cls) and "portable" not in vars(cls):
            cls.portable = answer_of_library  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for parameter in fields(self):
            check_value(parameter.name, getattr(self, parameter.name), hints[parameter.name])

    @classmethod
    def key(cls) -> str:
        """The name of the operator's file, under which it is registered."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def own_form(cls, forms: Mapping[str, T]) -> T | None:
        """A framework's form of this operator, from its forms by key, or None if it has none.

        A subclass of an operator, in a file of another name, uses that operator's form unless it overrides what the operator
        computes. A user's operator never uses the form of a built-in operator that merely has the same name.
        """
        for base in cls.__mro__:
            if issubclass(base, Operator):
                ours = base.__module__.startswith(f"{__package__}.")
                if base.key() in forms and (ours or not (Path(__file__).parent / f"{base.key()}.py").exists()):
                    return forms[base.key()]
            if DEFINED_BY & vars(base).keys():
                break
        return None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """The operator with these parameters; all others have their defaults. Raises ConfigError if a name is unknown, a value
        has the wrong type, or values contradict each other."""
        known = [parameter.name for parameter in fields(cls)]
        for name in params:
            if name not in known:
                raise ConfigError(unknown("parameter", name, known))
        return cls(**params)

    @classmethod
    def written_out(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """These parameters as records have them: a file's content in place of its name. Raises ConfigError."""
        return dict(params)

    @abstractmethod
    def inputs(self, rng: "np.random.Generator", shape: Shape) -> dict[str, Host]:
        """Draws the inputs, in the order of the timed function's arguments; axis 0 is the batch.

        Arrays are float64 (rounded to the cell's dtype later), or int64 for indices, which stay integers, or bool for masks.
        """

    def telling_inputs(self, rng: "np.random.Generator", shape: Shape, dtype: str) -> dict[str, Host] | None:
        """Inputs that show a mistake which rounding hides with those of `inputs`; None where `inputs` are enough.

        They are checked once, to twice the tolerances, and never timed. A norm takes rows of very small values, in which an
        eps of the wrong size is most of the answer; attention gives the keys at both ends values that outweigh the others'.
        """
        return None

    def weights(self, rng: "np.random.Generator") -> dict[str, Host]:
        """Draws the weights, like the inputs. None by default."""
        return {}

    def flops(self, shape: Shape) -> float | None:
        """Floating-point operations of one call; a multiply-add counts as two. None if nobody has counted them: records then
        have no FLOP/s, and no distance from what the machine can do."""
        return None

    @abstractmethod
    def bytes_moved(self, shape: Shape, dtype: str) -> float:
        """The fewest bytes that one call must move: each input and weight read once, each output written once."""

    def touched_bytes(self, shape: Shape, dtype: str) -> float:
        """Bytes on the device that a call reads or writes, each counted once. The same as `bytes_moved`, unless a call reads
        its weights several times: such an operator overrides this."""
        return self.bytes_moved(shape, dtype)

    def host_bytes(self, shape: Shape) -> float:
        """Bytes of host memory for one copy of inputs, weights and outputs, in float64, while a job is built."""
        return self.bytes_moved(shape, "float64")

    def weight_bytes(self, dtype: str) -> float:
        """Bytes of the weights on the device. They are there once, however many copies of the inputs are in use. Computed from
        `weight_shapes` if the operator has it; an operator with packed weights, or weights on disk, overrides this."""
        shapes: Callable[[], dict[str, Dimensions]] | None = getattr(self, "weight_shapes", None)
        return 0.0 if shapes is None else array_bytes(shapes(), dtype)

    def reference_bytes(self, shape: Shape) -> float:
        """Bytes of float64 intermediates that the reference needs besides inputs, weights and outputs. 0 if they are no larger
        than those; an operator with larger ones, such as attention with its scores, overrides this."""
        return 0.0

    def tokens(self, shape: Shape) -> int:
        """The number of tokens that one call processes."""
        return shape.batch_size * shape.seq_len

    def caveats(self) -> list[str]:
        """Warnings for every record of this operator, in any library."""
        return []

    @abstractmethod
    def portable(self, xp: Any, w: SimpleNamespace, *inputs: Any) -> Any:
        """The definition, in array-API functions of the namespace `xp`. On NumPy in float64 it is the reference."""

    def definition(self, xp: Any, w: SimpleNamespace) -> Call:
        """`portable` with its weights. An operator that is composed of others builds them here, once. Where
        slicing a weight copies it, as in eager JAX, building them in each call would take most of the time."""
        return partial(self.portable, xp, w)

    def compared(self, outputs: list[Host], inputs: list[Host]) -> list[Host]:
        """What is compared in place of outputs, whether a library's or the reference's: an operator's own comparison.

        Where several answers are right, as with ties or results in any order, this makes the same of all of them: it sorts
        what has no order, or takes the values that indices point to, which ties share. `inputs` are of the same batch rows.
        """
        return outputs

    def output_axes(self, axes: int) -> tuple[str, ...]:
        """The names of an output's axes, by their number, with which a mismatch says where it is."""
        return OUTPUT_AXES.get(axes) or ("batch", *(f"axis {axis}" for axis in range(1, axes)))

    def check(self, shape: Shape) -> None:
        """Raises ConfigError if these parameters do not fit this shape."""
        if shape.kv_len is not None and not self.uses_kv_len:
            raise ConfigError(f"{type(self).__name__} has no key length of its own; leave shape.kv_len out.")

    def check_library(self, library: str) -> None:  # noqa: B027
        """Raises ConfigError if these parameters do not fit this library, whatever the machine."""

    @classmethod
    def variants(cls, library: str) -> tuple[str, ...]:
        """The variants that this operator has in a library, beside native and portable."""
        return tuple(name.removeprefix(f"{library}_") for name in dir(cls) if name.startswith(f"{library}_"))

    @classmethod
    def all_variants(cls, library: str) -> tuple[str, ...]:
        """The variants that can be asked for in a library, native and portable among them."""
        if cls.own_forms_only:
            return ("native",)
        return ("native", *([] if cls.reference_library else ["portable"]), *cls.variants(library))

    def form(self, library: str, variant: str) -> Callable[[SimpleNamespace], Call] | None:
        """The builder of this operator's form in a library, or None if `portable` is to be used.

        Raises KeyError if the library has no such variant, Unsupported if no form may run there.
        """
        if self.own_forms_only and (variant != "native" or not hasattr(self, library)):
            raise Unsupported(
                f"{type(self).__name__} has no {variant} form in {library}; it runs only in the library's own form."
            )
        has_none = variant == "portable" or (variant == "native" and not hasattr(self, library))
        if has_none and self.reference_library is not None:
            raise Unsupported(
                f"{type(self).__name__} has no definition: its reference is {self.reference_library}'s form. "
                f"To run it in {library}, give it a method {library}."
            )
        if variant == "portable":
            return None
        if variant == "native":
            return getattr(self, library, None)
        builder = getattr(self, f"{library}_{variant}", None)
        if builder is None:
            raise KeyError(variant)
        return builder  # type: ignore[no-any-return]


def rows_of_all_sizes(rng: "np.random.Generator", shape: Dimensions, dtype: str) -> Host:
    """Normal values whose rows (the last axis) are scaled by 10^U(-4, 1). In the smallest rows an eps of 1e-6 is larger than
    the mean square, so that an eps of 1e-5 in its place makes the answer 68 % wrong; in rows of unit scale it makes it 5e-6
    wrong. In float16 the scale is 10^U(-2, 0), and the answer 4 % wrong: float16 cannot hold the squares of smaller values, or
    the sums of larger ones, with which the plain definition would be right."""
    least, most = (-2, 0) if dtype == "float16" else (-4, 1)
    values = rng.standard_normal(shape)
    values *= 10 ** rng.uniform(least, most, (*shape[:-1], 1))  # in place: a large array is held in a narrow type
    return values


def draw_weights(rng: "np.random.Generator", shapes: Mapping[str, Dimensions]) -> dict[str, Host]:
    """Weights by name and shape: a matrix as `random_weight`; a norm's scale near 1; a bias of standard deviation 0.1.

    All differ from what a library initialises to (ones and zeros), so that a form which forgets one gives another answer.
    """
    return {name: _draw_weight(rng, name, shape) for name, shape in shapes.items()}


def _draw_weight(rng: "np.random.Generator", name: str, shape: Dimensions) -> Host:
    if len(shape) > 1:
        return random_weight(rng, *shape)
    centre = 0.0 if name.endswith("bias") else 1.0
    return rng.normal(loc=centre, scale=0.1, size=shape)


def random_weight(rng: "np.random.Generator", *shape: int) -> Host:
    """Normal values of variance 1/fan_in (the last axis), which keeps activations at unit scale through a layer."""
    return rng.normal(scale=shape[-1] ** -0.5, size=shape)


def array_bytes(arrays: Mapping[str, Dimensions], dtype: str) -> float:
    """Bytes of arrays of these shapes in a dtype."""
    return float(sum(math.prod(map(int, shape)) for shape in arrays.values()) * ITEM_BYTES[dtype])
