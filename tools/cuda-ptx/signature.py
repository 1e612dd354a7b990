"""What kernels take, from their symbols: so that memory is compared by the type of what lies in it."""

import re
import shutil
import subprocess
from functools import cache

#: How to compare what a pointer leads to. Other types are integers, or bits that are moved.
FORMATS = {
    "float": "float32",
    "double": "float64",
    "__half": "float16",
    "__nv_bfloat16": "bfloat16",
    "kn::cuda::SampleOutcome": "float64",  # a double, and a count in 64 bits
}


def demangle(symbols):
    """Names as C++ has them, by symbol."""
    symbols = sorted(set(symbols))
    if not symbols:
        return {}
    if not shutil.which("c++filt"):
        raise SystemExit("c++filt is missing; it comes with the compiler (Debian: binutils)")
    lines = subprocess.run(["c++filt"], input="\n".join(symbols), text=True, capture_output=True, check=True).stdout
    return dict(zip(symbols, lines.splitlines(), strict=True))


def readable(symbols):
    """The same without namespaces and parameters."""
    return {
        symbol: name.removeprefix("void ").replace("kn::cuda::", "").split("(")[0]
        for symbol, name in demangle(symbols).items()
    }


@cache
def parameters(symbol):
    """The types of a kernel's parameters."""
    name = demangle([symbol])[symbol]
    text, depth, types = name[name.index("(") + 1 : name.rindex(")")], 0, [""]
    for letter in text:
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            types.append("")
        else:
            types[-1] += letter
    return [type_.strip() for type_ in types]


def pointers(launch):
    """(address, format) of each argument that is a pointer; pointers within structs are not seen."""
    types = parameters(launch.symbol)
    if len(types) != len(launch.arguments):
        raise ValueError(f"{len(launch.arguments)} arguments for parameters {types}")
    for type_, argument in zip(types, launch.arguments):
        pointee = re.fullmatch(r"(.*?)( const)?\*", type_)
        address = int.from_bytes(argument, "little")
        if pointee and address:
            yield address, FORMATS.get(pointee[1], "integers")
