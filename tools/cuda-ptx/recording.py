"""Reads what the emulation recorded (native/emulation/record.cpp says how the file is laid out)."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC = b"KNLAUNCH"
VERSION = 1


def numbers(data, offset=0, count=None):
    """Numbers of 64 bits."""
    return np.frombuffer(data, np.uint64, -1 if count is None else count, offset)


@dataclass(frozen=True)
class Launch:
    symbol: str
    grid: tuple
    block: tuple
    shared: int
    arguments: tuple

    @property
    def threads(self):
        return int(np.prod(self.grid + self.block))

    @property
    def kind(self):
        """What launches have in common that differ in nothing but numbers."""
        return self.symbol, self.grid, self.block, tuple(len(a) for a in self.arguments)

    @staticmethod
    def parse(data):
        header = [int(n) for n in numbers(data, 0, 8)]
        offset = 64 + header[7]
        arguments = []
        while offset < len(data):
            (size,) = struct.unpack_from("<Q", data, offset)
            arguments.append(bytes(data[offset + 8 : offset + 8 + size]))
            offset += 8 + size
        symbol = bytes(data[64 : 64 + header[7]]).decode()
        return Launch(symbol, tuple(header[0:3]), tuple(header[3:6]), header[6], tuple(arguments))


class Recording:
    """One file: all launches of one process."""

    def __init__(self, path):
        self.path = path
        self.data = np.memmap(path, np.uint8, "r")
        magic, version, self.base = struct.unpack("<8sQQ", bytes(self.data[:24]))
        if magic != MAGIC or version != VERSION:
            raise ValueError(f"{path} is no recording of launches, or of another version")
        self.records = list(self._scan())
        self.launches = [Launch.parse(self.data[o : o + n]) for letter, o, n in self.records if letter == "K"]
        ends = [self._allocations(o, n) for letter, o, n in self.records if letter == "A"]
        #: bytes of device memory that were ever in use
        self.size = int(max((a.sum(1).max() for a in ends if len(a)), default=0))

    def _scan(self):
        offset = 24
        while offset + 16 <= len(self.data):
            letter, size = struct.unpack("<QQ", bytes(self.data[offset : offset + 16]))
            if offset + 16 + size > len(self.data):
                break  # the process was stopped while it wrote
            yield chr(letter), offset + 16, size
            offset += 16 + size

    def _allocations(self, offset, size):
        return numbers(self.data[offset : offset + size]).reshape(-1, 2).astype(np.int64)

    def _apply(self, memory, offset, size):
        at, end = offset, offset + size
        while at < end:
            begin, count = struct.unpack("<QQ", bytes(self.data[at : at + 16]))
            memory[begin : begin + count] = self.data[at + 16 : at + 16 + count]
            at += 16 + count

    def replay(self, wanted, visit):
        """Calls visit(index, launch, allocations, before, after) for each wanted launch. `before` and `after` are the
        whole memory, valid during the call; `allocations` those before the launch, for another thread of the recorded
        process may have made new ones while the kernel ran."""
        memory = np.zeros(self.size + 7 & ~7, np.uint8)
        allocations = np.zeros((0, 2), np.int64)
        index, pending, known = -1, None, None
        for letter, offset, size in self.records:
            if letter == "A":
                allocations = self._allocations(offset, size)
            elif letter == "K":
                index += 1
                pending, known = (memory.copy(), allocations) if index in wanted else (None, None)
            else:
                self._apply(memory, offset, size)
                if pending is not None:
                    visit(index, self.launches[index], known, pending, memory)
                    pending = None


def recordings(folder):
    return [Recording(path) for path in sorted(Path(folder).glob("launches-*.bin"))]
