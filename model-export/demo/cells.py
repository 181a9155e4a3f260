"""Renders cells.jpg: a blood smear that no microscope has seen, for the README's first command.

    pip install numpy pillow && python3 model-export/demo/cells.py
"""

import pathlib

import numpy as np
from PIL import Image, ImageFilter

WIDTH, HEIGHT, OVERSAMPLING = 640, 480, 2
RED_CELLS = [
    (110, 330), (230, 400), (90, 120), (240, 90), (540, 120), (560, 300),
    (440, 380), (330, 330), (590, 420), (400, 60), (30, 230), (340, 450),
]  # fmt: skip
NUCLEUS = [(345, 190, 42, 0.8), (395, 205, 40, 0.85), (370, 245, 40, 0.7)]
PLATELETS = [(480, 230), (170, 220)]

rng = np.random.default_rng(5)
image = np.full((HEIGHT * OVERSAMPLING, WIDTH * OVERSAMPLING, 3), (203, 208, 203), np.float32)
ys, xs = np.mgrid[0 : HEIGHT * OVERSAMPLING, 0 : WIDTH * OVERSAMPLING].astype(np.float32) / OVERSAMPLING


def ellipse(x, y, radius, flattening, angle, outer, rim, inner, softness=2.0):
    """Blends an ellipse over the image: `inner` to `outer` colour, with a darker `rim`."""
    cos, sin = np.cos(angle), np.sin(angle)
    u = (xs - x) * cos + (ys - y) * sin
    v = (ys - y) * cos - (xs - x) * sin
    distance = np.hypot(u / radius, v / (radius * flattening))
    cover = np.clip((1 - distance) * radius / softness, 0, 1)[..., None]
    depth = np.clip(distance, 0, 1)[..., None] ** 2
    on_rim = 0.35 * np.exp(-(((distance - 0.93) / 0.06) ** 2))[..., None]
    colour = np.array(inner) * (1 - depth) + np.array(outer) * depth
    colour = colour * (1 - on_rim) + np.array(rim) * on_rim
    image[:] = image * (1 - cover) + colour * cover


for i, (x, y) in enumerate(RED_CELLS):
    inner = (200, 168, 162) if i % 3 else (190, 150, 146)
    ellipse(x, y, rng.uniform(44, 54), rng.uniform(0.86, 1), rng.uniform(0, 3), (186, 138, 134), (150, 100, 105), inner)
ellipse(370, 210, 88, 0.92, 0.4, (200, 190, 200), (150, 140, 165), (196, 186, 200))
for x, y, radius, flattening in NUCLEUS:
    ellipse(x, y, radius, flattening, rng.uniform(0, 3), (105, 80, 165), (85, 60, 150), (112, 88, 172), softness=6)
for x, y in PLATELETS:
    ellipse(x, y, 11, 0.8, 0.3, (150, 110, 170), (120, 80, 150), (140, 100, 165), softness=4)

photo = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).resize((WIDTH, HEIGHT), Image.LANCZOS)
photo = np.asarray(photo.filter(ImageFilter.GaussianBlur(1.2))).astype(np.float32)
photo += rng.normal(0, 2.0, (HEIGHT, WIDTH, 1))
out = pathlib.Path(__file__).with_name("cells.jpg")
Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8)).save(out, quality=90)
