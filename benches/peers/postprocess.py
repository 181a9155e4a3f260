"""cls_prob and bbox_pred to detections, in the plainest numpy: decode, clip, NMS per class, the best of all.

Deliberately written from conventions.md and not from frcnn's source, so that it can tell when frcnn is wrong.
"""

import numpy as np

MAX_LOG_SCALE = np.log(1000 / 16)


def decode(boxes, deltas, offset):
    width, height = boxes[:, 2] - boxes[:, 0] + offset, boxes[:, 3] - boxes[:, 1] + offset
    x = boxes[:, 0] + width / 2 + deltas[:, 0] * width
    y = boxes[:, 1] + height / 2 + deltas[:, 1] * height
    new_width = width * np.exp(np.minimum(deltas[:, 2], MAX_LOG_SCALE))
    new_height = height * np.exp(np.minimum(deltas[:, 3], MAX_LOG_SCALE))
    return np.stack(
        [x - new_width / 2, y - new_height / 2, x + new_width / 2 - offset, y + new_height / 2 - offset], axis=1
    )


def iou(box, others, offset):
    area = lambda b: (b[..., 2] - b[..., 0] + offset) * (b[..., 3] - b[..., 1] + offset)
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]) + offset
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]) + offset
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    return overlap / (area(box) + area(others) - overlap)


def detections(cls_prob, bbox_pred, boxes, image_size, manifest, score_threshold):
    """[(class_id, score, box)], best first."""
    height, width = image_size
    # Where corners are edges the last one is the image's, and otherwise its last pixel.
    last = 0 if manifest["box_width_offset"] == manifest["nms_width_offset"] == 0 else 1
    found = []
    for class_id in range(1, cls_prob.shape[1]):
        scores = cls_prob[:, class_id]
        moved = decode(boxes, bbox_pred[:, 4 * class_id : 4 * class_id + 4], manifest["box_width_offset"])
        moved = np.clip(moved, 0, [width - last, height - last, width - last, height - last])
        left = np.argsort(-scores, kind="stable")
        left = left[scores[left] > score_threshold]
        while left.size:
            best, left = left[0], left[1:]
            found.append((class_id, float(scores[best]), moved[best]))
            left = left[iou(moved[best], moved[left], manifest["nms_width_offset"]) < manifest["nms_iou"]]
    return sorted(found, key=lambda one: -one[1])[: manifest["max_detections"]]
