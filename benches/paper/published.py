"""The figures of Girshick, Fast R-CNN, ICCV 2015, and of the papers that it compares itself with.

S is CaffeNet, M VGG_CNN_M_1024, L VGG16; mAP is VOC 2007's; times are an Nvidia K40's.
"""

# Table 4: seconds per image, proposals excluded, 2000 of them; hours; mAP.
TEST_SECONDS = {
    "R-CNN": {"caffenet": 9.8, "vgg_cnn_m_1024": 12.1, "vgg16": 47.0},
    "SPPnet": {"vgg16": 2.3},
    "Fast R-CNN": {"caffenet": 0.10, "vgg_cnn_m_1024": 0.15, "vgg16": 0.32},
    "Fast R-CNN + SVD": {"caffenet": 0.06, "vgg_cnn_m_1024": 0.08, "vgg16": 0.22},
}
TRAIN_HOURS = {
    "R-CNN": {"caffenet": 22, "vgg_cnn_m_1024": 28, "vgg16": 84},
    "SPPnet": {"vgg16": 25},
    "Fast R-CNN": {"caffenet": 1.2, "vgg_cnn_m_1024": 2.0, "vgg16": 9.5},
}
MAP = {
    "R-CNN": {"caffenet": 58.5, "vgg_cnn_m_1024": 60.2, "vgg16": 66.0},
    "SPPnet": {"vgg16": 63.1},
    "Fast R-CNN": {"caffenet": 57.1, "vgg_cnn_m_1024": 59.2, "vgg16": 66.9},
    "Fast R-CNN + SVD": {"caffenet": 56.5, "vgg_cnn_m_1024": 58.7, "vgg16": 66.6},
}

# Figure 2: milliseconds of VGG16, before and after SVD.
STAGES_MS = {
    "before": {"conv": 146, "RoI pool": 18, "fc6": 122, "fc7": 20, "other": 11},
    "after": {"conv": 143, "RoI pool": 17, "fc6": 37, "fc7": 4, "other": 11},
}

# Table 5: VGG16, mAP by the first layer that is fine-tuned.
FINE_TUNED_FROM = {"fc6": 61.4, "conv3_1": 66.9, "conv2_1": 67.2}

# Table 6: mAP of S, M, L.
MULTI_TASK = {
    "classification only": (52.2, 54.7, 62.6),
    "both losses, boxes not used": (53.3, 55.5, 63.4),
    "stage-wise, boxes used": (54.6, 56.6, 64.0),
    "both losses, boxes used": (57.1, 59.2, 66.9),
}

# Table 7: scales and mAP; seconds per image. L at five scales did not fit their GPU.
SCALES = {
    "caffenet": {1: (57.1, 0.10), 5: (58.4, 0.39)},
    "vgg_cnn_m_1024": {1: (59.2, 0.15), 5: (60.7, 0.64)},
    "vgg16": {1: (66.9, 0.32)},
}

# Section 5.4, table 8: mAP of S, M, L.
CLASSIFIER = {"SVM": (56.3, 58.7, 66.8), "softmax": (57.1, 59.2, 66.9)}
