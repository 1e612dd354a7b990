"""How far apart the memory of an emulated launch and of its PTX may lie.

Both run the same source, so that most launches agree bit for bit. What is left:
- nvcc contracts a multiplication and an addition into one fused operation where the emulation rounds twice;
- rsqrt.approx, ex2.approx and lg2.approx are good to about 2 units in the last place, and exp, log and such are other
  polynomials than those of the C library;
- both kinds of difference may be enlarged by a cancellation, up to the rounding error of the largest term.
Hence a number may differ by `relative` of its own value or by `absolute` of the largest magnitude that the launch wrote
into the same allocation, and one of 16 bits, besides, by one unit in its last place.

Which format an allocation has is told by the types of the pointers to it among the kernel's arguments. Where there is
none, for pointers also come within structs, it has words of 32 bits: float32, or integers. Integers must be equal; small
ones, which as floats would be denormal, are told from floats by that.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Format:
    word: type  #: unsigned integers of this size
    number: type
    relative: float
    absolute: float
    steps: int = 0  #: in the last place, allowed in any case
    integers: bool = False  #: lie among the numbers

    def values(self, words):
        if self is FORMATS["bfloat16"]:
            words = words.view(np.uint16).astype(np.uint32) << 16
        return words.view(self.number).astype(np.float64)


FORMATS = {
    "float32": Format(np.uint32, np.float32, 1e-5, 2e-6),
    "float64": Format(np.uint64, np.float64, 1e-13, 1e-14, integers=True),
    "float16": Format(np.uint16, np.float16, 1e-5, 2e-6, steps=1),
    "bfloat16": Format(np.uint16, np.float32, 1e-5, 2e-6, steps=1),
    "32 bits": Format(np.uint32, np.float32, 1e-5, 2e-6, integers=True),
    "integers": Format(np.uint32, np.float32, 0, 0),
}


@dataclass
class Difference:
    words: int = 0  #: of 32 bits that differ
    largest: float = 0.0  #: in terms of the largest magnitude in the same allocation
    failure: str = ""


def ordered(words):
    """Integers in the order of the numbers that 16 bits stand for."""
    magnitude = (words & 0x7FFF).astype(np.int32)
    return np.where(words & 0x8000, -magnitude, magnitude)


def check(format_, actual, expected, scale):
    """For each word the error in terms of what is allowed, and the difference. NaN equals NaN."""
    a, e = format_.values(actual), format_.values(expected)
    if format_ is FORMATS["integers"]:
        return np.where(actual == expected, 0.0, np.inf), a - e
    allowed = format_.relative * np.abs(e) + format_.absolute * scale
    same = (a == e) | (np.isnan(a) & np.isnan(e))
    if format_.steps:
        same |= np.abs(ordered(actual) - ordered(expected)) <= format_.steps
    if format_.integers:
        tiny = np.finfo(format_.number).tiny
        allowed = np.where((np.abs(a) < tiny) & (np.abs(e) < tiny), 0, allowed)
    ratio = np.where(allowed > 0, np.abs(a - e) / np.where(allowed > 0, allowed, 1), np.inf)
    return np.where(same, 0.0, np.where(np.isnan(ratio), np.inf, ratio)), a - e


def compare(before, after, actual, allocations, pointers):
    """`pointers`: (offset in the memory, name of a format) for those of the launch whose type is known."""
    result = Difference()
    whole = len(after) & ~7
    before, after, actual = (memory[:whole] for memory in (before, after, actual))
    differing = np.nonzero(after.view(np.uint32) != actual.view(np.uint32))[0] * 4
    owners = np.searchsorted(allocations[:, 0], differing, "right") - 1
    inside = (owners >= 0) & (differing < allocations[owners].sum(1))
    result.words = int(inside.sum())
    formats = formats_of(allocations, pointers) if result.words else {}
    for owner in np.unique(owners[inside]):
        begin, size = allocations[owner]
        name = formats.get(owner, "32 bits")
        format_ = FORMATS[name]
        width = np.dtype(format_.word).itemsize
        memory = slice(begin, begin + (size + width - 1) // width * width)
        b, e, a = (bytes_[memory].view(format_.word) for bytes_ in (before, after, actual))
        written = format_.values(e[(e != b) | (e != a)])
        scale = np.abs(written[np.isfinite(written)]).max(initial=0.0)
        places = np.nonzero(e != a)[0]
        with np.errstate(invalid="ignore", over="ignore"):
            errors, differences = check(format_, a[places], e[places], scale)
        if scale > 0:
            result.largest = max(result.largest, float(np.nanmax(np.abs(differences), initial=0.0) / scale))
        if errors.max() > 1 and not result.failure:
            place = places[errors.argmax()]
            result.failure = (
                f"{(errors > 1).sum()} of {len(written)} values ({name}) written at {begin} (allocation of {size} bytes) "
                f"differ by more than is allowed; the worst, at byte {place * width}: emulation "
                f"{describe(format_, e[place])}, PTX {describe(format_, a[place])}"
            )
    return result


def formats_of(allocations, pointers):
    """Names of formats, by the index of the allocation."""
    formats = {}
    for offset, name in pointers:
        owner = int(np.searchsorted(allocations[:, 0], offset, "right")) - 1
        if owner < 0 or offset >= allocations[owner].sum():
            continue
        if formats.setdefault(owner, name) != name:
            raise ValueError(f"pointers to {formats[owner]} and to {name} lead into one allocation")
    return formats


def describe(format_, word):
    value = format_.values(np.array([word], format_.word))[0]
    return f"{value:.9g} (0x{word:x})"
