"""A small Fast R-CNN in PyTorch: SqueezeNet's fire modules, torchvision's roi_pool, two hidden layers. Untrained."""

import torch
from torch import nn
from torchvision.ops import roi_pool


class Fire(nn.Module):
    """1 x 1 convolutions squeeze; 1 x 1 and 3 x 3 ones expand side by side."""

    def __init__(self, channels, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1(x)), torch.relu(self.expand3(x))], 1)


class FastRCNN(nn.Module):
    """`module(data [1, 3, H, W], rois [R, 5])` gives probabilities [R, K+1] and box deltas [R, 4(K+1)]."""

    def __init__(self, classes):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(16, 8, 16),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(32, 8, 16),
        )
        self.fc6 = nn.Linear(32 * 6 * 6, 64)
        self.fc7 = nn.Linear(64, 48)
        self.dropout = nn.Dropout()
        self.cls_score = nn.Linear(48, classes + 1)
        self.bbox_pred = nn.Linear(48, 4 * (classes + 1))

    def forward(self, data, rois):
        map = self.trunk(data)
        x = roi_pool(map, rois, output_size=6, spatial_scale=1 / 8).flatten(1)
        x = self.dropout(torch.relu(self.fc6(x)))
        x = self.dropout(torch.relu(self.fc7(x)))
        return torch.softmax(self.cls_score(x), 1), self.bbox_pred(x)


def cats_and_dogs():
    """Two classes, with weights that are always the same."""
    torch.manual_seed(0)
    return FastRCNN(2)
