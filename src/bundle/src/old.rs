//! Records of format 2, from before manifests said in which order and scale a network reads its pixels.

use serde::Deserialize;

use crate::graph::{Contents, Factored, Graph, Precision, Regions, Section, Source};
use crate::{Manifest, Scores};

/// The format's number.
pub(crate) const VERSION: u32 = 2;

#[derive(Deserialize)]
struct Record {
    manifest: OldManifest,
    trunk: Graph,
    regions: Regions,
    head: Graph,
    sections: Vec<Section>,
    factored: Vec<Factored>,
    precision: Precision,
    source: Source,
}

#[derive(Deserialize)]
struct OldManifest {
    name: String,
    classes: Vec<String>,
    pixel_means_bgr: [f32; 3],
    scales: Vec<u32>,
    max_long_side: u32,
    box_width_offset: f32,
    nms_width_offset: f32,
    scores: Scores,
    score_threshold: f32,
    nms_iou: f32,
    max_detections: u32,
}

/// Decodes a record; also gives the bytes behind it.
pub(crate) fn decode(record: &[u8]) -> Result<(Contents, &[u8]), postcard::Error> {
    let (old, rest) = postcard::take_from_bytes::<Record>(record)?;
    let manifest = Manifest {
        name: old.manifest.name,
        pixel_means: old.manifest.pixel_means_bgr,
        scales: old.manifest.scales,
        max_long_side: old.manifest.max_long_side,
        box_width_offset: old.manifest.box_width_offset,
        nms_width_offset: old.manifest.nms_width_offset,
        scores: old.manifest.scores,
        score_threshold: old.manifest.score_threshold,
        nms_iou: old.manifest.nms_iou,
        max_detections: old.manifest.max_detections,
        ..Manifest::new(old.manifest.classes)
    };
    let contents = Contents {
        blob_means: manifest.blob_means(),
        manifest,
        trunk: old.trunk,
        regions: old.regions,
        head: old.head,
        sections: old.sections,
        factored: old.factored,
        precision: old.precision,
        source: old.source,
    };
    Ok((contents, rest))
}
