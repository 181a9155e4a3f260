"""From a PyTorch module to a bundle that is held against it, stage by stage, and what a mistake looks like.

    python3 -m venv venv && venv/bin/pip install frcnn torch torchvision onnx pillow
    venv/bin/python src/python/examples/compare_with_torch.py

It writes model.onnx, manifest.json, model.frcnn, photo.png and page.html into the current folder.
"""

# %% A module: an untrained Fast R-CNN. Yours is called in the same way, or is a Faster R-CNN of torchvision's.
import sys
from pathlib import Path

from PIL import Image

import frcnn
import frcnn.torch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "model-export/pytorch"))
import example  # noqa: E402
import export  # noqa: E402

model = example.cats_and_dogs()

# %% To ONNX, and to a bundle.
export.export(model, ["cat", "dog"], "model.onnx", {"scales": [120], "box_weights": [10, 10, 5, 5], "box_width_offset": 0})
print(frcnn.compile("model.onnx", "model.frcnn"))

# %% The same photo through both. The reference is made where the model's weights are: model.cuda() makes it on a GPU.
Image.open(ROOT / "model-export/demo/scene.jpg").convert("RGB").resize((320, 240)).save("photo.png")
detector = frcnn.Detector("model.frcnn")
reference = frcnn.torch.reference(model, detector, "photo.png")
compared = frcnn.compare(reference, detector, image="photo.png")
print(f"\n{reference.metadata['library']} on {reference.metadata['device']}, {detector.provenance['library']}\n\n{compared}")

# %% In a test of yours it is one line.
frcnn.torch.assert_close(model, detector, "photo.png")

# %% A layer that is rounded too far is found: fc6 in rank 4.
frcnn.compile("model.onnx", "small.frcnn", svd={"fc6": 4})
compared = frcnn.compare(reference, frcnn.Detector("small.frcnn"), image="photo.png")
print(f"\nfc6 in rank 4\n\n{compared}")

# %% The page has both sides' boxes on the photo, and histograms of each stage.
compared.html("page.html", title="fc6 in rank 4")
print("\nSee page.html")
