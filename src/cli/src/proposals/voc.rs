//! Objects of a data set in PASCAL VOC layout.

use std::path::{Path, PathBuf};

use frcnn::BBox;

use crate::error::Error;
use crate::files;

/// An annotated object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) class: String,
    /// Corners inclusive, counted from 0.
    pub(super) bbox: BBox,
    /// Too hard to count.
    pub(super) difficult: bool,
}

/// Stems of the images of `ImageSets/Main/SPLIT.txt`.
pub(super) fn stems(data: &Path, split: &str) -> Result<Vec<String>, Error> {
    let path = data.join("ImageSets/Main").join(format!("{split}.txt"));
    let text = String::from_utf8(files::read(&path)?).map_err(|error| Error::file(&path, error))?;
    // Some lists have a second column, which says whether a class is in the image.
    let stems: Vec<String> =
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_string).collect();
    if stems.is_empty() {
        return Err(Error::file(&path, "names no images"));
    }
    Ok(stems)
}

/// Where the annotation of an image lies.
pub(super) fn annotation(data: &Path, stem: &str) -> PathBuf {
    data.join("Annotations").join(format!("{stem}.xml"))
}

/// The objects of an annotation.
pub(super) fn objects(path: &Path) -> Result<Vec<Object>, Error> {
    let text = String::from_utf8(files::read(path)?).map_err(|error| Error::file(path, error))?;
    parse(&text).map_err(|problem| Error::file(path, problem))
}

fn parse(text: &str) -> Result<Vec<Object>, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
    let child = |node: roxmltree::Node, name: &str| {
        let found = node.children().find(|child| child.has_tag_name(name));
        found.and_then(|child| child.text()).map(|text| text.trim().to_string())
    };
    let objects = document.root_element().children().filter(|node| node.has_tag_name("object"));
    objects
        .map(|object| {
            let class = child(object, "name").ok_or("an object has no name")?;
            let bndbox = object.children().find(|node| node.has_tag_name("bndbox"));
            let bndbox = bndbox.ok_or_else(|| format!("a {class} has no bndbox"))?;
            let corner = |name: &str| {
                let number = child(bndbox, name).and_then(|text| text.parse::<f32>().ok());
                // VOC counts pixels from 1.
                number.map(|v| v - 1.0).ok_or_else(|| format!("a {class} has no number as {name}"))
            };
            let bbox = BBox::new(corner("xmin")?, corner("ymin")?, corner("xmax")?, corner("ymax")?);
            Ok(Object { class, bbox, difficult: child(object, "difficult").as_deref() == Some("1") })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_counts_from_one() {
        let text = "<annotation><size><width>9</width></size><object><name> cat </name><difficult>1</difficult>
            <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>
            <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30.5</xmax><ymax>4</ymax></bndbox></object></annotation>";
        let bbox = BBox::new(0.0, 1.0, 29.5, 3.0);
        assert_eq!(parse(text).unwrap(), [Object { class: "cat".to_string(), bbox, difficult: true }]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error =
            |body: &str| parse(&format!("<annotation><object>{body}</object></annotation>")).unwrap_err();
        assert!(error("").contains("no name"));
        assert!(error("<name>cat</name>").contains("cat has no bndbox"));
        assert!(error("<name>cat</name><bndbox><xmin>x</xmin></bndbox>").contains("xmin"));
        assert!(parse("<annotation>").is_err());
    }
}
