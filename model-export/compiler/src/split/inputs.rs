//! A graph's two inputs: the image and the regions.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

use crate::error::Problem;
use crate::limits;
use crate::onnx::{check_real, dims, inputs, show};

/// Where RoIs come from.
pub(crate) struct Rois<'a> {
    /// The graph input.
    pub(crate) input: &'a str,
    /// 5, or 4 where the graph puts the batch index before the boxes, or reads it elsewhere.
    pub(crate) columns: i64,
    /// Nodes between the input and RoI pooling, in order.
    pub(crate) nodes: Vec<&'a NodeProto>,
    /// What they make.
    pub(crate) value: &'a str,
    /// RoIs per run, where the model fixes it.
    pub(crate) fixed: Option<usize>,
}

impl<'a> Rois<'a> {
    pub(super) fn of(
        graph: &'a GraphProto,
        value: &'a str,
        nodes: Vec<&'a NodeProto>,
        reads: &HashSet<&str>,
        is_align: bool,
    ) -> Result<Rois<'a>, Problem> {
        let input = only_input(graph, reads, "rois")?;
        check_real(input)?;
        let (fixed, columns) = check_rois(input, is_align || !nodes.is_empty())?;
        Ok(Rois { input: &input.name, columns, nodes, value, fixed })
    }
}

/// Whether these two are the graph's inputs.
pub(super) fn check_others(graph: &GraphProto, data: &ValueInfoProto, rois: &str) -> Result<(), Problem> {
    if data.name == rois {
        return Err(Problem::Inputs("the feature map and the rois come from the same input".to_string()));
    }
    match inputs(graph).find(|input| input.name != data.name && input.name != rois) {
        Some(other) => Err(Problem::Inputs(format!("there is a third one, `{}`", other.name))),
        None => Ok(()),
    }
}

pub(super) fn only_input<'a>(
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

pub(super) fn check_data(data: &ValueInfoProto) -> Result<(), Problem> {
    check_real(data)?;
    match dims(data).as_deref() {
        // Without a declared shape the first convolution tells whether three channels fit. Of a batch of several images the
        // network does to each what it does to one.
        None | Some([_, None | Some(3), _, _]) => Ok(()),
        Some(shape) => Err(Problem::Inputs(format!("`{}` has shape {}", data.name, show(shape)))),
    }
}

/// RoIs per run where that is fixed, and columns. `may_lack_batch` tells whether the input may be boxes without a batch
/// index: nodes put it there, or RoIAlign reads it apart.
fn check_rois(rois: &ValueInfoProto, may_lack_batch: bool) -> Result<(Option<usize>, i64), Problem> {
    match dims(rois).as_deref() {
        None => Ok((None, 5)),
        Some([count, None | Some(5)]) => Ok((fixed(rois, *count)?, 5)),
        Some([count, Some(4)]) if may_lack_batch => Ok((fixed(rois, *count)?, 4)),
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
