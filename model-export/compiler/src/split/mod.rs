//! Where the graph is split: at its RoI pooling, and where there is a region proposal network, at the maps that it reads.

mod inputs;
mod max_pool;
mod outputs;

use std::collections::HashSet;

use frcnn_bundle::RoiAlign;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use crate::error::Problem;
use crate::onnx::Producers;
use crate::roi_align::{self, pooling};
use crate::torchvision::Detector;
use crate::view::{View, not_understood};
use inputs::{check_data, only_input};
use max_pool::find_roi_pools;
use outputs::Outputs;

pub(crate) use inputs::Rois;

/// The parts of a detector in ONNX, by position and name.
pub(crate) struct Split<'a> {
    /// The value that is the image: an input of the graph.
    pub(crate) data: &'a str,
    /// Where the RoIs come from; nowhere in the graph where they were cut out of a whole detector.
    pub(crate) rois: Option<Rois<'a>>,
    /// The trunk's maps: those that are pooled first, the finest before the others.
    pub(crate) maps: Vec<&'a str>,
    pub(crate) pooling: Pooling<'a>,
    /// Nodes that the maps need, in order.
    pub(crate) trunk: Vec<&'a NodeProto>,
    pub(crate) rpn: Option<RpnPart<'a>>,
    /// Nodes that the outputs need, after RoI pooling, in order.
    pub(crate) head: Vec<&'a NodeProto>,
    /// The class scores and box deltas, in the model's order.
    pub(crate) outputs: [&'a str; 2],
}

/// How a region becomes what the head reads.
pub(crate) enum Pooling<'a> {
    /// The `MaxRoiPool` nodes: one, or SPPnet's levels.
    Max(Vec<&'a NodeProto>),
    Align {
        align: RoiAlign,
        /// What the head reads.
        pooled: &'a str,
    },
}

/// The head of a region proposal network, on the first map.
pub(crate) struct RpnPart<'a> {
    pub(crate) nodes: Vec<&'a NodeProto>,
    /// Logits and deltas.
    pub(crate) outputs: [&'a str; 2],
}

impl<'a> Pooling<'a> {
    /// What the head reads.
    pub(crate) fn pooled(&self) -> Vec<&'a str> {
        match self {
            Pooling::Max(nodes) => nodes.iter().flat_map(|node| &node.output).map(String::as_str).collect(),
            Pooling::Align { pooled, .. } => vec![pooled],
        }
    }
}

impl<'a> Split<'a> {
    /// Splits a graph with the inputs `data` and `rois`.
    pub(crate) fn find(model: &'a ModelProto, graph: &'a GraphProto) -> Result<Split<'a>, Problem> {
        let view = View::new(model, graph);
        let (pooling, pooled_maps, rois_value) = find_pooling(&view)?;
        let pooled = pooling.pooled();
        let producers = Producers::new(graph);
        let Outputs { detections: outputs, rpn } = Outputs::of(graph)?;
        let (maps, rpn) = match &rpn[..] {
            [] => (pooled_maps, None),
            [first, ..] => {
                let maps = outputs::maps(&view, &rpn, &pooled_maps)?;
                let (nodes, _) = producers.needed_by(first, &maps);
                (maps, Some(RpnPart { nodes, outputs: *first }))
            }
        };

        let (trunk, trunk_reads) = producers.needed_by(&maps, &[]);
        let (rois_nodes, rois_reads) = producers.needed_by(&[rois_value], &[]);
        let (head, head_reads) = producers.needed_by(&outputs, &pooled);
        let given: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        if let Some(missing) = trunk_reads
            .iter()
            .chain(&rois_reads)
            .chain(&head_reads)
            .find(|read| !given.contains(*read) && !pooled.contains(read))
        {
            return Err(Problem::Inputs(format!("`{missing}` is read, but nothing gives it")));
        }
        if let Some(unread) = pooled.iter().find(|pooled| !head_reads.contains(*pooled)) {
            return Err(Problem::Outputs(format!(
                "they do not depend on the {} node that gives `{unread}`",
                pooling.node_name()
            )));
        }
        if let Some(other) = head_reads.iter().find(|read| !pooled.contains(read)) {
            return Err(Problem::Inputs(format!(
                "`{other}` is read behind the {} node",
                pooling.node_name()
            )));
        }
        let data = only_input(graph, &trunk_reads, "feature map")?;
        check_data(data)?;
        let is_align = matches!(pooling, Pooling::Align { .. });
        let rois = Rois::of(graph, rois_value, rois_nodes, &rois_reads, is_align)?;
        inputs::check_others(graph, data, rois.input)?;
        Ok(Split { data: &data.name, rois: Some(rois), maps, pooling, trunk, rpn, head, outputs })
    }

    /// Splits the graph that was cut out of a whole detector.
    pub(crate) fn of_detector(graph: &'a GraphProto, detector: &'a Detector) -> Split<'a> {
        let producers = Producers::new(graph);
        let nodes = |ends: &[&'a str], boundary: &[&str]| producers.needed_by(ends, boundary).0;
        let maps: Vec<&str> = detector.maps.iter().map(String::as_str).collect();
        let rpn = [detector.logits.as_str(), &detector.deltas];
        let outputs = [detector.cls_prob.as_str(), &detector.bbox_pred];
        Split {
            data: &detector.blob,
            rois: None,
            pooling: Pooling::Align { align: detector.align.clone(), pooled: &detector.pooled },
            trunk: nodes(&maps, &[]),
            rpn: Some(RpnPart { nodes: nodes(&rpn, &maps), outputs: rpn }),
            head: nodes(&outputs, &[&detector.pooled]),
            maps,
            outputs,
        }
    }

    /// RoIs per run, where the model fixes it.
    pub(crate) fn fixed_rois(&self) -> Option<usize> {
        self.rois.as_ref().and_then(|rois| rois.fixed)
    }
}

impl Pooling<'_> {
    fn node_name(&self) -> &'static str {
        match self {
            Pooling::Max(_) => "MaxRoiPool",
            Pooling::Align { .. } => "RoiAlign",
        }
    }
}

/// The pooling, the maps that are pooled, and the value that holds the regions.
fn find_pooling<'a>(view: &View<'a>) -> Result<(Pooling<'a>, Vec<&'a str>, &'a str), Problem> {
    let aligns = view.all("RoiAlign");
    let max = view.all("MaxRoiPool");
    match (aligns.first(), max.first()) {
        (Some(align), Some(_)) => {
            Err(not_understood(align, "the graph has MaxRoiPool nodes, too; a detector pools in one way"))
        }
        (Some(_), None) => {
            let roi_align::Pooling { align, maps, pooled, rois } = pooling(view, &aligns)?;
            Ok((Pooling::Align { align, pooled }, maps, rois))
        }
        (None, _) => {
            let (nodes, map, rois) = find_roi_pools(view.graph)?;
            Ok((Pooling::Max(nodes), vec![map], rois))
        }
    }
}
