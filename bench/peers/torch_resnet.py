"""ResNet-50 in PyTorch, arranged as torchvision's ("v1.5": the 3 x 3 convolution of a bottleneck has its stride)."""

from torch import nn
from torch.nn import functional as F


def normalized(inputs, outputs, kernel, stride=1):
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = 4 * width
        self.reduce = normalized(inputs, width, 1)
        self.spread = normalized(width, width, 3, stride)
        self.expand = normalized(width, outputs, 1)
        self.shortcut = normalized(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x):
        branch = self.expand(F.relu(self.spread(F.relu(self.reduce(x)))))
        return F.relu(branch + self.shortcut(x))


class ResNet50(nn.Module):
    """25,557,032 parameters with 1000 classes."""

    def __init__(self, classes=1000):
        super().__init__()
        layers = [normalized(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
        channels = 64
        for stage, blocks in enumerate((3, 4, 6, 3)):
            width = 64 << stage
            for block in range(blocks):
                layers.append(Bottleneck(channels, width, 2 if stage > 0 and block == 0 else 1))
                channels = 4 * width
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(channels, classes)

    def forward(self, images):
        return self.linear(self.layers(images).mean(dim=(2, 3)))
