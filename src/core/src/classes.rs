//! Names of classes that are the same everywhere.

/// The name of class 0.
pub const BACKGROUND: &str = "__background__";

/// The object classes of PASCAL VOC, in their usual alphabetical order.
pub const VOC_CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];
