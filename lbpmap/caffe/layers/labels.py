"""What losses of labels share on every engine: which labels count, and what a sum is divided by."""

from __future__ import annotations

import math

from lbpmap.caffe.formats.messages import MESSAGES, Message

LossParameter = MESSAGES["LossParameter"]
# Where Caffe stops a logarithm of zero: FLT_MIN, and its own kLOG_THRESHOLD.
SMALLEST = 2.0**-126
LOG_THRESHOLD = 1e-20


def ignored(p: Message) -> int | None:
    """Return the label that a LossParameter (or AccuracyParameter) leaves out."""
    return int(p.ignore_label) if p.HasField("ignore_label") else None


def no_class(label: int, classes: int) -> ValueError:
    """Make the error for a label that is none of the classes."""
    return ValueError(f"label {label} is none of the {classes} classes")


def normaliser(p: Message, default: int, sizes: tuple[int, int], valid: int) -> float:
    """Return what a loss is divided by; `sizes`: of the batch, and of one sample's labels."""
    mode = p.normalization if p.HasField("normalization") else default
    if p.HasField("normalize") and not p.HasField("normalization"):
        mode = LossParameter.VALID if p.normalize else LossParameter.BATCH_SIZE
    divisors = {
        LossParameter.FULL: math.prod(sizes),
        LossParameter.VALID: valid,
        LossParameter.BATCH_SIZE: sizes[0],
        LossParameter.NONE: 1,
    }
    return float(max(1, divisors[mode]))
