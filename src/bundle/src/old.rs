//! Records of older formats: 2, from before manifests said in which order and scale a network reads its pixels, and 3, from
//! before sections said what their values are.

use serde::Deserialize;

use crate::graph::{Contents, Factored, Graph, Origin, Precision, Regions, Section};
use crate::{Manifest, Scores};

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Record2 {
    manifest: Manifest2,
    network: Network,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Record3 {
    manifest: Manifest,
    blob_means: [f32; 3],
    network: Network,
}

/// What both have in common. A record has no trace of its parts: postcard writes one field after the other.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Network {
    trunk: Graph,
    regions: Regions,
    head: Graph,
    sections: Vec<OldSection>,
    factored: Vec<Factored>,
    precision: OldPrecision,
    origin: Origin,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Manifest2 {
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

/// Its length tells what its values are.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct OldSection {
    name: String,
    shape: Vec<u32>,
    offset: u64,
    bytes: u64,
    hash: u128,
}

#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
enum OldPrecision {
    F32,
    Bf16,
}

/// Decodes a record of format 2; also gives the bytes behind it.
pub(crate) fn decode_2(record: &[u8]) -> Result<(Contents, &[u8]), postcard::Error> {
    let (Record2 { manifest: old, network }, rest) = postcard::take_from_bytes(record)?;
    let manifest = Manifest {
        name: old.name,
        pixel_means: old.pixel_means_bgr,
        scales: old.scales,
        max_long_side: old.max_long_side,
        box_width_offset: old.box_width_offset,
        nms_width_offset: old.nms_width_offset,
        scores: old.scores,
        score_threshold: old.score_threshold,
        nms_iou: old.nms_iou,
        max_detections: old.max_detections,
        ..Manifest::new(old.classes)
    };
    let blob_means = manifest.blob_means();
    Ok((network.contents(manifest, blob_means), rest))
}

/// The same of format 3.
pub(crate) fn decode_3(record: &[u8]) -> Result<(Contents, &[u8]), postcard::Error> {
    let (Record3 { manifest, blob_means, network }, rest) = postcard::take_from_bytes(record)?;
    Ok((network.contents(manifest, blob_means), rest))
}

impl Network {
    fn contents(self, manifest: Manifest, blob_means: [f32; 3]) -> Contents {
        Contents {
            manifest,
            blob_means,
            trunk: self.trunk,
            regions: self.regions,
            head: self.head,
            sections: self.sections.into_iter().map(Section::from).collect(),
            factored: self.factored,
            precision: match self.precision {
                OldPrecision::F32 => Precision::F32,
                OldPrecision::Bf16 => Precision::Bf16,
            },
            origin: self.origin,
        }
    }
}

impl From<OldSection> for Section {
    fn from(old: OldSection) -> Section {
        let OldSection { name, shape, offset, bytes, hash } = old;
        let f32 = Section { name, shape, precision: Precision::F32, offset, bytes, hash };
        let bf16 = Section { precision: Precision::Bf16, ..f32.clone() };
        if bf16.length_fits() && !f32.length_fits() { bf16 } else { f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bundle, ChannelOrder, Error, Layer, Op, RoiPooling, Warp};

    fn network(regions: Regions, head: Graph, sections: Vec<OldSection>) -> Network {
        Network {
            trunk: Graph { layers: Vec::new(), outputs: vec![0] },
            regions,
            head,
            sections,
            factored: Vec::new(),
            precision: OldPrecision::F32,
            origin: Origin { onnx_sha256: [7; 32], compiler: "an older one".into() },
        }
    }

    fn manifest_2() -> Manifest2 {
        Manifest2 {
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
        }
    }

    #[test]
    fn a_record_of_format_2_means_what_it_meant() {
        let warp = Regions::Warp(Warp { side: 64, context: 16 });
        let record =
            Record2 { manifest: manifest_2(), network: network(warp.clone(), Graph::default(), Vec::new()) };
        let mut bytes = postcard::to_stdvec(&record).unwrap();
        bytes.push(9);
        let (contents, rest) = decode_2(&bytes).unwrap();
        assert_eq!(rest, [9]);
        let manifest = &contents.manifest;
        assert_eq!((manifest.channel_order, manifest.pixel_scale), (ChannelOrder::Bgr, 255.0));
        assert_eq!((manifest.pixel_means, contents.blob_means), ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]));
        assert_eq!((manifest.pixel_stds, manifest.box_weights), ([1.0; 3], [1.0; 4]));
        assert_eq!((manifest.scales.as_slice(), manifest.max_long_side), ([480].as_slice(), 900));
        assert_eq!((manifest.box_width_offset, manifest.nms_width_offset), (0.0, 1.0));
        assert_eq!((manifest.scores, manifest.score_threshold), (Scores::Margins, -2.0));
        assert_eq!((manifest.nms_iou, manifest.max_detections), (0.5, 7));
        assert_eq!(contents.regions, warp);
        assert_eq!(contents.origin, record.network.origin);
    }

    #[test]
    fn lengths_of_format_3_tell_what_values_are() {
        let section = |bytes| OldSection { name: "w".into(), shape: vec![3, 5], offset: 0, bytes, hash: 0 };
        let sections = vec![section(60), section(30), section(45)];
        let warp = Regions::Warp(Warp { side: 64, context: 16 });
        let mut record = Record3 {
            manifest: Manifest { scales: vec![123], ..Manifest::new(vec!["__background__".into()]) },
            blob_means: [4.0, 5.0, 6.0],
            network: network(warp, Graph::default(), sections),
        };
        record.network.precision = OldPrecision::Bf16;
        let bytes = postcard::to_stdvec(&record).unwrap();
        let (contents, rest) = decode_3(&bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!((&contents.manifest, contents.blob_means), (&record.manifest, [4.0, 5.0, 6.0]));
        assert_eq!(contents.precision, Precision::Bf16);
        let precisions: Vec<Precision> = contents.sections.iter().map(|section| section.precision).collect();
        assert_eq!(precisions, [Precision::F32, Precision::Bf16, Precision::F32]);
        let fit: Vec<bool> = contents.sections.iter().map(Section::length_fits).collect();
        assert_eq!(fit, [true, true, false]);
    }

    /// No hash covers the version; the record tells.
    #[test]
    fn the_other_version_is_found_out() {
        let layer = |op: Op, inputs: &[u32]| Layer { name: String::new(), op, inputs: inputs.to_vec() };
        let head = vec![layer(Op::Flatten, &[0]), layer(Op::Softmax, &[1]), layer(Op::Concat, &[1; 4])];
        let record = Record2 {
            manifest: Manifest2 {
                classes: vec!["__background__".into(), "cat".into(), "dog".into()],
                scores: Scores::Probabilities,
                score_threshold: 0.5,
                ..manifest_2()
            },
            network: network(
                Regions::RoiPooling(RoiPooling { pooled: vec![[1, 1]], spatial_scale: 1.0 }),
                Graph { layers: head, outputs: vec![2, 3] },
                Vec::new(),
            ),
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
        for version in [3, 4] {
            let error = Bundle::from_bytes(&file(version)).unwrap_err();
            assert!(
                matches!(error, Error::OtherVersion { stated, actual: 2 } if stated == version),
                "{error}"
            );
        }
        for version in [0, 1, 5, u32::MAX] {
            let error = Bundle::from_bytes(&file(version)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("bundle format {version}; this program reads formats 2 to 4")),
                "{error}"
            );
        }
    }
}
