"""Loads the PTX interpreter, which is no part of this project, and runs recorded launches in it."""

import importlib.util
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

CONTROL = ("bra", "ret", "exit", "bar")


def load(path):
    spec = importlib.util.spec_from_file_location("ptxinterp", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.Run = extended(module.Run)
    return module


def extended(run):
    """With what we need besides: the address of a parameter, by which large structs are indexed, and what was executed."""

    class Run(run):
        executed = defaultdict(set)  #: instructions by kernel

        def exec(self, op, mods, ops):
            self.executed[self.k.name].add(self.stmt)
            return super().exec(op, mods, ops)

        def raw(self, operand, kind):
            if operand in self.k.params:
                return np.full(self.n, self.k.params[operand][0], np.uint64)
            return super().raw(operand, kind)

    return Run


def entries(interpreter, texts):
    """The kernels of each PTX text, by symbol."""
    device = interpreter.Device(1 << 20)
    return {symbol: name for name, text in texts.items() for symbol in interpreter.Module(text, device).kernels}


class Machine:
    """Runs kernels on memory that lies where the emulation had it."""

    CONSTANTS = 1 << 20  # room for the variables of the modules

    def __init__(self, interpreter, texts, base, size):
        self.interpreter = interpreter
        interpreter.BASE = base  # so that recorded pointers mean the same bytes
        self.device = interpreter.Device(size + 4096 + self.CONSTANTS)
        self.size = size
        self.device.top = size + 4095 & ~4095
        self.modules = {}
        for text in texts:
            module = interpreter.Module(text, self.device)
            self.modules.update(dict.fromkeys(module.kernels, module))
        self.known = None

    def run(self, launch, allocations, memory):
        """The memory after the launch; raises Fault or Unsupported of the interpreter."""
        module = self.modules[launch.symbol]
        sizes = [size for _, size, _ in module.kernels[launch.symbol].params.values()]
        if sizes != [len(argument) for argument in launch.arguments]:
            raise ValueError(f"arguments of {[len(a) for a in launch.arguments]} bytes for parameters of {sizes}")
        if self.known is not allocations:
            self.known = allocations
            self.device.ok[: self.size] = False
            for begin, size in allocations:
                self.device.ok[begin : begin + size] = True
        self.device.mem[: len(memory)] = memory
        module.launch(launch.symbol, launch.grid, launch.block, launch.arguments, launch.shared)
        return self.device.mem[: len(memory)]

    def executed(self):
        """Instructions by kernel: (places of those that some thread has executed, number of all). Jumps don't count."""
        coverage = {}
        for symbol, statements in self.interpreter.Run.executed.items():
            code = self.modules[symbol].kernels[symbol].code
            counted = [statement for _, op, _, _, statement in code if op not in CONTROL]
            coverage[symbol] = {i for i, statement in enumerate(counted) if statement in statements}, len(counted)
        return coverage


def read_ptx(folder):
    """The text of each file. Where the compiler took a variable apart, its parts' names have a dollar sign, which the
    interpreter expects in labels alone."""
    return {path.name: re.sub(r"(?<=\w)\$", "S", path.read_text()) for path in sorted(Path(folder).glob("*.ptx"))}
