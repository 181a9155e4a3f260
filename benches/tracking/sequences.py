"""Sequences with known tracks, and what a detector would find in them.

A sequence is drawn from a seed: objects go their ways, those in front hide those behind (as do walls), and a detector finds what is
visible, with boxes that are a little off, misses in bursts, and things that are not there. All boxes are x1, y1, x2, y2 in pixels.
"""

from dataclasses import dataclass, field

import numpy as np

WIDTH, HEIGHT = 1280, 720


@dataclass
class Detector:
    """How good it is."""

    jitter: float = 0.03  # standard deviation of centre and side, as a share of the size; neighbouring frames are alike
    miss: float = 0.05  # share of frames in which an object that is visible is missed
    burst: float = 1.5  # mean length of a gap, frames
    false: float = 0.05  # things a frame that are not there
    lasting: float = 1.3  # frames that such a thing is seen for, on average
    score: float = 0.85  # of what is wholly visible, on average


@dataclass
class Thing:
    """Where it is at which time: knots of (t, x, y) of the centre, straight between them."""

    knots: list
    size: tuple
    wobble: float = 0.0  # pixels that it sways by

    def box(self, t):
        times, xs, ys = (np.array(column, float) for column in zip(*self.knots))
        if not times[0] <= t <= times[-1]:
            return None
        x, y = np.interp(t, times, xs), np.interp(t, times, ys)
        x += self.wobble * np.sin(2.1 * t + self.size[0])
        y += self.wobble * np.sin(2.9 * t + self.size[1])
        w, h = self.size
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


@dataclass
class Sequence:
    name: str
    times: list
    things: list
    detector: Detector
    walls: list = field(default_factory=list)  # boxes in front of everything
    seed: int = 0


@dataclass
class Frame:
    time: float
    truth: list  # (id, box)
    found: list  # (score, box)


def clipped(box):
    return np.clip(box, 0, [WIDTH - 1, HEIGHT - 1, WIDTH - 1, HEIGHT - 1])


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (area(a) + area(b) - w * h)


def visible_part(box, before):
    """The box around what is not hidden, and its share of the box's area."""
    n = 12
    xs = box[0] + (np.arange(n) + 0.5) / n * (box[2] - box[0])
    ys = box[1] + (np.arange(n) + 0.5) / n * (box[3] - box[1])
    gx, gy = np.meshgrid(xs, ys)
    seen = np.ones((n, n), bool)
    for b in before:
        seen &= ~((gx >= b[0]) & (gx <= b[2]) & (gy >= b[1]) & (gy <= b[3]))
    if not seen.any():
        return box, 0.0
    columns, rows = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    w, h = (box[2] - box[0]) / n, (box[3] - box[1]) / n
    part = np.array([box[0] + columns[0] * w, box[1] + rows[0] * h, box[0] + (columns[-1] + 1) * w, box[1] + (rows[-1] + 1) * h])
    return part, float(seen.mean())


def draw(sequence):
    """The frames of a sequence."""
    rng = np.random.default_rng(sequence.seed)
    d = sequence.detector
    offsets = [np.zeros(4) for _ in sequence.things]
    missing = [False] * len(sequence.things)
    ghosts = []
    frames = []
    for t in sequence.times:
        boxes = [(i, thing.box(t)) for i, thing in enumerate(sequence.things)]
        boxes = [(i, b) for i, b in boxes if b is not None and area(clipped(b)) >= 0.25 * area(b)]
        truth = [(i, clipped(b)) for i, b in boxes]
        found = []
        for i, box in boxes:
            before = [b for j, b in boxes if j != i and b[3] > box[3]] + sequence.walls
            part, visible = visible_part(clipped(box), before)
            offsets[i] = 0.5 * offsets[i] + np.sqrt(0.75) * rng.normal(0, d.jitter, 4)
            leave = 1 / d.burst
            enter = leave * d.miss / (1 - d.miss)
            missing[i] = rng.random() < (1 - leave if missing[i] else enter)
            score = np.clip(rng.normal(d.score, 0.06) - 0.7 * (1 - visible), 0.0, 0.99)
            if missing[i] or visible < 0.3:
                continue
            # Half of what is hidden is guessed.
            drawn = (clipped(box) + part) / 2
            size = np.sqrt(area(drawn))
            dx, dy, dw, dh = offsets[i] * size
            drawn = drawn + [dx - dw / 2, dy - dh / 2, dx + dw / 2, dy + dh / 2]
            found.append((float(score), clipped(drawn)))
        ghosts = [(b, s) for b, s in ghosts if rng.random() < 1 - 1 / d.lasting]
        for _ in range(rng.poisson(d.false / d.lasting)):
            w, h = rng.uniform(25, 120, 2)
            x, y = rng.uniform(0, WIDTH - w), rng.uniform(0, HEIGHT - h)
            ghosts.append((np.array([x, y, x + w, y + h]), rng.uniform(0.15, 0.8)))
        found += [(float(np.clip(s + rng.normal(0, 0.05), 0.05, 0.99)), b + rng.normal(0, 1, 4)) for b, s in ghosts]
        # As a detector's own suppression leaves them.
        found.sort(key=lambda f: -f[0])
        kept = []
        for score, box in found:
            if all(iou(box, other) < 0.5 for _, other in kept):
                kept.append((score, box))
        frames.append(Frame(t, truth, kept))
    return frames


def at(fps, seconds):
    return [i / fps for i in range(int(seconds * fps))]


def walker(rng, scale=1.0):
    h = rng.uniform(90, 150) * scale
    return (h * rng.uniform(0.35, 0.45), h)


def crossing(seed):
    rng = np.random.default_rng(seed)
    things = []
    for i in range(14):
        t, y = i * 2.0, rng.uniform(250, 500)
        for direction in (1, -1):
            speed, size = rng.uniform(90, 170), walker(rng)
            start, end = (-40, WIDTH + 40) if direction > 0 else (WIDTH + 40, -40)
            tilt = rng.uniform(-60, 60)
            things.append(Thing([(t, start, y - tilt), (t + WIDTH / speed, end, y + tilt)], size, wobble=2))
    return Sequence("crossing", at(20, 38), things, Detector(), seed=seed)


def occlusion(seed):
    rng = np.random.default_rng(seed)
    walls = [np.array([x, 100, x + w, 700.0]) for x, w in ((250, 60), (560, 110), (900, 160))]
    things = []
    for i in range(16):
        speed, t, y = rng.uniform(80, 200), i * 2.5, 220 + 30 * (i % 9)
        ends = (-40, WIDTH + 40) if rng.random() < 0.5 else (WIDTH + 40, -40)
        things.append(Thing([(t, ends[0], y), (t + WIDTH / speed, ends[1], y)], walker(rng), wobble=2))
    return Sequence("occlusion", at(20, 50), things, Detector(), walls, seed)


def entry_exit(seed):
    rng = np.random.default_rng(seed)
    things = []
    for i in range(40):
        t, lane = i * 0.9, i % 4
        y, speed = 250 + 110 * lane, rng.uniform(250, 420)
        h = 50 + 22 * lane
        ends = (-200, WIDTH + 200) if lane < 2 else (WIDTH + 200, -200)
        things.append(Thing([(t, ends[0], y), (t + (WIDTH + 400) / speed, ends[1], y)], (h * 2.1, h)))
    return Sequence("entry and exit", at(25, 38), things, Detector(), seed=seed)


def standing(seed):
    rng = np.random.default_rng(seed)
    things = []
    for i in range(6):
        x, y, t = 150 + 190 * i, 300 + 60 * (i % 3), 3 + 9 * i
        stay = rng.uniform(120, 200)
        h = rng.uniform(70, 110)
        things.append(Thing([(t, -150, y + 200), (t + 5, x, y), (t + 5 + stay, x, y), (t + 11 + stay, WIDTH + 150, y + 150)], (2 * h, h)))
    for i in range(24):
        t, speed, y = 8 + 10 * i, rng.uniform(80, 140), rng.uniform(380, 560)
        things.append(Thing([(t, -40, y), (t + WIDTH / speed, WIDTH + 40, y)], walker(rng), wobble=2))
    return Sequence("standing for minutes", at(8, 270), things, Detector(miss=0.15, burst=4, score=0.75), seed=seed)


def missed(seed):
    rng = np.random.default_rng(seed)
    things = wanderers(rng, 12, 45, 60, 110)
    return Sequence("missed detections", at(20, 45), things, Detector(miss=0.4, burst=3), seed=seed)


def false_ones(seed):
    rng = np.random.default_rng(seed)
    things = wanderers(rng, 10, 45, 60, 120)
    return Sequence("false detections", at(20, 45), things, Detector(false=2.5, lasting=1.6), seed=seed)


def jitter(seed):
    rng = np.random.default_rng(seed)
    things = wanderers(rng, 10, 45, 40, 110)
    return Sequence("jitter", at(20, 45), things, Detector(jitter=0.1), seed=seed)


def crowd(seed):
    rng = np.random.default_rng(seed)
    things = wanderers(rng, 28, 40, 40, 110)
    return Sequence("crowd", at(20, 40), things, Detector(miss=0.12, burst=2, false=0.3, jitter=0.04), seed=seed)


def irregular(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.choice([0.05, 0.1, 0.2, 0.4, 0.8], 350, p=[0.3, 0.3, 0.25, 0.1, 0.05]))
    things = wanderers(rng, 9, times[-1], 40, 100)
    return Sequence("irregular frames", [float(t) for t in times], things, Detector(miss=0.1), seed=seed)


def fast(seed):
    rng = np.random.default_rng(seed)
    things = []
    for i in range(45):
        t, y, speed = i * 0.9, 120 + 60 * (i % 9), rng.uniform(250, 450)
        s = rng.uniform(35, 55)
        ends = (-40, WIDTH + 40) if i % 2 else (WIDTH + 40, -40)
        things.append(Thing([(t, ends[0], y), (t + WIDTH / speed, ends[1], y)], (1.3 * s, s)))
    return Sequence("small, fast, 8 a second", at(8, 45), things, Detector(), seed=seed)


def wanderers(rng, count, seconds, slow, quick):
    """Walkers that go from place to place, some of whom come late or leave early, and rest in between."""
    things = []
    for _ in range(count):
        t = rng.uniform(0, seconds * 0.25)
        x, y = rng.uniform(60, WIDTH - 60), rng.uniform(100, HEIGHT - 100)
        knots, end = [(t, x, y)], seconds - rng.uniform(0, seconds * 0.25)
        while t < end:
            nx, ny = rng.uniform(60, WIDTH - 60), rng.uniform(100, HEIGHT - 100)
            t += np.hypot(nx - x, ny - y) / rng.uniform(slow, quick) + 0.01
            x, y = nx, ny
            knots.append((t, x, y))
            if rng.random() < 0.3:
                t += rng.uniform(1, 6)
                knots.append((t, x, y))
        things.append(Thing(knots, walker(rng), wobble=2))
    return things


ALL = [crossing, occlusion, entry_exit, standing, missed, false_ones, jitter, crowd, irregular, fast]
