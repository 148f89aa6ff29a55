"""The axes of a sweep in which contenders may differ, by the names of their settings."""

CONTENDERS = ("framework", "operator.variant", "device", "matmul_precision")
"""What competes where a sweep names nothing else, and in all records that do not say."""

PARAMS = "operator.params."
"""The beginning of the axes that are an operator's parameters."""
