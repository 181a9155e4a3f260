//! Records of older formats: 2, from before manifests said in which order and scale a network reads its pixels, 3, from
//! before sections said what their values are, 4, from before there was int8, and 5, from before there were cascades, RoIAlign and
//! learned proposals.

use serde::Deserialize;

use crate::graph::{Contents, Factored, Graph, Origin, Precision, Regions, Section};
use crate::{ChannelOrder, Manifest, Scores};

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Record2 {
    manifest: Manifest2,
    network: Network,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Record3 {
    manifest: Manifest3,
    blob_means: [f32; 3],
    network: Network,
}

/// What formats 2 and 3 have in common. A record has no trace of its parts: postcard writes one field after the other.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Network {
    trunk: Graph,
    regions: Regions,
    head: Graph,
    sections: Vec<OldSection>,
    factored: Vec<Factored>,
    _precision: OldPrecision,
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

/// That of formats 3 to 5.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Clone, serde::Serialize))]
struct Manifest3 {
    name: String,
    classes: Vec<String>,
    channel_order: ChannelOrder,
    pixel_scale: f32,
    pixel_means: [f32; 3],
    pixel_stds: [f32; 3],
    scales: Vec<u32>,
    max_long_side: u32,
    box_width_offset: f32,
    nms_width_offset: f32,
    box_weights: [f32; 4],
    scores: Scores,
    score_threshold: f32,
    nms_iou: f32,
    max_detections: u32,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Record4 {
    manifest: Manifest3,
    blob_means: [f32; 3],
    trunk: Graph,
    regions: Regions,
    head: Graph,
    sections: Vec<Section4>,
    factored: Vec<Factored>,
    /// Of all sections that are not f32.
    _precision: Precision,
    origin: Origin,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Section4 {
    name: String,
    shape: Vec<u32>,
    precision: Precision,
    offset: u64,
    bytes: u64,
    hash: u128,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Record5 {
    manifest: Manifest3,
    blob_means: [f32; 3],
    trunk: Graph,
    regions: Regions,
    head: Graph,
    sections: Vec<Section>,
    factored: Vec<Factored>,
    origin: Origin,
    board: Option<String>,
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

/// Sections tell better.
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
    Ok((network.contents(manifest.into(), blob_means), rest))
}

/// The same of format 4.
pub(crate) fn decode_4(record: &[u8]) -> Result<(Contents, &[u8]), postcard::Error> {
    let (old, rest) = postcard::take_from_bytes::<Record4>(record)?;
    let contents = Contents {
        manifest: old.manifest.into(),
        blob_means: old.blob_means,
        trunk: old.trunk,
        regions: old.regions,
        head: old.head,
        sections: old.sections.into_iter().map(Section::from).collect(),
        factored: old.factored,
        origin: old.origin,
        board: None,
        cascade: None,
        rpn: None,
    };
    Ok((contents, rest))
}

/// The same of format 5.
pub(crate) fn decode_5(record: &[u8]) -> Result<(Contents, &[u8]), postcard::Error> {
    let (old, rest) = postcard::take_from_bytes::<Record5>(record)?;
    let contents = Contents {
        manifest: old.manifest.into(),
        blob_means: old.blob_means,
        trunk: old.trunk,
        regions: old.regions,
        head: old.head,
        sections: old.sections,
        factored: old.factored,
        origin: old.origin,
        board: old.board,
        cascade: None,
        rpn: None,
    };
    Ok((contents, rest))
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
            origin: self.origin,
            board: None,
            cascade: None,
            rpn: None,
        }
    }
}

impl From<Manifest3> for Manifest {
    fn from(old: Manifest3) -> Manifest {
        Manifest {
            name: old.name,
            channel_order: old.channel_order,
            pixel_scale: old.pixel_scale,
            pixel_means: old.pixel_means,
            pixel_stds: old.pixel_stds,
            scales: old.scales,
            max_long_side: old.max_long_side,
            box_width_offset: old.box_width_offset,
            nms_width_offset: old.nms_width_offset,
            box_weights: old.box_weights,
            scores: old.scores,
            score_threshold: old.score_threshold,
            nms_iou: old.nms_iou,
            max_detections: old.max_detections,
            ..Manifest::new(old.classes)
        }
    }
}

impl From<OldSection> for Section {
    fn from(old: OldSection) -> Section {
        let OldSection { name, shape, offset, bytes, hash } = old;
        let f32 = Section { name, shape, precision: Precision::F32, int8: None, offset, bytes, hash };
        let bf16 = Section { precision: Precision::Bf16, ..f32.clone() };
        if bf16.length_fits() && !f32.length_fits() { bf16 } else { f32 }
    }
}

impl From<Section4> for Section {
    fn from(old: Section4) -> Section {
        let Section4 { name, shape, precision, offset, bytes, hash } = old;
        Section { name, shape, precision, int8: None, offset, bytes, hash }
    }
}

#[cfg(test)]
mod tests;
