//! PASCAL VOC's annotation of one photo.

use std::str::FromStr;

use roxmltree::{Document, Node};

/// What an annotation says.
#[derive(Debug)]
pub(super) struct Annotation {
    /// Width and height, if given.
    pub(super) size: Option<(u32, u32)>,
    pub(super) objects: Vec<AnnotatedObject>,
}

/// An object as it is written in the file.
#[derive(Debug)]
pub(super) struct AnnotatedObject {
    pub(super) name: String,
    /// xmin, ymin, xmax, ymax: pixels that count from 1.
    pub(super) corners: [f32; 4],
    pub(super) difficult: bool,
}

impl Annotation {
    /// Reads an annotation; the error says what is wrong with it.
    pub(super) fn parse(xml: &str) -> Result<Annotation, String> {
        let document = Document::parse(xml).map_err(|error| format!("not XML: {error}"))?;
        let root = document.root_element();
        let size =
            child(root, "size").and_then(|size| Some((number(size, "width")?, number(size, "height")?)));
        let objects = root.children().filter(|node| node.has_tag_name("object")).map(object);
        Ok(Annotation { size, objects: objects.collect::<Result<_, _>>()? })
    }
}

fn object(node: Node<'_, '_>) -> Result<AnnotatedObject, String> {
    let name = child(node, "name").and_then(|name| name.text()).map(str::trim).unwrap_or_default();
    if name.is_empty() {
        return Err("an object has no name".to_string());
    }
    let bndbox = child(node, "bndbox").ok_or_else(|| format!("a `{name}` has no bndbox"))?;
    let mut corners = [0.0; 4];
    for (corner, tag) in corners.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
        *corner = number(bndbox, tag).ok_or_else(|| format!("a `{name}` has no number as its {tag}"))?;
    }
    let difficult = number::<u32>(node, "difficult").is_some_and(|flag| flag != 0);
    Ok(AnnotatedObject { name: name.to_string(), corners, difficult })
}

fn child<'a, 'b>(node: Node<'a, 'b>, tag: &str) -> Option<Node<'a, 'b>> {
    node.children().find(|child| child.has_tag_name(tag))
}

fn number<T: FromStr>(node: Node<'_, '_>, tag: &str) -> Option<T> {
    child(node, tag)?.text()?.trim().parse().ok()
}
