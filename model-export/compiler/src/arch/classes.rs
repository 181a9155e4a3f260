//! Names for the classes of a network that was not trained yet.

use frcnn_core::{BACKGROUND, VOC_CLASSES};

/// Names for `classes` object classes and the background before them: PASCAL VOC's when there are as many.
pub(super) fn class_names(classes: u32) -> Vec<String> {
    let mut names = vec![BACKGROUND.to_owned()];
    if classes as usize == VOC_CLASSES.len() {
        names.extend(VOC_CLASSES.map(str::to_owned));
    } else {
        names.extend((1..=classes).map(|class| format!("class{class}")));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_classes_are_those_of_voc() {
        let names = class_names(20);
        assert_eq!(
            (names.len(), &*names[0], &*names[1], &*names[20]),
            (21, "__background__", "aeroplane", "tvmonitor")
        );
        assert!(names[1..].is_sorted());
        assert_eq!(class_names(2), ["__background__", "class1", "class2"]);
    }
}
