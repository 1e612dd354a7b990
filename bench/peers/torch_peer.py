"""Training steps in PyTorch, on command: the peer of `npm run bench:peers`.

Reads a JSON object a line from standard input and answers with one a line on standard output:

    {"command": "prepare", "id": "a", "norm": "bn", "n": 5, "batch": 128, "size": 32, "splits": 64,
     "layout": "channels_last", "compile": false}       -> {"parameters": 464154}
    {"command": "run", "id": "a", "steps": 3}           -> {"seconds": 1.23, "loss": 2.3}
    {"command": "drop", "id": "a"}                      -> {}
    {"command": "memory"}                               -> {"baseline": 1, "peak": 2}, in bytes

A command that fails is answered with {"error": "..."}. Between commands the process sleeps.
"""

import argparse
import gc
import json
import os
import resource
import sys
import time

# Whatever a library prints goes to standard error: standard output is for answers alone.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**fields):
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


try:
    import torch
    from torch.nn import functional as F

    from torch_network import BatchNormNetwork, KalmanNetwork
except ImportError as error:
    answer(missing=str(error))
    sys.exit(0)

LEARNING_RATE = 1e-4  # as ours: the batch isn't learned by heart, so that no gradient becomes denormal


class Step:
    """A network on one batch, with its optimiser."""

    def __init__(self, norm, n, batch, size, splits, layout, compile):
        torch.manual_seed(0)
        network = KalmanNetwork(n, splits) if norm == "kn" else BatchNormNetwork(n)
        form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        self.network = network.to(memory_format=form)
        self.images = torch.randn(batch, 3, size, size).contiguous(memory_format=form)
        self.labels = torch.arange(batch) % 10
        decayed = [p for p in network.parameters() if p.dim() > 1]
        others = [p for p in network.parameters() if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": 2e-4}, {"params": others, "weight_decay": 0.0}]
        # PyTorch's fastest: one kernel for all parameters.
        self.optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=0.9, fused=True)
        self.forward = torch.compile(network) if compile else network

    @property
    def parameters(self):
        return sum(p.numel() for p in self.network.parameters())

    def run(self, steps):
        loss = None
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(self.forward(self.images), self.labels)
            loss.backward()
            self.optimizer.step()
        return loss.item()


def process_memory(field):
    """VmRSS or VmHWM of this process in bytes; `getrusage` counts what the parent had when it forked."""
    try:
        with open("/proc/self/status") as status:
            return next(1024 * int(line.split()[1]) for line in status if line.startswith(field))
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=0)
    threads = parser.parse_args().threads
    if threads:
        torch.set_num_threads(threads)
    baseline = process_memory("VmRSS")
    steps = {}
    answer(torch=torch.__version__, threads=torch.get_num_threads())
    for line in sys.stdin:
        request = json.loads(line)
        command, name = request.pop("command"), request.pop("id", None)
        try:
            if command == "prepare":
                steps[name] = Step(**request)
                answer(parameters=steps[name].parameters)
            elif command == "run":
                begin = time.perf_counter()
                loss = steps[name].run(request["steps"])
                answer(seconds=time.perf_counter() - begin, loss=loss)
            elif command == "drop":
                steps.pop(name, None)
                gc.collect()
                answer()
            elif command == "memory":
                answer(baseline=baseline, peak=process_memory("VmHWM"))
            else:
                answer(error=f"unknown command {command!r}")
        except Exception as error:  # the other side says what failed and goes on without this mode
            answer(error=f"{type(error).__name__}: {error}")


main()
