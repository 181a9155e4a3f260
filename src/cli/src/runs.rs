//! What must be the same for files of detections to be of one run.

use std::collections::BTreeMap;

use frcnn::Detector;
use frcnn_bundle::Cascade;
use frcnn_eval::RunHeader;

/// The header of a run of `detector` with settings of its command.
pub(crate) fn header<const N: usize>(detector: &Detector, own: [(&str, String); N]) -> RunHeader {
    let contents = detector.contents();
    let weights = contents.sections.iter().fold(0, |hash: u128, section| hash.rotate_left(1) ^ section.hash);
    let manifest = serde_json::to_string(&contents.manifest).unwrap_or_default();
    let mut settings: BTreeMap<String, String> = own.map(|(key, value)| (key.to_string(), value)).into();
    settings.insert("weights".to_string(), format!("{weights:032x}"));
    settings.insert("manifest".to_string(), manifest);
    // Weights do not tell what it drops.
    if let Some(Cascade { keep, rank, .. }) = &contents.cascade {
        settings.insert("cascade".to_string(), format!("rank={rank},keep={keep}"));
    }
    RunHeader::new(contents.manifest.classes.iter().skip(1).cloned().collect(), settings)
}
