//! Where the values of one side of a comparison come from.

use std::fs;
use std::path::Path;

use frcnn::Detector;
use frcnn_eval::TensorFile;
use serde::Serialize;

/// Names and values, such as device, versions and hashes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Provenance {
    /// A few words: a file's name.
    pub name: String,
    /// In the order in which to show them.
    pub facts: Vec<(String, String)>,
}

impl Provenance {
    /// Of values that `detector` computes on this machine.
    pub fn of_detector(name: &str, detector: &Detector) -> Provenance {
        let contents = detector.contents();
        let factored =
            contents.factored.iter().map(|f| format!("{}={}", f.layer, f.rank)).collect::<Vec<_>>();
        let facts = [
            ("device", processor()),
            ("library", format!("frcnn {}", env!("CARGO_PKG_VERSION"))),
            ("threads", detector.threads().to_string()),
            ("precision", contents.precision_names()),
            ("factored", if factored.is_empty() { "no".to_string() } else { factored.join(", ") }),
            ("compiler", contents.origin.compiler.clone()),
            ("onnx_sha256", hex(&contents.origin.onnx_sha256)),
        ];
        let facts = facts.map(|(name, value)| (name.to_string(), value)).to_vec();
        Provenance { name: name.to_string(), facts }
    }

    /// Of values from a file: what its maker wrote into it, and its hash.
    pub fn of_file(path: &str, file: &TensorFile) -> Provenance {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut facts: Vec<(String, String)> =
            file.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        // The order of a detector's, the rest behind.
        let order = ["device", "library", "tf32", "precision", "onnx_sha256"];
        facts.sort_by_key(|(key, _)| order.iter().position(|known| known == key).unwrap_or(order.len()));
        if !file.sha256.is_empty() {
            facts.push(("file sha256".to_string(), file.sha256.clone()));
        }
        Provenance { name, facts }
    }

    /// The value of a fact.
    pub fn get(&self, fact: &str) -> Option<&str> {
        self.facts.iter().find(|(name, _)| name == fact).map(|(_, value)| value.as_str())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The processor's name where Linux tells it, the architecture elsewhere.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or("", |(_, name)| name.trim());
    format!("cpu: {name} ({})", std::env::consts::ARCH)
}
