"""Small detectors in PyTorch, untrained: a Fast R-CNN with SqueezeNet's fire modules, torchvision's roi_pool and two hidden layers; and a
Faster R-CNN in detectron2's ways."""

import torch
from torch import nn
from torchvision.ops import roi_align, roi_pool

from detector import background_first


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


class C4(nn.Module):
    """One map of 1/16 with an RPN on it, RoIAlign by half pixels, and a stage of convolutions for each region."""

    # Of detectron2's config: BGR in 0..255, boxes without the added pixel, an anchor of one size and three ratios.
    MANIFEST = {
        "channel_order": "bgr",
        "pixel_scale": 255,
        "pixel_means": [103.53, 116.28, 123.675],
        "pixel_stds": [1, 1, 1],
        "scales": [160],
        "max_long_side": 266,
        "resize": "detectron2",
        "box_width_offset": 0,
        "nms_width_offset": 0,
        "nms_keeps_equal": True,
        "min_box_side": 1e-30,
        "box_weights": [10, 10, 5, 5],
        "rpn": {
            "anchors": [[[-45, -23, 45, 23], [-32, -32, 32, 32], [-23, -45, 23, 45]]],
            "strides": [16],
            "pre_nms_top_n": 100,
            "post_nms_top_n": 50,
            "nms_iou": 0.7,
            "min_side": 1e-30,
            "score_threshold": 0,
        },
    }

    def __init__(self, classes):
        super().__init__()
        self.res4 = nn.Sequential(nn.Conv2d(3, 16, 7, 4, 3), nn.ReLU(), nn.Conv2d(16, 24, 5, 4, 2), nn.ReLU())
        self.rpn = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.ReLU())
        self.logits, self.anchor_deltas = nn.Conv2d(24, 3, 1), nn.Conv2d(24, 12, 1)
        self.res5 = nn.Sequential(nn.Conv2d(24, 12, 1, 2), nn.ReLU(), nn.Conv2d(12, 40, 3, padding=1), nn.ReLU())
        # As trained: the background is the last class and has no box. frcnn takes it first, and with one that nobody looks at.
        self.cls_score, self.bbox_pred = background_first(nn.Linear(40, classes + 1), nn.Linear(40, 4 * classes))
        with torch.no_grad():
            self.res4[0].weight *= 0.02

    def forward(self, data, rois):
        map = self.res4(data)
        hidden = self.rpn(map)
        region = self.res5(roi_align(map, rois, (14, 14), 1 / 16, sampling_ratio=0, aligned=True)).mean([2, 3])
        scores, deltas = self.cls_score(region), self.bbox_pred(region)
        return torch.softmax(scores, 1), deltas, [self.logits(hidden)], [self.anchor_deltas(hidden)]


def c4():
    """Two classes, with weights that are always the same."""
    torch.manual_seed(1)
    return C4(2)
