//! What is said of a model beside its ONNX file: a `manifest.json`, or its classes alone, or nothing.

use std::path::Path;

use frcnn_bundle::{Contents, Manifest, ManifestError, Scores};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::error::{Error, Problem};
use crate::limits;
use crate::rpn::Rules;
use crate::source::read_file;
use crate::torchvision::Detector;

/// The field of a `manifest.json` that is not one of [`Manifest`]: an RPN's [`Rules`].
const RPN: &str = "rpn";
/// What COCO's lists have in the place of numbers that are no class.
const NO_CLASS: &str = "N/A";

/// What is said of a model beside its ONNX file.
///
/// A model with inputs `data` and `rois` needs a manifest. A file of torchvision's exporter says everything but the classes'
/// names; a field that the manifest has all the same goes before the file's.
#[derive(Clone, Debug, Default)]
pub struct Description {
    manifest: Option<Manifest>,
    /// Of a JSON text its fields.
    said: Map<String, Value>,
    rules: Option<Rules>,
}

impl From<&Manifest> for Description {
    fn from(manifest: &Manifest) -> Description {
        Description { manifest: Some(manifest.clone()), ..Description::default() }
    }
}

impl From<&Description> for Description {
    fn from(description: &Description) -> Description {
        description.clone()
    }
}

/// Of a `manifest.json` what [`Manifest`] does not read, by [`RPN`].
#[derive(Deserialize)]
struct Beside {
    #[serde(default, deserialize_with = "some")]
    rpn: Option<Rules>,
}

/// What is there must be rules: `null` is none.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rules>, D::Error> {
    Rules::deserialize(deserializer).map(Some)
}

fn json(error: serde_json::Error) -> ManifestError {
    ManifestError::Json(error.to_string())
}

impl Description {
    /// Reads and checks a `manifest.json`.
    ///
    /// # Errors
    /// The file cannot be read, or has a mistake; the text names the file.
    pub fn load(path: &Path) -> Result<Description, Error> {
        Description::load_with(path, Scores::default())
    }

    /// The same, where a text that does not say what the scores are means `scores`.
    pub(crate) fn load_with(path: &Path, scores: Scores) -> Result<Description, Error> {
        let bytes = read_file(path, limits::MANIFEST_BYTES)?;
        text(&bytes)
            .map_err(|problem| ManifestError::Value(problem.to_string()))
            .and_then(|text| Description::of_json(text, scores))
            .map_err(|error| Error::Manifest { path: path.to_path_buf(), error })
    }

    fn of_json(text: &str, scores: Scores) -> Result<Description, ManifestError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Ok(Value::Object(mut said)) = serde_json::from_str(text) else {
            // The same reader says what is wrong with it, and where.
            let manifest = Some(Manifest::from_json_with(text, scores)?);
            return Ok(Description { manifest, ..Description::default() });
        };
        // From the text, of which an error tells line and column.
        let in_rules = |error| ManifestError::Json(format!("`{RPN}`: {error}"));
        let Beside { rpn: rules } = serde_json::from_str(text).map_err(in_rules)?;
        said.remove(RPN);
        let read = Manifest::from_json_with(text, scores);
        let manifest = match (said.get_mut("classes").is_some_and(tell_apart), read) {
            (true, Ok(_) | Err(ManifestError::Value(_))) => {
                Manifest::from_json_with(&serde_json::to_string(&said).map_err(json)?, scores)?
            }
            (_, read) => read?,
        };
        Ok(Description { manifest: Some(manifest), said, rules })
    }

    /// Of a model of which only the classes are said, the background not among them.
    ///
    /// # Errors
    /// There are none, two of one name, or one without a name.
    pub fn of_classes(classes: impl IntoIterator<Item = String>) -> Result<Description, ManifestError> {
        let background = std::iter::once("__background__".to_string());
        let classes: Vec<String> = background.chain(classes).collect();
        if classes.iter().any(String::is_empty) {
            return Err(ManifestError::Value("a class has no name; is there a comma too many?".to_string()));
        }
        let said = Map::from_iter([("classes".to_string(), Value::from(classes))]);
        Description::of_json(&serde_json::to_string(&said).map_err(json)?, Scores::default())
    }

    /// The classes, the background first, if they are said.
    pub fn classes(&self) -> Option<&[String]> {
        self.manifest.as_ref().map(|manifest| manifest.classes.as_slice())
    }

    /// The manifest, of a model that cannot do without.
    pub(crate) fn manifest(&self) -> Result<&Manifest, Problem> {
        self.manifest.as_ref().ok_or(Problem::NoManifest)
    }

    /// The rules of an RPN that `rpn_logits.0` and so on are the outputs of.
    pub(crate) fn rules(&self) -> Result<&Rules, Problem> {
        self.rules.as_ref().ok_or(Problem::NoRules)
    }

    /// Refuses rules that nothing would follow; an RPN that is `in_parts` does.
    pub(crate) fn check_rules(&self, in_parts: bool, detector: Option<&Detector>) -> Result<(), Problem> {
        match (&self.rules, detector) {
            (Some(rules), Some(detector)) if *rules != detector.rules => Err(Problem::RulesTwice),
            (Some(_), None) if !in_parts => Err(Problem::NoRpn),
            _ => Ok(()),
        }
    }

    /// The manifest of a file of torchvision's, which scores so many classes.
    pub(crate) fn of_detector(&self, detector: &Detector, classes: usize) -> Result<Manifest, Problem> {
        let Some(manifest) = &self.manifest else {
            let names = (0..classes).map(|class| match class {
                0 => "__background__".to_string(),
                _ => class.to_string(),
            });
            return Ok(detector.manifest(String::new(), names.collect()));
        };
        let read = detector.manifest(manifest.name.clone(), manifest.classes.clone());
        if self.said.is_empty() {
            return Ok(read);
        }
        let overlaid = || -> Result<Manifest, ManifestError> {
            let mut fields = serde_json::to_value(&read).map_err(json)?;
            if let Some(fields) = fields.as_object_mut() {
                fields.extend(self.said.clone());
            }
            Manifest::from_json(&serde_json::to_string(&fields).map_err(json)?)
        };
        overlaid().map_err(|error| {
            let problem = format!("the model's numbers and the manifest's: {error}; what the manifest says goes before the model");
            Problem::Outputs(problem)
        })
    }
}

/// The `manifest.json` of a network that was emitted: its manifest, and the rules of its RPN as `rpn`.
///
/// # Errors
/// It cannot be written as JSON; none that a bundle can hold is such.
pub fn description_of(contents: &Contents) -> Result<String, serde_json::Error> {
    let mut fields = serde_json::to_value(&contents.manifest)?;
    if let (Some(fields), Some(rpn)) = (fields.as_object_mut(), &contents.rpn) {
        fields.insert(RPN.to_string(), serde_json::to_value(Rules::of(rpn))?);
    }
    Ok(serde_json::to_string_pretty(&fields)? + "\n")
}

/// Numbers names that stand for no class, of which there are several; tells whether it did.
fn tell_apart(classes: &mut Value) -> bool {
    let Some(classes) = classes.as_array_mut() else { return false };
    let mut renamed = false;
    for (number, class) in classes.iter_mut().enumerate() {
        if class.as_str() == Some(NO_CLASS) {
            *class = Value::from(format!("{NO_CLASS} {number}"));
            renamed = true;
        }
    }
    renamed
}

/// What is written in UTF-8, behind a byte-order mark or not.
fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    // JSON begins with an ASCII character, of which UTF-16 makes a zero byte and itself.
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Err("it is UTF-16 text; save it as UTF-8")
        }
        _ => str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text; save it as UTF-8"),
    }
}
