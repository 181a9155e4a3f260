//! A VOC data set of the fixture's two images.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixture::Fixture;

/// Two images; each has an object of class1 or class2, none has one of class3.
pub(crate) fn voc(fixture: &Fixture, name: &str) -> PathBuf {
    let root = fixture.fresh(name);
    for folder in ["Annotations", "ImageSets/Main", "JPEGImages"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("ImageSets/Main/test.txt"), "a\nb\n").unwrap();
    for (stem, class) in [("a", "class1"), ("b", "class2")] {
        let image = format!("{stem}.png");
        fs::copy(fixture.path("photos") + "/" + &image, root.join("JPEGImages").join(&image)).unwrap();
        annotate(&root, stem, class);
    }
    // Few boxes, so that it is fast.
    let boxes = "[[10, 10, 60, 60], [30, 20, 110, 80], [0, 0, 119, 89], [70, 40, 90, 60]]";
    fs::write(root.join("boxes.json"), format!(r#"{{"a": {boxes}, "b": {boxes}}}"#)).unwrap();
    root
}

pub(crate) fn annotate(root: &Path, stem: &str, class: &str) {
    let text = format!(
        "<annotation><object><name>{class}</name><bndbox><xmin>31</xmin><ymin>21</ymin><xmax>111</xmax>\
         <ymax>81</ymax></bndbox></object></annotation>"
    );
    fs::write(root.join(format!("Annotations/{stem}.xml")), text).unwrap();
}
