"""How far apart the memory of an emulated launch and of its PTX may lie.

Both run the same source, so that most launches agree bit for bit. What is left:
- nvcc contracts a multiplication and an addition into one fused operation where the emulation rounds twice;
- rsqrt.approx, ex2.approx and lg2.approx are good to about 2 units in the last place, and expf, logf and such are other
  polynomials than those of the C library;
- both kinds of difference may be enlarged by a cancellation, up to the rounding error of the largest term.
Hence a float32 may differ by RELATIVE of its own value or by ABSOLUTE of the largest magnitude that the launch wrote
into the same allocation, and a float16 or bfloat16, besides, by one unit in its last place.
"""

from dataclasses import dataclass

import numpy as np

RELATIVE = 1e-5
ABSOLUTE = 2e-6


@dataclass
class Difference:
    words: int = 0  #: of 32 bits that differ
    largest: float = 0.0  #: in terms of the largest magnitude in the same allocation
    failure: str = ""


def to_float32(halves, bfloat16):
    if bfloat16:
        return (halves.astype(np.uint32) << 16).view(np.float32)
    return halves.view(np.float16).astype(np.float32)


def error(actual, expected, scale):
    """Allowed where at most 1. NaN equals NaN."""
    difference = np.abs(actual - expected)
    allowed = RELATIVE * np.abs(expected) + ABSOLUTE * scale
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    ratio = np.where(same, 0.0, difference / np.maximum(allowed, np.float64(1e-300)))
    return np.where(np.isnan(ratio), np.inf, ratio)


def check_float32(actual, expected, written):
    """For each word the error in terms of what is allowed, and the largest relative to the scale."""
    a, e, w = (words.view(np.float32).astype(np.float64) for words in (actual, expected, written))
    scale = np.abs(w[np.isfinite(w)]).max(initial=0.0)
    # Small integers look like denormal floats: nothing may differ among them.
    integers = ((actual & 0x7F800000) == 0) & ((expected & 0x7F800000) == 0)
    return np.where(integers, np.inf, error(a, e, scale)), relative(a, e, scale)


def check_16_bits(actual, expected, written, bfloat16):
    a, e, w = (words.view(np.uint16) for words in (actual, expected, written))
    steps = np.abs(ordered(a) - ordered(e))
    a, e, w = (to_float32(halves, bfloat16).astype(np.float64) for halves in (a, e, w))
    scale = np.abs(w[np.isfinite(w)]).max(initial=0.0)
    errors = np.where(steps <= 1, 0.0, error(a, e, scale))
    return errors.reshape(-1, 2).max(1), relative(a, e, scale)


def ordered(halves):
    """Integers in the order of the numbers that 16 bits stand for."""
    magnitude = (halves & 0x7FFF).astype(np.int32)
    return np.where(halves & 0x8000, -magnitude, magnitude)


def relative(actual, expected, scale):
    difference = np.abs(actual - expected)
    return float(np.nanmax(difference, initial=0.0) / scale) if scale > 0 else 0.0


def compare(before, after, actual, allocations, formats):
    """`formats` are what the kernel may have written besides float32 and integers: "bfloat16", "float16" or none."""
    result = Difference()
    before, after, actual = (memory[: len(memory) & ~3].view(np.uint32) for memory in (before, after, actual))
    differing = np.nonzero(after != actual)[0]
    owners = np.searchsorted(allocations[:, 0], differing * 4, "right") - 1
    inside = (owners >= 0) & (differing * 4 < allocations[owners].sum(1))
    differing, owners = differing[inside], owners[inside]
    result.words = len(differing)
    for owner in np.unique(owners):
        begin, size = allocations[owner]
        words = slice(begin // 4, (begin + size + 3) // 4)
        written = after[words][(after[words] != before[words]) | (after[words] != actual[words])]
        places = differing[owners == owner]
        checks = [check_float32(actual[places], after[places], written)]
        checks += [check_16_bits(actual[places], after[places], written, f == "bfloat16") for f in formats]
        errors, largest = min(checks, key=lambda check: check[0].max())
        result.largest = max(result.largest, largest)
        if errors.max() > 1 and not result.failure:
            place = places[errors.argmax()]
            result.failure = (
                f"{(errors > 1).sum()} of {len(written)} words written at {begin} (allocation of {size} bytes) differ by "
                f"more than is allowed; the worst, at byte {place * 4 - begin}: emulation {describe(after[place])}, "
                f"PTX {describe(actual[place])}"
            )
    return result


def describe(word):
    return f"{np.array([word], np.uint32).view(np.float32)[0]:.9g} (0x{word:08x})"
