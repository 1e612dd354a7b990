"""Training steps in PyTorch, on command: the peer of `npm run bench:peers`.

Reads a JSON object a line from standard input and answers with one a line on standard output:

    {"command": "prepare", "id": "a", "norm": "bn", "n": 5, "batch": 128, "size": 32, "splits": 64,
     "layout": "channels_last", "compile": false, "graph": false}  -> {"parameters": 464154}
    the same with "depth": 50 in place of "n": ResNet-50
    {"command": "run", "id": "a", "steps": 3}           -> {"seconds": 1.23, "loss": 2.3}
    {"command": "drop", "id": "a"}                      -> {}
    {"command": "memory"}                               -> {"baseline": 1, "peak": 2}, in bytes

A command that fails is answered with {"error": "..."}. Between commands the process sleeps.
"""

import argparse
import gc
import json
import resource
import sys
import time

from answers import answer

try:
    import torch
    from torch.nn import functional as F

    from torch_network import BatchNormNetwork, KalmanNetwork
    from torch_resnet import ResNet50
except ImportError as error:
    answer(missing=str(error))
    sys.exit(0)

LEARNING_RATE = 1e-4  # as ours: the batch isn't learned by heart, so that no gradient becomes denormal


class Place:
    """The device, and what it calculates in: the weights are float32 in all cases, as ours."""

    def __init__(self, device, precision):
        self.device = torch.device(device)
        self.type = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
        if self.device.type == "cuda":
            if not torch.cuda.is_available():
                raise RuntimeError("it finds no GPU")
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
            torch.backends.cudnn.allow_tf32 = precision != "fp32"
            # Its fastest algorithms: the shapes stay.
            torch.backends.cudnn.benchmark = True

    def casts(self):
        # A cache of cast weights must not outlive the step that a graph captures.
        return torch.autocast(self.device.type, dtype=self.type, enabled=self.type is not None, cache_enabled=False)

    def describe(self):
        if self.device.type != "cuda":
            return torch.__version__
        return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"


def make_network(norm, splits, n=None, depth=None):
    if depth is not None:
        if (norm, depth) != ("bn", 50):
            raise ValueError(f"expected batch normalization and 50 layers, got {norm} and {depth}")
        return ResNet50()
    return KalmanNetwork(n, splits) if norm == "kn" else BatchNormNetwork(n)


class Step:
    """A network on one batch, with its optimiser."""

    def __init__(self, place, norm, batch, size, splits, layout, compile, graph, **architecture):
        torch.manual_seed(0)
        self.place = place
        network = make_network(norm, splits, **architecture)
        form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        self.network = network.to(place.device, memory_format=form)
        self.images = torch.randn(batch, 3, size, size).to(place.device).contiguous(memory_format=form)
        self.labels = (torch.arange(batch) % 10).to(place.device)
        decayed = [p for p in network.parameters() if p.dim() > 1]
        others = [p for p in network.parameters() if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": 2e-4}, {"params": others, "weight_decay": 0.0}]
        # PyTorch's fastest: one kernel for all parameters.
        self.optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=0.9, fused=True)
        self.forward = torch.compile(network) if compile else network
        self.loss = None
        self.graph = self.capture() if graph else None

    @property
    def parameters(self):
        return sum(p.numel() for p in self.network.parameters())

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with self.place.casts():
            self.loss = F.cross_entropy(self.forward(self.images), self.labels)
        self.loss.backward()
        self.optimizer.step()

    def capture(self):
        """The whole step as a CUDA graph; the steps before it let libraries choose algorithms and allocate."""
        side = torch.cuda.Stream(self.place.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return graph

    def run(self, steps):
        for _ in range(steps):
            if self.graph:
                self.graph.replay()
            else:
                self.step()
        # The value of the loss is there when all steps are done.
        return self.loss.item()


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
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        place = Place(arguments.device, arguments.precision)
    except Exception as error:  # such as a device that isn't there
        answer(missing=str(error))
        return
    baseline = process_memory("VmRSS")
    steps = {}
    answer(torch=place.describe(), threads=torch.get_num_threads())
    for line in sys.stdin:
        request = json.loads(line)
        command, name = request.pop("command"), request.pop("id", None)
        try:
            if command == "prepare":
                steps[name] = Step(place, **request)
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
