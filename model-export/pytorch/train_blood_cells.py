"""Trains torchvision's fasterrcnn_mobilenet_v3_large_320_fpn on photos with VOC annotations, for an hour on one core.

    python train_blood_cells.py ../../../shared/data/bccd -o cells --minutes 60
    python export.py train_blood_cells:detector --weights cells/weights.pt --classes RBC,WBC,Platelets -o cells/model.onnx

Begins with random weights, since torchvision's of ImageNet are a download: every layer is trained, batch norms learn their statistics, and
photos are mirrored both ways, as cells allow. The learning rate falls with the minutes used up, which are a core's and not the clock's, so
that a busy machine takes longer for the same. A run that was stopped goes on where its checkpoint was written.
"""

import argparse
import math
import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch
from PIL import Image
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.transforms.functional import pil_to_tensor

CLASSES = ["RBC", "WBC", "Platelets"]
BATCH, RATE, WARM_UP_STEPS = 4, 7e-4, 100
# Seconds of a core between checkpoints, and steps between lines.
SAVE_EVERY, SAY_EVERY = 100, 20


def detector():
    """What is trained and exported. Of a photo fewer regions are trained on than torchvision would, most of which are background."""
    return fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=1 + len(CLASSES),
        box_batch_size_per_image=64,
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=300,
    )


def photos(folder, split):
    """Of each photo of a split of a VOC folder its pixels and its boxes; those without an area are left out."""
    read = []
    for name in (folder / f"ImageSets/Main/{split}.txt").read_text().split():
        boxes, labels = [], []
        for item in ElementTree.parse(folder / f"Annotations/{name}.xml").iter("object"):
            # VOC counts pixels from 1, and a box has its last ones.
            x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
            if x2 > x1 and y2 > y1:
                boxes.append([x1 - 1, y1 - 1, x2, y2])
                labels.append(1 + CLASSES.index(item.findtext("name")))
        with Image.open(folder / f"JPEGImages/{name}.jpg") as image:
            pixels = pil_to_tensor(image.convert("RGB"))
        read.append((pixels, torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.long)))
    return read


def mirrored(pixels, boxes, labels):
    """A photo as torchvision takes it, mirrored by chance in each direction."""
    image, boxes = pixels.float() / 255, boxes.clone()
    for axis, side in ((0, image.shape[2]), (1, image.shape[1])):
        if torch.rand(()) < 0.5:
            image = image.flip(2 - axis)
            boxes[:, [axis, axis + 2]] = side - boxes[:, [axis + 2, axis]]
    return image, {"boxes": boxes, "labels": labels}


def rate(step, share):
    """The part of the learning rate at a step, a share of the time being used up: a short rise, then half a cosine."""
    return min(1, (step + 1) / WARM_UP_STEPS) * (1 + math.cos(math.pi * min(1, share))) / 2


def save(state, path):
    torch.save(state, f"{path}.partial")
    os.replace(f"{path}.partial", path)


def train(folder, out, split, minutes, seed):
    torch.manual_seed(seed)
    model = detector().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    step, used, checkpoint = 0, 0.0, out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        step, used = state["step"], state["seconds"]
        print(f"goes on from {checkpoint}: step {step}, {used / 60:.1f} minutes used", flush=True)
    data = photos(folder, split)
    saved, losses = used, []
    print(f"{len(data)} photos of {split}, {sum(len(boxes) for _, boxes, _ in data)} boxes", flush=True)
    while used < 60 * minutes:
        for chosen in torch.randperm(len(data)).split(BATCH):
            begun = time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = RATE * rate(step, used / 60 / minutes)
            images, targets = zip(*(mirrored(*data[n]) for n in chosen))
            loss = sum(model(list(images), list(targets)).values())
            if not loss.isfinite():
                sys.exit(f"the loss is {loss.item()} at step {step}; {checkpoint} is from before")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            step, used = step + 1, used + time.process_time() - begun
            losses.append(loss.item())
            if step % SAY_EVERY == 0:
                mean, losses = sum(losses) / len(losses), []
                epochs = step * BATCH / len(data)
                print(f"step {step}, epoch {epochs:.1f}, minute {used / 60:.1f} of {minutes:g}: loss {mean:.3f}", flush=True)
            if used - saved > SAVE_EVERY:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
                save({**state, "step": step, "seconds": used}, checkpoint)
                saved = used
            if used >= 60 * minutes:
                break
    save(model.state_dict(), out / "weights.pt")
    print(f"{out / 'weights.pt'}: {step} steps of {BATCH} photos")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder in VOC's layout: JPEGImages, Annotations, ImageSets/Main")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for checkpoint.pt and weights.pt")
    parser.add_argument("--split", default="trainval", help="the photos' list in ImageSets/Main [default: trainval]")
    parser.add_argument("--minutes", type=float, default=60, help="of a core's time, what a checkpoint has used included [default: 60]")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and the order of photos [default: 0]")
    parser.add_argument("--threads", type=int, default=1, help="[default: 1]")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        train(args.data, args.output, args.split, args.minutes, args.seed)
    except (OSError, ValueError) as error:
        sys.exit(f"train_blood_cells.py: {error}")


if __name__ == "__main__":
    main()
