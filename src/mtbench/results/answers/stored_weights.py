"""How a whole model's weights are stored, and how far its logits are off for that."""

import json
from collections.abc import Sequence
from dataclasses import replace

from mtbench.plain import to_json
from mtbench.results.answers.contests import Group, Row
from mtbench.results.format import percent, plural

PARAMETERS, UNROUNDED = ("weight_dtype", "group_size"), "bf16"
"""Parameters of whole models that say how their weights are stored, and the value that stands for unrounded ones, as None
does."""


def told(row: Row) -> bool:
    """Whether a record is of an operator whose weights can be stored in several ways."""
    return PARAMETERS[0] in json.loads(row["params"])


def stored(row: Row) -> str:
    """How a record's weights are stored: `bf16`, `int4`, `int4 in groups of 32`."""
    kind, group = (json.loads(row["params"]).get(name) for name in PARAMETERS)
    if kind in (None, UNROUNDED):
        return UNROUNDED
    return str(kind) if group is None else f"{kind} in groups of {group}"


def in_any_way(group: Group) -> Group:
    """The group without the parameters that say how weights are stored."""
    params = {name: value for name, value in json.loads(group.params).items() if name not in PARAMETERS}
    return replace(group, params=to_json(params))


def cost(rows: Sequence[Row], whose: str = "its") -> str:
    """`its logits are off by up to 14 % (KL 0.02 nats, top-1 agrees at 91 % of 128 positions)`, for the record that is farthest
    off; empty where no weights were rounded."""
    known = [row for row in rows if row.get("rounding_error") is not None]
    if not known:
        return ""
    row = max(known, key=lambda row: float(row["rounding_error"]))
    text = f"{whose} logits are off by {'up to ' * (len(known) > 1)}{percent(row['rounding_error'])}"
    if row.get("kl_divergence_nats") is None:
        return text
    positions = row["rounding_positions"]
    agreed = f"top-1 agrees at {percent(row['top1_agreement'])} of {positions} {plural(positions, 'position')}"
    return f"{text} (KL {row['kl_divergence_nats']:.2g} nats, {agreed})"
