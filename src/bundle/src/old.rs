//! Records of format 2, from before manifests said in which order and scale a network reads its pixels.

use serde::Deserialize;

use crate::graph::{Contents, Factored, Graph, Precision, Regions, Section, Source};
use crate::{Manifest, Scores};

/// The format's number.
pub(crate) const VERSION: u32 = 2;

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
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
#[cfg_attr(test, derive(serde::Serialize))]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelOrder, Warp};

    #[test]
    fn an_old_record_means_what_it_meant() {
        let record = Record {
            manifest: OldManifest {
                name: "old".into(),
                classes: vec!["__background__".into(), "cat".into()],
                pixel_means_bgr: [1.0, 2.0, 3.0],
                scales: vec![480],
                max_long_side: 900,
                box_width_offset: 0.0,
                nms_width_offset: 1.0,
                scores: Scores::Margins,
                score_threshold: -2.0,
                nms_iou: 0.5,
                max_detections: 7,
            },
            trunk: Graph::default(),
            regions: Regions::Warp(Warp { side: 64, context: 16 }),
            head: Graph::default(),
            sections: Vec::new(),
            factored: Vec::new(),
            precision: Precision::F32,
            source: Source { onnx_sha256: [7; 32], compiler: "an older one".into() },
        };
        let mut bytes = postcard::to_stdvec(&record).unwrap();
        bytes.push(9);
        let (contents, rest) = decode(&bytes).unwrap();
        assert_eq!(rest, [9]);
        let manifest = &contents.manifest;
        assert_eq!((manifest.channel_order, manifest.pixel_scale), (ChannelOrder::Bgr, 255.0));
        assert_eq!((manifest.pixel_means, contents.blob_means), ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]));
        assert_eq!((manifest.pixel_stds, manifest.box_weights), ([1.0; 3], [1.0; 4]));
        assert_eq!((manifest.scales.as_slice(), manifest.max_long_side), ([480].as_slice(), 900));
        assert_eq!((manifest.box_width_offset, manifest.nms_width_offset), (0.0, 1.0));
        assert_eq!((manifest.scores, manifest.score_threshold), (Scores::Margins, -2.0));
        assert_eq!((manifest.nms_iou, manifest.max_detections), (0.5, 7));
        assert_eq!(contents.regions, record.regions);
        assert_eq!(contents.source, record.source);
    }
}
