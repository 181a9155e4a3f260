//! Records of format 2, from before manifests said in which order and scale a network reads its pixels.

use serde::Deserialize;

use crate::graph::{Contents, Factored, Graph, Origin, Precision, Regions, Section};
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
    origin: Origin,
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
        origin: old.origin,
    };
    Ok((contents, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bundle, ChannelOrder, Error, Layer, Op, RoiPooling, Warp};

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
            origin: Origin { onnx_sha256: [7; 32], compiler: "an older one".into() },
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
        assert_eq!(contents.origin, record.origin);
    }

    /// No hash covers the version; the record tells.
    #[test]
    fn the_other_version_is_found_out() {
        let layer = |op: Op, inputs: &[u32]| Layer { name: String::new(), op, inputs: inputs.to_vec() };
        let head = vec![layer(Op::Flatten, &[0]), layer(Op::Softmax, &[1]), layer(Op::Concat, &[1; 4])];
        let record = Record {
            manifest: OldManifest {
                name: String::new(),
                classes: vec!["__background__".into(), "cat".into(), "dog".into()],
                pixel_means_bgr: [1.0, 2.0, 3.0],
                scales: vec![480],
                max_long_side: 900,
                box_width_offset: 0.0,
                nms_width_offset: 1.0,
                scores: Scores::Probabilities,
                score_threshold: 0.5,
                nms_iou: 0.5,
                max_detections: 7,
            },
            trunk: Graph { layers: Vec::new(), outputs: vec![0] },
            regions: Regions::RoiPooling(RoiPooling { pooled: vec![[1, 1]], spatial_scale: 1.0 }),
            head: Graph { layers: head, outputs: vec![2, 3] },
            sections: Vec::new(),
            factored: Vec::new(),
            precision: Precision::F32,
            origin: Origin { onnx_sha256: [7; 32], compiler: "an older one".into() },
        };
        let record = postcard::to_stdvec(&record).unwrap();
        let file = |version: u32| {
            let mut file = b"\x89FRCNN\r\n".to_vec();
            file.extend([version.to_le_bytes(), [0; 4]].concat());
            file.extend([record.len() as u64, 64 + record.len() as u64].map(u64::to_le_bytes).concat());
            file.extend(xxhash_rust::xxh3::xxh3_128(&record).to_le_bytes());
            file.resize(64, 0);
            [file, record.clone()].concat()
        };
        assert_eq!(Bundle::from_bytes(&file(2)).unwrap().contents().manifest.scales, [480]);
        let error = Bundle::from_bytes(&file(3)).unwrap_err();
        assert!(matches!(error, Error::OtherVersion { stated: 3, actual: 2 }), "{error}");
        for version in [0, 1, 4, u32::MAX] {
            let error = Bundle::from_bytes(&file(version)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("bundle format {version}; this program reads formats 2 and 3")),
                "{error}"
            );
        }
    }
}
