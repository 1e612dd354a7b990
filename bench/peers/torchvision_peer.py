"""torchvision's ImageFolder with random resized crops, on command: the peer of `npm run bench:input`.

Reads a JSON object a line from standard input and answers with one a line on standard output:

    {"folder": "DIR/train", "size": 224}  -> {"images": 1000}
    {"indices": [0, 7, 14]}               -> {"seconds": 0.012}, of processor time

The process has one thread, and no workers, which would only add the cost of sending images.
"""

import json
import sys
import time

from answers import answer

try:
    import PIL
    from PIL import features
    import torch
    import torchvision
    from torchvision import datasets, transforms
except (ImportError, RuntimeError) as error:  # the latter where it was built for another torch
    answer(missing=str(error))
    sys.exit(0)

torch.set_num_threads(1)
answer(version=f"torchvision {torchvision.__version__}, Pillow {PIL.__version__}, "
               f"libjpeg-turbo {features.version_feature('libjpeg_turbo')}")
for line in sys.stdin:
    request = json.loads(line)
    if "folder" in request:
        steps = [transforms.RandomResizedCrop(request["size"]), transforms.PILToTensor()]
        images = datasets.ImageFolder(request["folder"], transforms.Compose(steps))
        answer(images=len(images))
    else:
        begin = time.process_time()
        torch.stack([images[i][0] for i in request["indices"]])
        answer(seconds=time.process_time() - begin)
