#!/usr/bin/env python3
"""Executes the recorded launches of the emulation once more, as nvcc compiled them, and compares the memory.

  compare.py --interpreter PATH --ptx FOLDER --record FOLDER... [--limit-per-kernel K] [--processes N]

FOLDER of --ptx holds one .ptx for each .cu; those of --record are what KN_EMULATION_RECORD named. Fails where a launch
differs, where a launched kernel is in no PTX, and where a kernel was never launched.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

sys.dont_write_bytecode = True  # neither here nor beside the interpreter

import interpreter as machines
import tolerance
from recording import Recording, recordings
from signature import pointers, readable


@dataclass
class Outcome:
    symbol: str
    threads: int
    seconds: float
    difference: tolerance.Difference


def execute(task):
    """One process's share: (interpreter, PTX texts, indices of launches by the path of their recording). Gives the
    outcomes, and what was executed of each kernel."""
    path, texts, shares = task
    interpreter = machines.load(path)
    outcomes, coverage = [], {}
    for recording, wanted in shares.items():
        recording = Recording(recording)
        machine = machines.Machine(interpreter, texts, recording.base, recording.size)
        outcomes += execute_recording(interpreter, machine, recording, wanted)
        coverage = machine.executed()
    return outcomes, coverage


def execute_recording(interpreter, machine, recording, wanted):
    outcomes = []

    def visit(index, launch, allocations, before, after):
        start = time.monotonic()
        try:
            actual = machine.run(launch, allocations, before)
            places = [(address - recording.base, name) for address, name in pointers(launch)]
            difference = tolerance.compare(before, after, actual, allocations, places)
        except (interpreter.Fault, interpreter.Unsupported, ValueError) as problem:
            difference = tolerance.Difference(failure=f"{type(problem).__name__}: {problem}")
        if difference.failure:
            difference.failure = f"launch {index}, grid {launch.grid}, block {launch.block}: {difference.failure}"
        outcomes.append(Outcome(launch.symbol, launch.threads, time.monotonic() - start, difference))

    recording.replay(wanted, visit)
    return outcomes


def choose(files, known, limit):
    """(file, index, threads) of the launches to execute."""
    seen = Counter()
    for file in files:
        for index, launch in enumerate(file.launches):
            seen[launch.kind] += 1
            if launch.symbol in known and (not limit or seen[launch.kind] <= limit):
                yield file, index, launch.threads


def share_out(chosen, processes):
    """For each process the indices of its launches by file; the longest go first to the least busy process."""
    busy = [0] * processes
    shares = [defaultdict(set) for _ in range(processes)]
    for file, index, threads in sorted(chosen, key=lambda item: -item[2]):
        process = busy.index(min(busy))
        busy[process] += threads + 2000  # a launch of few threads takes its time too
        shares[process][file.path].add(index)
    return shares


def united(coverages):
    result = {}
    for coverage in coverages:
        for symbol, (executed, count) in coverage.items():
            known, _ = result.get(symbol, (set(), count))
            result[symbol] = known | executed, count
    return result


def share_of(coverage):
    """The executed share of the instructions, as text."""
    executed, count = sum(len(places) for places, _ in coverage), sum(count for _, count in coverage)
    return f"{100 * executed / max(count, 1):.1f} %"


def report(outcomes, recorded, coverage):
    by_symbol = defaultdict(list)
    for outcome in outcomes:
        by_symbol[outcome.symbol].append(outcome)
    names = dict(sorted(readable(by_symbol).items(), key=lambda item: item[1]))
    width = max(map(len, names.values()), default=6)
    print(f"{'kernel':{width}}  recorded  executed  bit for bit     threads  instructions  seconds  largest difference")
    for symbol, name in names.items():
        of = by_symbol[symbol]
        exact = sum(o.difference.words == 0 and not o.difference.failure for o in of)
        largest = max(o.difference.largest for o in of)
        print(
            f"{name:{width}}  {recorded[symbol]:8}  {len(of):8}  {exact:11}  {sum(o.threads for o in of):10}"
            f"  {share_of([coverage[symbol]]) if symbol in coverage else '':>12}  {sum(o.seconds for o in of):7.1f}  {f'{largest:.1e}' if largest else '0':>18}"
        )
    print("instructions: share of the kernel's, jumps apart, that some thread executed")
    print("largest difference: in terms of the largest magnitude that the launch wrote into the same allocation")


def problems(outcomes, entries, recorded):
    missing = sorted(set(recorded) - set(entries))
    unused = sorted(set(entries) - set(recorded))
    names = readable(missing + unused)
    if not recorded:
        yield "nothing was recorded"
    for symbol in missing:
        yield f"{names[symbol] or 'a kernel without a symbol'}: launched {recorded[symbol]} times, but in no PTX"
    for symbol in unused:
        yield f"{names[symbol]} ({entries[symbol]}): never launched"
    failures = [outcome for outcome in outcomes if outcome.difference.failure]
    names = readable(outcome.symbol for outcome in failures)
    for outcome in failures:
        yield f"{names[outcome.symbol]}: {outcome.difference.failure}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interpreter", required=True, help="path of ptxinterp.py")
    parser.add_argument("--ptx", required=True, help="folder with the .ptx files")
    parser.add_argument("--record", required=True, action="append", help="folder with recorded launches; may be repeated")
    parser.add_argument("--limit-per-kernel", type=int, default=0, help="launches of the same shape to execute; 0: all")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()

    start = time.monotonic()
    texts = machines.read_ptx(options.ptx)
    entries = machines.entries(machines.load(options.interpreter), texts)
    files = [file for folder in options.record for file in recordings(folder)]
    recorded = Counter(launch.symbol for file in files for launch in file.launches)
    limit = options.limit_per_kernel
    chosen = list(choose(files, entries, limit))
    scope = f"at most {limit} of each kernel and shape" if limit else "all"
    print(f"{len(chosen)} of {sum(recorded.values())} launches are executed ({scope}).", flush=True)
    tasks = [(options.interpreter, list(texts.values()), shares) for shares in share_out(chosen, options.processes)]
    with multiprocessing.Pool(options.processes) as pool:
        shares = pool.map(execute, tasks, chunksize=1)
    outcomes = [outcome for share, _ in shares for outcome in share]
    coverage = united(executed for _, executed in shares)

    report(outcomes, recorded, coverage)
    found = list(problems(outcomes, entries, recorded))
    for problem in found:
        print(f"FAILED  {problem}")
    exact = sum(o.difference.words == 0 and not o.difference.failure for o in outcomes)
    print(
        f"{len(entries)} kernels, {sum(recorded.values())} launches recorded, {len(outcomes)} executed, {exact} equal bit "
        f"for bit, {share_of(coverage.values())} of the instructions, {len(found)} problems, {time.monotonic() - start:.0f} s"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
