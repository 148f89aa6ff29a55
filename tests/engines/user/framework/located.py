"""A framework that says where its worker runs: what CUDA is to find there, and on which processors it is kept."""

import os
from dataclasses import replace

from mtbench.frameworks import numpy
from mtbench.frameworks.base import Description


class Located(numpy.NumPy):
    library = "located"

    def describe(self) -> Description:
        usual = super().describe()
        where = {
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "order": os.environ.get("CUDA_DEVICE_ORDER", ""),
            "processors": " ".join(map(str, sorted(os.sched_getaffinity(0)))),
        }
        return replace(usual, library="located", version="1.0", details=where)
