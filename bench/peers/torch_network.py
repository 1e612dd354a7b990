"""The CIFAR residual network of kalman-norm in PyTorch: with batch normalization as PyTorch has it, and with Kalman
normalization as a straight port of the reference code, one tensor operation for each of its lines."""

import torch
from torch import nn
from torch.nn import functional as F

EPSILON = 1e-5


def convolution(inputs, outputs, stride=1):
    # The padding of a stride of 2 is symmetric here and TensorFlow's in kalman-norm, which costs the same.
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def shortcut(x, widens):
    """Averages 2 x 2 pixels and adds channels of zeros on either side where a block widens."""
    if not widens:
        return x
    half = x.shape[1] // 2
    return F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, half, half))


def stages(n):
    """(inputs, outputs, whether it's the network's first) of every block."""
    channels = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for block in range(n):
            yield channels, outputs, stage == 0 and block == 0
            channels = outputs


class BatchNormBlock(nn.Module):
    """Pre-activation residual block."""

    def __init__(self, inputs, outputs, first):
        super().__init__()
        self.widens = inputs != outputs
        self.norm1 = None if first else nn.BatchNorm2d(inputs, eps=EPSILON)
        self.conv1 = convolution(inputs, outputs, 2 if self.widens else 1)
        self.norm2 = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.conv2 = convolution(outputs, outputs)

    def forward(self, x):
        activated = x if self.norm1 is None else F.relu(self.norm1(x))
        branch = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        return branch + shortcut(x, self.widens)


class BatchNormNetwork(nn.Module):
    """The network with batch normalization; 464,154 parameters at n = 5."""

    def __init__(self, n, classes=10):
        super().__init__()
        self.conv0 = convolution(3, 16)
        self.norm0 = nn.BatchNorm2d(16, eps=EPSILON)
        self.blocks = nn.Sequential(*(BatchNormBlock(*shape) for shape in stages(n)))
        self.norm_last = nn.BatchNorm2d(64, eps=EPSILON)
        self.linear = nn.Linear(64, classes)

    def forward(self, images):
        x = self.blocks(F.relu(self.norm0(self.conv0(images))))
        return self.linear(F.relu(self.norm_last(x)).mean(dim=(2, 3)))


def split_to_channels(x, splits):
    """[N, C, H, W] to [N/S, S*C, H, W], as the reference's concat(split(x)) along channels."""
    n, c, h, w = x.shape
    return x.reshape(splits, n // splits, c, h, w).transpose(0, 1).reshape(n // splits, splits * c, h, w)


def split_to_samples(x, splits):
    """The way back."""
    n, c, h, w = x.shape
    return x.reshape(n, splits, c // splits, h, w).transpose(0, 1).reshape(n * splits, c // splits, h, w)


def moments(x):
    """Mean and biased variance per channel."""
    mean = x.mean(dim=(0, 2, 3))
    variance = ((x - mean.view(1, -1, 1, 1)) ** 2).mean(dim=(0, 2, 3))
    return mean, variance


class KalmanNorm(nn.Module):
    """`kalman_filter` of the reference; a belief is a mean and a variance of S*C values each."""

    def __init__(self, channels, splits, gain=0.1, guard=100.0):
        super().__init__()
        self.splits, self.p_rate, self.guard = splits, 1 - gain, guard
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))

    def forward(self, x, prior):
        y = split_to_channels(x, self.splits)
        mean, variance = moments(y)
        if prior is not None:
            prior_mean, prior_variance = prior
            p = self.p_rate
            filtered_mean = p * prior_mean + (1 - p) * mean
            filtered_variance = p * prior_variance + (1 - p) * variance + p * (1 - p) * (mean - prior_mean) ** 2
            trusted = (prior_variance / variance).mean() < self.guard
            mean = torch.where(trusted, filtered_mean, mean)
            variance = torch.where(trusted, filtered_variance, variance)
        scale = torch.rsqrt(variance + EPSILON) * self.gamma.repeat(self.splits)
        offset = self.beta.repeat(self.splits) - mean * scale
        y = y * scale.view(1, -1, 1, 1) + offset.view(1, -1, 1, 1)
        channels = self.gamma.shape[0]
        with torch.no_grad():
            # Statistics are as short as the activations where PyTorch casts those.
            self.running_mean.lerp_(mean[:channels].float(), 0.1)
            self.running_variance.lerp_(variance[:channels].float(), 0.1)
        return split_to_samples(y, self.splits), (mean, variance)


def predict(belief, conv, shape, splits):
    """The prior behind ReLU and a convolution: one rectified Gaussian image a split goes through it."""
    mean, variance = belief
    _, channels, height, width = shape
    noise = torch.randn(1, splits * channels, height, width, device=mean.device)
    images = F.relu(noise * torch.sqrt(variance).view(1, -1, 1, 1) + mean.view(1, -1, 1, 1))
    return moments(split_to_channels(conv(images.view(splits, channels, height, width)), splits))


class KalmanBlock(nn.Module):
    """Pre-activation residual block with Kalman normalization."""

    def __init__(self, inputs, outputs, first, splits):
        super().__init__()
        self.splits, self.widens = splits, inputs != outputs
        self.norm1 = None if first else KalmanNorm(inputs, splits)
        self.conv1 = convolution(inputs, outputs, 2 if self.widens else 1)
        self.norm2 = KalmanNorm(outputs, splits)
        self.conv2 = convolution(outputs, outputs)

    def forward(self, x, belief):
        if self.norm1 is None:
            activated, posterior = x, belief
        else:
            activated, posterior = self.norm1(x, belief)
            activated = F.relu(activated)
        prior = predict(posterior, self.conv1, activated.shape, self.splits)
        inner, posterior = self.norm2(self.conv1(activated), prior)
        inner = F.relu(inner)
        mean, variance = predict(posterior, self.conv2, inner.shape, self.splits)
        branch = self.conv2(inner)
        if self.widens:
            # The reference pads the flattened vectors, which moves beliefs between splits.
            pad = x.shape[1] // 2 * self.splits
            belief = tuple(F.pad(part, (pad, pad)) for part in belief)
        return branch + shortcut(x, self.widens), (belief[0] + mean, belief[1] + variance)


class KalmanNetwork(nn.Module):
    """The network with Kalman normalization."""

    def __init__(self, n, splits, classes=10):
        super().__init__()
        self.conv0 = convolution(3, 16)
        self.norm0 = KalmanNorm(16, splits)
        self.blocks = nn.ModuleList(KalmanBlock(*shape, splits) for shape in stages(n))
        self.norm_last = KalmanNorm(64, splits)
        self.linear = nn.Linear(64, classes)

    def forward(self, images):
        x, belief = self.norm0(self.conv0(images), None)
        # Without a prior, the reference hands statistics on that carry no gradient.
        x, belief = F.relu(x), tuple(part.detach() for part in belief)
        for block in self.blocks:
            x, belief = block(x, belief)
        x, _ = self.norm_last(x, belief)
        return self.linear(F.relu(x).mean(dim=(2, 3)))
