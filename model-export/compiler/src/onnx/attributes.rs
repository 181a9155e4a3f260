//! Attributes of a node, by name, with the defaults that ONNX gives them.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

use super::name;
use crate::error::Problem;
use crate::limits;

/// Read access to one node.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a NodeProto);

impl<'a> Attributes<'a> {
    /// The attribute of that name, which must have the type that is read. Early files leave types out.
    fn find(&self, name: &str, expected: AttributeType) -> Result<Option<&'a AttributeProto>, Problem> {
        let mut found = self.0.attribute.iter().filter(|attribute| attribute.name == name);
        let Some(attribute) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(self.problem(format!("it has the attribute `{name}` twice")));
        }
        match AttributeType::try_from(attribute.r#type) {
            Ok(r#type) if r#type == expected || r#type == AttributeType::Undefined => Ok(Some(attribute)),
            _ => Err(self.problem(format!(
                "its attribute `{name}` is of type {}, not {}",
                attribute.r#type,
                expected.as_str_name()
            ))),
        }
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, Problem> {
        Ok(self.find(name, AttributeType::Int)?.map_or(default, |a| a.i))
    }

    /// 0 or 1.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.int(name, default.into())? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.problem(format!("its attribute `{name}` is {other}, not 0 or 1"))),
        }
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32, Problem> {
        let value = self.optional_float(name)?.unwrap_or(default);
        if value.is_finite() {
            return Ok(value);
        }
        Err(self.problem(format!("its attribute `{name}` is {value}")))
    }

    /// Infinity is a bound, too.
    pub(crate) fn optional_float(&self, name: &str) -> Result<Option<f32>, Problem> {
        Ok(self.find(name, AttributeType::Float)?.map(|a| a.f))
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Problem> {
        Ok(self.find(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    pub(crate) fn floats(&self, name: &str) -> Result<&'a [f32], Problem> {
        Ok(self.find(name, AttributeType::Floats)?.map_or(&[], |a| a.floats.as_slice()))
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<&'a str>, Problem> {
        let Some(attribute) = self.find(name, AttributeType::String)? else { return Ok(None) };
        let text = std::str::from_utf8(&attribute.s);
        text.map(Some).map_err(|_| self.problem(format!("its attribute `{name}` is not text")))
    }

    /// `N` sizes from `least` to [`limits::WINDOW`], or `default` where the attribute is missing.
    pub(crate) fn sizes<const N: usize>(
        &self,
        name: &str,
        least: u32,
        default: [u32; N],
    ) -> Result<[u32; N], Problem> {
        let Some(values) = self.ints(name)? else { return Ok(default) };
        let size = |&value: &i64| u32::try_from(value).ok().filter(|v| (least..=limits::WINDOW).contains(v));
        let sizes: Option<Vec<u32>> = values.iter().map(size).collect();
        sizes.and_then(|sizes| sizes.try_into().ok()).ok_or_else(|| {
            self.problem(format!(
                "`{name}` {values:?} is not {N} sizes from {least} to {}; only 2-D layers are supported",
                limits::WINDOW
            ))
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
    let auto_pad = node.string("auto_pad")?.unwrap_or("NOTSET");
    match auto_pad {
        "NOTSET" | "" => node.sizes("pads", 0, [0; 4]),
        "VALID" => Ok([0; 4]),
        "SAME_UPPER" | "SAME_LOWER" if stride == [1, 1] => {
            // Both are at most `limits::WINDOW`.
            let total = [0, 1].map(|d| kernel[d].saturating_sub(1).saturating_mul(dilation[d]));
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
