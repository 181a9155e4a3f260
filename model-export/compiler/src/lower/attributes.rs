//! Attributes of a node, by name, with the defaults that ONNX gives them.

use tract_onnx::pb::{AttributeProto, NodeProto};

use crate::error::Problem;
use crate::split::name;

/// Read access to one node.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a NodeProto);

impl<'a> Attributes<'a> {
    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|a| a.name == name)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |a| a.i)
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |a| a.f)
    }

    pub(crate) fn optional_float(&self, name: &str) -> Option<f32> {
        self.find(name).map(|a| a.f)
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|a| a.ints.as_slice())
    }

    pub(crate) fn string(&self, name: &str) -> Option<&'a str> {
        self.find(name).and_then(|a| std::str::from_utf8(&a.s).ok())
    }

    /// `N` non-negative integers, or `default` where the attribute is missing.
    pub(crate) fn sizes<const N: usize>(&self, name: &str, default: [u32; N]) -> Result<[u32; N], Problem> {
        let Some(values) = self.ints(name) else { return Ok(default) };
        let sizes: Option<Vec<u32>> = values.iter().map(|&v| u32::try_from(v).ok()).collect();
        sizes.and_then(|sizes| sizes.try_into().ok()).ok_or_else(|| {
            self.problem(format!("`{name}` {values:?} is not {N} sizes; only 2-D layers are supported"))
        })
    }

    pub(crate) fn problem(&self, problem: impl Into<String>) -> Problem {
        Problem::Node { node: name(self.0).to_string(), op: self.0.op_type.clone(), problem: problem.into() }
    }
}

/// What `pads` and `auto_pad` say: top, left, bottom, right.
pub(crate) fn pads(
    node: Attributes,
    kernel: [u32; 2],
    stride: [u32; 2],
    dilation: [u32; 2],
) -> Result<[u32; 4], Problem> {
    let auto_pad = node.string("auto_pad").unwrap_or("NOTSET");
    match auto_pad {
        "NOTSET" => node.sizes("pads", [0; 4]),
        "VALID" => Ok([0; 4]),
        "SAME_UPPER" | "SAME_LOWER" if stride == [1, 1] => {
            let total = [0, 1].map(|d| (kernel[d].saturating_sub(1)) * dilation[d]);
            let (small, large) = (total.map(|t| t / 2), total.map(|t| t - t / 2));
            let (begin, end) = if auto_pad == "SAME_UPPER" { (small, large) } else { (large, small) };
            Ok([begin[0], begin[1], end[0], end[1]])
        }
        _ => Err(node.problem(format!(
            "auto_pad {auto_pad} with stride {stride:?} pads by an amount that depends on the image's size; export \
             with explicit pads"
        ))),
    }
}
