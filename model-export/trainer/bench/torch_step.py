#!/usr/bin/env python3
"""The training step of `frcnn-train fit --arch squeezenet --scales 480`, in PyTorch with torchvision's roi_pool.

Same photos, same network and sizes, same number of RoIs, same losses, momentum and frozen layers, one loader thread.
Prints images per second: the mean of the last 20 of 40 steps, as the second line of log.jsonl has it.

    python3 torch_step.py VOC_DIR PROPOSALS.safetensors
"""

import pathlib
import queue
import random
import struct
import json
import sys
import threading
import time

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional as F

SIDE, RATE = 480, 0.001


class Fire(nn.Module):
    def __init__(self, inputs, squeeze):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.small = nn.Conv2d(squeeze, 4 * squeeze, 1)
        self.large = nn.Conv2d(squeeze, 4 * squeeze, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.small(x)), F.relu(self.large(x))], 1)


class Net(nn.Module):
    def __init__(self, scores):
        super().__init__()
        pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv1 = nn.Conv2d(3, 96, 7, 2)
        self.trunk = nn.Sequential(
            nn.ReLU(), pool(), Fire(96, 16), Fire(128, 16), Fire(128, 32), pool(),
            Fire(256, 32), Fire(256, 48), Fire(384, 48), Fire(384, 64),
        )
        self.head = nn.Sequential(
            nn.Linear(512 * 36, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout()
        )
        self.cls_score = nn.Linear(512, scores)
        self.bbox_pred = nn.Linear(512, 4 * scores)
        self.conv1.requires_grad_(False)

    def forward(self, data, rois):
        conv = self.trunk(self.conv1(data))
        pooled = torchvision.ops.roi_pool(conv, rois, (6, 6), 1 / 8)
        hidden = self.head(pooled.flatten(1))
        return self.cls_score(hidden), self.bbox_pred(hidden)


def load(folder, proposals):
    with open(proposals, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, payload = json.loads(file.read(length)), file.read()
    stems = (folder / "ImageSets/Main/trainval.txt").read_text().split()
    means = torch.tensor([102.9801, 115.9465, 122.7717]).view(1, 3, 1, 1)
    while True:
        data, rois = [], []
        for i, stem in enumerate(random.sample(stems, 2)):
            image = np.asarray(Image.open(folder / f"JPEGImages/{stem}.jpg").convert("RGB"))
            blob = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() - means
            scale = SIDE / min(image.shape[:2])
            if scale != 1:
                blob = F.interpolate(blob, scale_factor=scale, mode="bilinear", recompute_scale_factor=False)
            begin, end = header[stem]["data_offsets"]
            boxes = np.frombuffer(payload[begin:end], "<u2").reshape(-1, 4).astype("f4")
            boxes = boxes[np.random.permutation(len(boxes))[:64]] * scale
            data.append(blob)
            rois.append(np.concatenate([np.full((len(boxes), 1), i, "f4"), boxes], 1))
        yield torch.cat(data), torch.from_numpy(np.concatenate(rois))


def main():
    folder, proposals = pathlib.Path(sys.argv[1]), sys.argv[2]
    batches = queue.Queue(2)
    source = load(folder, proposals)
    threading.Thread(target=lambda: [batches.put(next(source)) for _ in iter(int, 1)], daemon=True).start()
    net = Net(4)
    optimiser = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad], lr=RATE, momentum=0.9, weight_decay=0.0005
    )
    for iteration in range(40):
        if iteration == 20:
            begun = time.perf_counter()
        data, rois = batches.get()
        labels = torch.zeros(len(rois), dtype=torch.long)
        labels[::4] = 1
        cls_score, bbox_pred = net(data, rois)
        mine = bbox_pred.view(len(rois), -1, 4)[::4, 1]
        loss = F.cross_entropy(cls_score, labels) + F.smooth_l1_loss(mine, torch.zeros_like(mine)) * 4 / 4
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
    print(f"{2 * 20 / (time.perf_counter() - begun):.2f}")


main()
