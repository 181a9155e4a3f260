//! Where the graph is split: at its `MaxRoiPool`, or at the several of SPPnet, which all pool one map.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

use crate::error::Problem;
use crate::limits;
use crate::onnx::{Attributes, Producers, check_real, dims, inputs, name, show};

/// The parts of a Fast R-CNN in ONNX, by position and name.
pub(crate) struct Split<'a> {
    /// The graph input that is the image.
    pub(crate) data: &'a str,
    /// The graph input that the RoIs come from.
    pub(crate) rois: &'a str,
    /// 5, or 4 where the graph puts the batch index before the boxes.
    pub(crate) rois_columns: i64,
    /// Nodes between that input and the `MaxRoiPool` node, in order.
    pub(crate) rois_nodes: Vec<&'a NodeProto>,
    /// RoIs per run, where the model fixes it.
    pub(crate) fixed_rois: Option<usize>,
    /// The value that is pooled.
    pub(crate) feature_map: &'a str,
    /// One, or SPPnet's levels.
    pub(crate) roi_pools: Vec<&'a NodeProto>,
    /// Nodes that the feature map needs, in order.
    pub(crate) trunk: Vec<&'a NodeProto>,
    /// Nodes that the outputs need, after RoI pooling, in order.
    pub(crate) head: Vec<&'a NodeProto>,
    /// The two graph outputs, in the model's order.
    pub(crate) outputs: [&'a str; 2],
}

impl<'a> Split<'a> {
    pub(crate) fn find(graph: &'a GraphProto) -> Result<Split<'a>, Problem> {
        let (roi_pools, feature_map, rois) = find_roi_pools(graph)?;
        let pooled: Vec<&str> = roi_pools.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        let producers = Producers::new(graph);
        let outputs = match &graph.output[..] {
            [a, b] => [a.name.as_str(), b.name.as_str()],
            other => {
                let names: Vec<_> = other.iter().map(|o| format!("`{}`", o.name)).collect();
                return Err(Problem::Outputs(format!(
                    "a Fast R-CNN gives class scores and box deltas; this model gives {} ({})",
                    other.len(),
                    names.join(", ")
                )));
            }
        };

        let (trunk, trunk_reads) = producers.needed_by(&[feature_map], &[]);
        let (rois_nodes, rois_reads) = producers.needed_by(&[rois], &[]);
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
                "they do not depend on the MaxRoiPool node that gives `{unread}`"
            )));
        }
        if let Some(other) = head_reads.iter().find(|read| !pooled.contains(read)) {
            return Err(Problem::Inputs(format!("`{other}` is read behind the MaxRoiPool node")));
        }
        let data = only_input(graph, &trunk_reads, "feature map")?;
        let rois = only_input(graph, &rois_reads, "rois")?;
        if data.name == rois.name {
            return Err(Problem::Inputs("the feature map and the rois come from the same input".to_string()));
        }
        check_real(data)?;
        check_real(rois)?;
        check_data(data)?;
        let (fixed_rois, rois_columns) = check_rois(rois, !rois_nodes.is_empty())?;
        let others: Vec<_> = inputs(graph).filter(|i| i.name != data.name && i.name != rois.name).collect();
        if let Some(other) = others.first() {
            return Err(Problem::Inputs(format!("there is a third one, `{}`", other.name)));
        }
        Ok(Split {
            data: &data.name,
            rois: &rois.name,
            rois_columns,
            rois_nodes,
            fixed_rois,
            feature_map,
            roi_pools,
            trunk,
            head,
            outputs,
        })
    }
}

/// The RoI poolings, and the map and the RoIs that they all read.
fn find_roi_pools(graph: &GraphProto) -> Result<(Vec<&NodeProto>, &str, &str), Problem> {
    let found: Vec<&NodeProto> = graph.node.iter().filter(|node| node.op_type == "MaxRoiPool").collect();
    let Some(&first) = found.first() else {
        return Err(Problem::NoRoiPool { roi_align: graph.node.iter().any(|n| n.op_type == "RoiAlign") });
    };
    let ([map, rois], [_]) = (&first.input[..], &first.output[..]) else {
        return Err(
            Attributes(first).problem("it must read a feature map and rois, and give pooled features")
        );
    };
    if found.len() > limits::LEVELS {
        return Err(Problem::Limit(format!(
            "the graph has {} MaxRoiPool nodes; the limit is {}",
            found.len(),
            limits::LEVELS
        )));
    }
    let scale = |node| Attributes(node).float("spatial_scale", 1.0);
    let first_scale = scale(first)?;
    for &other in &found {
        if other.input.len() != 2 {
            return Err(Attributes(other).problem("it must read a feature map and rois"));
        }
        let what = if other.input.first() != Some(map) {
            "feature maps"
        } else if other.input.get(1) != Some(rois) {
            "rois"
        } else if scale(other)? != first_scale {
            "spatial scales"
        } else {
            continue;
        };
        let names: Vec<_> = found.iter().map(|node| format!("`{}`", name(node))).collect();
        return Err(Problem::SeveralRoiPools { count: found.len(), names: names.join(", "), what });
    }
    Ok((found, map, rois))
}

fn only_input<'a>(
    graph: &'a GraphProto,
    reads: &HashSet<&str>,
    what: &str,
) -> Result<&'a ValueInfoProto, Problem> {
    let found: Vec<_> = inputs(graph).filter(|input| reads.contains(input.name.as_str())).collect();
    match found[..] {
        [one] => Ok(one),
        _ => Err(Problem::Inputs(format!("the {what} comes from {} of them instead of one", found.len()))),
    }
}

fn check_data(data: &ValueInfoProto) -> Result<(), Problem> {
    match dims(data).as_deref() {
        // Without a declared shape the first convolution tells whether three channels fit.
        None | Some([None | Some(1), None | Some(3), _, _]) => Ok(()),
        Some(shape) => Err(Problem::Inputs(format!("`{}` has shape {}", data.name, show(shape)))),
    }
}

/// RoIs per run where that is fixed, and columns. `made_in_graph` tells whether nodes stand behind the
/// input, which may then be boxes without a batch index.
fn check_rois(rois: &ValueInfoProto, made_in_graph: bool) -> Result<(Option<usize>, i64), Problem> {
    match dims(rois).as_deref() {
        None => Ok((None, 5)),
        Some([count, None | Some(5)]) => Ok((fixed(rois, *count)?, 5)),
        Some([count, Some(4)]) if made_in_graph => Ok((fixed(rois, *count)?, 4)),
        Some(shape) => Err(Problem::Inputs(format!("`{}` has shape {}", rois.name, show(shape)))),
    }
}

fn fixed(rois: &ValueInfoProto, count: Option<i64>) -> Result<Option<usize>, Problem> {
    let Some(count) = count else { return Ok(None) };
    match usize::try_from(count) {
        Ok(count) if count <= limits::FIXED_ROIS => Ok(Some(count)),
        _ => Err(Problem::Inputs(format!(
            "`{}` has {count} rows; the limit is {}, and a free dimension has none",
            rois.name,
            limits::FIXED_ROIS
        ))),
    }
}
