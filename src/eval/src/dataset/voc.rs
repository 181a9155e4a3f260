//! The folder of PASCAL VOC.

use std::path::{Path, PathBuf};

use frcnn_files::check_name;
use roxmltree::Node;

use super::{Dataset, Image, Location, Truth, Warnings, check_stems, voc_list};
use crate::{Error, Region, limits, text, xml};

/// A split of a VOC folder: its images, each of whose annotations can be read by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct VocSplit {
    root: PathBuf,
    /// The file that names the images.
    pub list: PathBuf,
    /// In the list's order.
    pub images: Vec<Image>,
}

/// What an annotation says.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Width and height of the image in pixels, if given.
    pub size: Option<(u32, u32)>,
    /// In the file's order.
    pub objects: Vec<VocObject>,
    /// What may be wrong with them.
    pub warnings: Warnings,
}

/// An object of an annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct VocObject {
    /// The name of its class.
    pub class: String,
    /// Where.
    pub region: Region,
    /// Too hard to count.
    pub difficult: bool,
}

impl VocSplit {
    /// Reads the list of the split's images, none of which need exist. A name may have spaces.
    ///
    /// # Errors
    /// There is no such list, it names an image twice, or by a path.
    pub fn open(location: &Location) -> Result<VocSplit, Error> {
        let root = &location.root;
        let list = root.join("ImageSets/Main").join(format!("{}.txt", location.split));
        let folder = root.join(location.images.as_deref().unwrap_or(Path::new("JPEGImages")));
        let folder_of_xml = root.join("Annotations");
        let annotated =
            |name: &str| check_name(name).is_ok() && folder_of_xml.join(format!("{name}.xml")).is_file();
        let contents = text::read(&list, limits::TEXT).map_err(|error| with_splits(error, root))?;
        let names = voc_list::names(&contents, &annotated);
        if names.len() > limits::IMAGES {
            return Err(Error::syntax(&list, format_args!("names more than {} images", limits::IMAGES)));
        }
        let images: Vec<Image> = names
            .into_iter()
            .map(|(_, stem)| Image {
                stem: stem.to_string(),
                id: None,
                path: image_path(&folder, stem),
                size: None,
            })
            .collect();
        check_stems(&list, &images)?;
        Ok(VocSplit { root: root.clone(), list, images })
    }

    /// Where the annotation of an image lies.
    pub fn annotation_path(&self, image: &Image) -> PathBuf {
        self.root.join("Annotations").join(format!("{}.xml", image.stem))
    }

    /// The annotation of an image.
    ///
    /// # Errors
    /// The file is missing or has a mistake.
    pub fn annotation(&self, image: &Image) -> Result<Annotation, Error> {
        let path = self.annotation_path(image);
        let contents = text::read_xml(&path).map_err(|error| self.listed(error))?;
        let document = xml::parse(&path, &contents)?;
        let root = document.root_element();
        let side = |size, name| number(size, name).filter(|side| (1.0..1e9).contains(side));
        let size = root.children().find(|child| child.has_tag_name("size"));
        let size = size.and_then(|size| Some((side(size, "width")? as u32, side(size, "height")? as u32)));
        let mut warnings = Warnings::default();
        let nodes = root.children().filter(|node| node.has_tag_name("object"));
        let objects = nodes.zip(1..).map(|(node, number)| object(node, number, &path, &mut warnings));
        let objects = objects.collect::<Result<_, _>>();
        let objects: Vec<VocObject> = objects.map_err(|problem| Error::syntax(&path, problem))?;
        let hidden = |node: &Node| node.is_element() && node.tag_name().name().eq_ignore_ascii_case("object");
        if objects.is_empty() && root.descendants().any(|node| hidden(&node)) {
            warnings.add(
                "annotations have an `object` where none is read, and not directly below the root",
                || path.display().to_string(),
            );
        }
        Ok(Annotation { size, objects, warnings })
    }
}

impl VocSplit {
    /// Says of a file that is not there which list wants it.
    fn listed(&self, error: Error) -> Error {
        if !error.is_absent() {
            return error;
        }
        let list = self.list.display();
        Error::syntax(&error.path, format_args!("{}; {list} names its image", error.problem))
    }
}

/// Looked for in this order.
const EXTENSIONS: [&str; 15] = [
    "jpg", "jpeg", "png", "JPG", "JPEG", "PNG", "Jpg", "Png", "jpe", "jfif", "bmp", "webp", "gif", "tif",
    "tiff",
];

pub(super) fn files(location: &Location) -> Result<Vec<PathBuf>, Error> {
    let split = VocSplit::open(location)?;
    let of_images = split.images.iter().flat_map(|image| [split.annotation_path(image), image.path.clone()]);
    Ok(std::iter::once(split.list.clone()).chain(of_images).collect())
}

pub(super) fn read(location: &Location) -> Result<Dataset, Error> {
    let mut split = VocSplit::open(location)?;
    let mut objects = Vec::new();
    let mut warnings = Warnings::default();
    for position in 0..split.images.len() {
        let Some(image) = split.images.get(position) else { break };
        let annotation = split.annotation(image)?;
        warnings.extend(annotation.warnings);
        objects.extend(annotation.objects.into_iter().map(|object| (position, object)));
        if let Some(image) = split.images.get_mut(position) {
            image.size = annotation.size;
        }
    }
    if objects.len() > limits::OBJECTS {
        return Err(Error::syntax(&split.list, format_args!("more than {} objects", limits::OBJECTS)));
    }
    let mut classes: Vec<String> = objects.iter().map(|(_, object)| object.class.clone()).collect();
    classes.sort();
    classes.dedup();
    if classes.len() > limits::CLASSES {
        return Err(Error::syntax(
            &split.list,
            format_args!("objects of more than {} classes", limits::CLASSES),
        ));
    }
    let truth = |(image, object): &(usize, VocObject)| Truth {
        image: *image,
        class: classes.binary_search(&object.class).unwrap_or_default(),
        region: object.region,
        area: object.region.area(),
        ignore: object.difficult,
        crowd: false,
    };
    let truths = objects.iter().map(truth).collect();
    Ok(Dataset { images: split.images, classes, category_ids: Vec::new(), truths, warnings })
}

/// `position` counts the file's objects from 1.
fn object(
    node: Node<'_, '_>,
    position: usize,
    path: &Path,
    warnings: &mut Warnings,
) -> Result<VocObject, String> {
    let class = text(node, "name").filter(|name| !name.is_empty());
    let class = class.ok_or_else(|| format!("object {position} has no name"))?;
    let this = || format!("object {position}, `{class}`,");
    let bndbox = node
        .children()
        .find(|child| child.has_tag_name("bndbox"))
        .ok_or_else(|| format!("{} has no bndbox", this()))?;
    let corner = |name: &str| {
        // VOC counts pixels from 1.
        let value = number(bndbox, name);
        value.map(|v| v - 1.0).ok_or_else(|| match text(bndbox, name) {
            Some(text) => format!("{} has the {name} `{text}`, which is no finite number", this()),
            None => format!("{} has no {name}", this()),
        })
    };
    let place = || format!("{}, object {position}, `{class}`", path.display());
    let [x1, y1, x2, y2] = [corner("xmin")?, corner("ymin")?, corner("xmax")?, corner("ymax")?];
    if x1 > x2 || y1 > y2 {
        warnings.add("objects have xmin > xmax or ymin > ymax: their corners are exchanged", place);
    }
    let region = Region::from_inclusive([x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)]);
    let difficult = text(node, "difficult").unwrap_or_default();
    let difficult = flag(&difficult).unwrap_or_else(|| {
        warnings.add("objects have a `difficult` that is neither yes nor no: they count", || {
            format!("{}, `{difficult}`", place())
        });
        false
    });
    Ok(VocObject { class, region, difficult })
}

/// Yes or no, as people and programs write them.
fn flag(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "" | "false" | "no" | "n" | "f" | "unspecified" | "none" => Some(false),
        "true" | "yes" | "y" | "t" => Some(true),
        number => number.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| value != 0.0),
    }
}

/// Only of direct children: a person's `part` has a name and a box of its own.
fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    let node = node.children().find(|child| child.has_tag_name(name))?;
    // A comment or a CDATA section divides it.
    let pieces: String =
        node.children().filter_map(|piece| piece.text().filter(|_| piece.is_text())).collect();
    Some(pieces.trim().to_string())
}

/// A finite number.
fn number(node: Node<'_, '_>, name: &str) -> Option<f64> {
    text(node, name)?.parse().ok().filter(|value: &f64| value.is_finite())
}

fn image_path(folder: &Path, stem: &str) -> PathBuf {
    let path = |extension: &str| folder.join(format!("{stem}.{extension}"));
    EXTENSIONS.into_iter().map(path).find(|path| path.is_file()).unwrap_or_else(|| path("jpg"))
}

/// A split that is not there was most likely mistyped.
fn with_splits(error: Error, root: &Path) -> Error {
    let split = |path: &Path| {
        let list = path.extension().is_some_and(|extension| extension == "txt");
        list.then(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
    };
    super::with_splits(error, &root.join("ImageSets/Main"), &split)
}
