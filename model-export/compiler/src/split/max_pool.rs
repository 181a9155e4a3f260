//! RoI max pooling: one `MaxRoiPool`, or the several of SPPnet, which all pool one map.

use tract_onnx::pb::{GraphProto, NodeProto};

use crate::error::Problem;
use crate::limits;
use crate::onnx::{Attributes, name};

/// The RoI poolings, and the map and the RoIs that they all read.
pub(super) fn find_roi_pools(graph: &GraphProto) -> Result<(Vec<&NodeProto>, &str, &str), Problem> {
    let found: Vec<&NodeProto> = graph.node.iter().filter(|node| node.op_type == "MaxRoiPool").collect();
    let Some(&first) = found.first() else {
        return Err(Problem::NoRoiPool);
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
