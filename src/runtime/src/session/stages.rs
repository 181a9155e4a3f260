//! Each stage of a detection as a method that hands out its tensor.

use frcnn_bundle::{DetectionMethod, Regions, Warp};
use frcnn_core::{BBox, Roi, ShapeError};
use frcnn_files::try_resize;
use frcnn_kernels::AlignedRoi;

use super::{GraphInput, Session, fits};
use crate::boxes::BoxPixels;
use crate::head::HeadInput;
use crate::pooling::{MapRegion, MapRegions};
use crate::propose::{Proposer, RpnProposals};
use crate::rois::{AlignedRois, ProjectedRois};
use crate::rpn::{RpnHead, RpnOutput};
use crate::{Detections, Error, FeatureMap, Frame, HeadOutput, ImageBlob, NamedTensor, crops};

impl Session {
    /// Stage `data`: the frame's blob at each of the manifest's scales; of R-CNN one, of the frame's own size.
    ///
    /// # Errors
    /// The frame asks for more than the limits allow.
    pub fn preprocess(&mut self, frame: &Frame) -> Result<Vec<ImageBlob>, Error> {
        self.check(frame, 0)?;
        let contents = self.model.contents();
        let blobs = fits(contents, frame).into_iter().map(|fit| {
            let mut blob = ImageBlob::default();
            self.preprocessor.run(frame, &contents.blob_means, &fit, &mut blob)?;
            Ok(blob)
        });
        blobs.collect()
    }

    /// Stage `conv`: the trunk's feature map of a blob, of several the first.
    ///
    /// # Errors
    /// The blob is too small for the trunk.
    pub fn trunk(&self, blob: &ImageBlob) -> Result<FeatureMap, Error> {
        let first = self.maps(blob)?.into_iter().next();
        first.ok_or(ShapeError { what: "feature maps", expected: 1, found: 0 }.into())
    }

    /// Stages `p2` and so on: all of the trunk's feature maps of a blob. Those that regions are pooled from come first, the
    /// finest of them at the front, then those that only the RPN reads.
    ///
    /// # Errors
    /// The blob is too small for the trunk.
    pub fn maps(&self, blob: &ImageBlob) -> Result<Vec<FeatureMap>, Error> {
        self.model.on_frame(|| self.model.trunk.run(blob))
    }

    /// Stages `rpn_logits` and `rpn_deltas` of one of the trunk's maps.
    ///
    /// # Errors
    /// The map is not one that the RPN reads, or the bundle has no RPN.
    pub fn rpn(&self, map: &FeatureMap) -> Result<RpnOutput, Error> {
        let rpn = self.rpn_of("rpn")?;
        self.model.on_frame(|| rpn.run(map))
    }

    /// Stage `proposals`: what the RPN gave of each of the trunk's maps of `blob`, as boxes in pixels of the blob.
    ///
    /// # Errors
    /// The outputs are not those of the RPN, or the bundle has none.
    pub fn filter_proposals(&self, outputs: &[RpnOutput], blob: &ImageBlob) -> Result<RpnProposals, Error> {
        let rpn = self.rpn_of("proposals")?.rpn();
        ShapeError::check("RPN outputs", rpn.anchors.len(), outputs.len())?;
        let mut proposer = Proposer::default();
        for (position, output) in outputs.iter().enumerate() {
            proposer.add(position, output, rpn, [[blob.height, blob.width], blob.image])?;
        }
        proposer.finish(rpn);
        Ok(proposer.proposals)
    }

    /// Stage `rois`: the boxes as distinct RoIs on the feature maps of `blobs`, or as R-CNN's windows of the image.
    ///
    /// # Errors
    /// There is no memory for as many RoIs, or the bundle has RoIAlign.
    pub fn project(&self, proposals: &[BBox], blobs: &[ImageBlob]) -> Result<ProjectedRois, Error> {
        let contents = self.model.contents();
        if let Regions::RoiAlign(_) = contents.regions {
            return Err(self.no_stage("project"));
        }
        let width_offset = contents.manifest.box_width_offset;
        let mut rois = ProjectedRois::default();
        match blobs {
            // The scales of both axes may differ, in f32.
            [blob] if blob.scale[0] != blob.scale[1] => {
                let [down, right] = blob.scale.map(|scale| scale as f32);
                let in_blob: Vec<BBox> = proposals
                    .iter()
                    .map(|b| BBox::new(b.x1 * right, b.y1 * down, b.x2 * right, b.y2 * down))
                    .collect();
                rois.project(&in_blob, &[1.0], &contents.regions, width_offset)?;
            }
            _ => {
                let scales: Vec<f64> = blobs.iter().map(ImageBlob::im_scale).collect();
                rois.project(proposals, &scales, &contents.regions, width_offset)?;
            }
        }
        Ok(rois)
    }

    /// Stage `rois` of RoIAlign: boxes in pixels of the blob, each with the map that suits its size.
    ///
    /// # Errors
    /// There is no memory for as many RoIs, or the bundle has no RoIAlign.
    pub fn align_rois(&self, boxes: &[BBox]) -> Result<AlignedRois, Error> {
        let Regions::RoiAlign(align) = &self.model.contents().regions else {
            return Err(self.no_stage("align_rois"));
        };
        let mut rois = AlignedRois::default();
        rois.align(boxes, &align.levels())?;
        Ok(rois)
    }

    /// Stage `pool5`: each RoI pooled from the map of its level, `[R, P, P, C]`; of SPPnet `[R, B, C]`, the bins of
    /// all levels.
    ///
    /// # Errors
    /// A map has not the channels that the trunk gives, or the bundle is an R-CNN or has RoIAlign. An RoI of a level that has
    /// no map pools zeros.
    pub fn roi_pool(&self, maps: &[FeatureMap], rois: &[Roi]) -> Result<Vec<f32>, Error> {
        match self.model.contents().regions {
            Regions::RoiPooling(_) => self.pool(Roi::on_maps(maps, rois)),
            Regions::Warp(_) | Regions::RoiAlign(_) => Err(self.no_stage("roi_pool")),
        }
    }

    /// Stage `roi_align`: each RoI sampled from the map of its level, `[R, P, P, C]`.
    ///
    /// # Errors
    /// A map has not the channels that the trunk gives, or the bundle has no RoIAlign. An RoI of a level that has no map gives
    /// zeros.
    pub fn roi_align(&self, maps: &[FeatureMap], rois: &[AlignedRoi]) -> Result<Vec<f32>, Error> {
        match self.model.contents().regions {
            Regions::RoiAlign(_) => self.pool(AlignedRoi::on_maps(maps, rois)),
            Regions::Warp(_) | Regions::RoiPooling(_) => Err(self.no_stage("roi_align")),
        }
    }

    fn pool(&self, regions: MapRegions<'_>) -> Result<Vec<f32>, Error> {
        let mut pooled = Vec::new();
        let values = regions.len().saturating_mul(self.model.head.features());
        try_resize(&mut pooled, values, 0.0).map_err(Error::memory("pooled features"))?;
        self.model.on_frame(|| self.model.head.pool(regions, &mut pooled))?;
        Ok(pooled)
    }

    /// Stage `crops` of an R-CNN: the windows that [`project`](Session::project) gives, cut out of `image` and resized to
    /// `[R, S, S, 3]`.
    ///
    /// # Errors
    /// The bundle is no R-CNN.
    pub fn warp(&self, image: &ImageBlob, windows: &[Roi]) -> Result<Vec<f32>, Error> {
        let warp = self.warp_of("warp")?;
        let side = warp.side as usize;
        let mut crops = Vec::new();
        let values = windows.len().saturating_mul(side * side * 3);
        try_resize(&mut crops, values, 0.0).map_err(Error::memory("crops"))?;
        self.model.on_frame(|| crops::cut(image, windows, warp, self.model.settings.threads, &mut crops))?;
        Ok(crops)
    }

    /// The trunk's maps of an R-CNN's crops, `[R, Hf, Wf, C]`.
    ///
    /// # Errors
    /// `crops` is not a whole number of them, or the bundle is no R-CNN.
    pub fn trunk_of_crops(&self, crops: &[f32]) -> Result<Vec<f32>, Error> {
        let warp = self.warp_of("trunk_of_crops")?;
        self.model.on_frame(|| crops::maps(&self.model, warp, crops))
    }

    /// The cascade's stage between `rois` and `pool5`: how much each RoI looks like an object, by its judge, see
    /// [`Cascade::foreground`](frcnn_bundle::Cascade::foreground). [`detect`](Session::detect) drops those below the threshold
    /// as [`Rois::drop_below`](crate::Rois::drop_below) does. Nothing where the bundle has no cascade.
    ///
    /// # Errors
    /// A map has not the channels that the trunk gives, or the bundle has RoIAlign: see [`judge_aligned`](Session::judge_aligned).
    pub fn judge(&self, maps: &[FeatureMap], rois: &[Roi]) -> Result<Option<Vec<f32>>, Error> {
        match self.model.contents().regions {
            Regions::RoiAlign(_) => Err(self.no_stage("judge")),
            Regions::RoiPooling(_) | Regions::Warp(_) => self.foreground(Roi::on_maps(maps, rois)),
        }
    }

    /// The same between `rois` and `roi_align`.
    ///
    /// # Errors
    /// A map has not the channels that the trunk gives, or the bundle has no RoIAlign.
    pub fn judge_aligned(&self, maps: &[FeatureMap], rois: &[AlignedRoi]) -> Result<Option<Vec<f32>>, Error> {
        match self.model.contents().regions {
            Regions::RoiAlign(_) => self.foreground(AlignedRoi::on_maps(maps, rois)),
            Regions::RoiPooling(_) | Regions::Warp(_) => Err(self.no_stage("judge_aligned")),
        }
    }

    fn foreground(&self, regions: MapRegions<'_>) -> Result<Option<Vec<f32>>, Error> {
        let Some(judge) = &self.model.judge else { return Ok(None) };
        let (mut scores, rois) = (HeadOutput::default(), regions.len());
        self.model.on_frame(|| judge.scores(regions, &mut scores, &mut |_| {}))?;
        Ok(Some(judge.foreground(&scores, rois)))
    }

    /// Stages `cls_prob` and `bbox_pred` of the features of RoIs: pooled, or the maps of an R-CNN's crops.
    ///
    /// # Errors
    /// `features` are not of a whole number of RoIs.
    pub fn head(&mut self, features: &[f32]) -> Result<HeadOutput, Error> {
        self.check_features(features)?;
        let mut output = HeadOutput::default();
        let input = HeadInput::Features(features);
        self.model.on_frame(|| self.model.head.run(input, &mut output, &mut |_| {}))?;
        Ok(output)
    }

    /// Every named layer of the head on the features of RoIs: `fc6`, `fc7`, `cls_score`, `bbox_pred`, `cls_prob`. For
    /// looking inside; [`head`](Session::head) is quicker.
    ///
    /// # Errors
    /// `features` are not of a whole number of RoIs.
    pub fn head_stages(&self, features: &[f32]) -> Result<Vec<NamedTensor>, Error> {
        self.check_features(features)?;
        self.model.on_frame(|| self.model.head.stages(features))
    }

    /// Any values of one of the bundle's graphs on an input of that graph, in the order of `wanted`, as the graph numbers
    /// them: 0 is the input, `i + 1` what layer `i` gives. For looking inside: each call makes a plan.
    ///
    /// # Errors
    /// The input is not what the graph reads, or there is no such value.
    pub fn values(&self, input: GraphInput<'_>, wanted: &[u32]) -> Result<Vec<Vec<f32>>, Error> {
        let model = &self.model;
        match input {
            GraphInput::Blob(blob) => {
                let size = [blob.height, blob.width];
                model.on_frame(|| model.trunk.values(size, &blob.data, wanted))
            }
            GraphInput::Crops(crops) => {
                let side = self.warp_of("values")?.side as usize;
                model.on_frame(|| model.trunk.values([side; 2], crops, wanted))
            }
            GraphInput::Features(features) => {
                self.check_features(features)?;
                model.on_frame(|| model.head.values(features, wanted))
            }
        }
    }

    /// The last stage: predictions to detections in an image of `width` x `height` pixels, in which the proposals are. `index` is
    /// that of [`project`](Session::project) or [`align_rois`](Session::align_rois).
    pub fn postprocess(
        &mut self,
        proposals: &[BBox],
        index: &[u32],
        output: &HeadOutput,
        width: u32,
        height: u32,
    ) -> Detections {
        let (manifest, settings) = (&self.model.contents().manifest, &self.model.settings);
        let short = manifest.scales.first().copied().unwrap_or(1);
        let pixels = BoxPixels::new(manifest, [height, width], &manifest.fit(height, width, short));
        self.proposer.clear();
        if pixels.in_blob {
            let in_blob: Vec<BBox> = proposals.iter().map(|bbox| pixels.of_image(bbox)).collect();
            return self.postprocessor.run(&in_blob, index, output, &pixels, manifest, settings);
        }
        self.postprocessor.run(proposals, index, output, &pixels, manifest, settings)
    }

    /// Whether `features` are of a whole number of RoIs.
    fn check_features(&self, features: &[f32]) -> Result<(), Error> {
        let each = self.model.head.features();
        let whole = features.len() / each.max(1) * each;
        Ok(ShapeError::check("features of RoIs", whole, features.len())?)
    }

    fn warp_of(&self, stage: &'static str) -> Result<Warp, Error> {
        match self.model.contents().regions {
            Regions::Warp(warp) => Ok(warp),
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => Err(self.no_stage(stage)),
        }
    }

    pub(super) fn rpn_of(&self, stage: &'static str) -> Result<&RpnHead, Error> {
        self.model.rpn.as_ref().ok_or_else(|| self.no_stage(stage))
    }

    pub(super) fn no_stage(&self, stage: &'static str) -> Error {
        let contents = self.model.contents();
        let method = match contents.regions {
            Regions::RoiAlign(_) if contents.method() == DetectionMethod::FastRcnn => {
                "fast-rcnn with RoIAlign"
            }
            Regions::RoiAlign(_) => "faster-rcnn with RoIAlign",
            Regions::RoiPooling(_) | Regions::Warp(_) => contents.method().name(),
        };
        Error::Stage { method, stage }
    }
}
