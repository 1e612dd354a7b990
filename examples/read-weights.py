"""Reads a model file with NumPy alone, and with PyTorch where it is installed: python3 read-weights.py model.safetensors"""

import json
import struct
import sys

import numpy

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}


def read(path):
    """The tensors of a safetensors file by name; and what the file says of the network."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    about = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            # The upper half of a float32.
            values = (numpy.frombuffer(data[start:end], "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = numpy.frombuffer(data[start:end], TYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors, json.loads(about.get("kalman_norm", "{}"))


tensors, about = read(sys.argv[1])
for name, values in tensors.items():
    print(f"{name} {list(values.shape)} {values.dtype} mean {values.mean(dtype='f8'):.6f}")
print((about.get("architecture") or {}).get("type"), about.get("classNames"))

try:
    import torch
except ImportError:
    print("PyTorch isn't installed")
else:
    # As a state dict: filters are [out, in, height, width], as PyTorch has them; matrices of linear layers [in, out].
    state = {name: torch.from_numpy(values.copy()) for name, values in tensors.items()}
    print(f"PyTorch: {len(state)} tensors, {sum(tensor.numel() for tensor in state.values())} values")
