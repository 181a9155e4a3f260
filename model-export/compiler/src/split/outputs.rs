//! A graph's outputs: class scores, box deltas, and what a region proposal network gives of each map.

use tract_onnx::pb::{GraphProto, NodeProto};

use crate::error::Problem;
use crate::rpn;
use crate::view::View;

/// Names of an RPN's outputs, before the number of the map.
const LOGITS: &str = "rpn_logits.";
const DELTAS: &str = "rpn_deltas.";

/// Names of the others, which matter where there are more than these two.
const SCORES: &str = "cls_prob";
const BOXES: &str = "bbox_pred";

pub(super) struct Outputs<'a> {
    /// Scores and deltas, in the model's order.
    pub(super) detections: [&'a str; 2],
    /// Logits and deltas of each map.
    pub(super) rpn: Vec<[&'a str; 2]>,
}

impl<'a> Outputs<'a> {
    pub(super) fn of(graph: &'a GraphProto) -> Result<Outputs<'a>, Problem> {
        let names = || graph.output.iter().map(|output| output.name.as_str());
        let others: Vec<&str> =
            names().filter(|name| !name.starts_with(LOGITS) && !name.starts_with(DELTAS)).collect();
        let of_rpn = names().count() - others.len();
        let (a, b) = match others[..] {
            [a, b] => (a, b),
            // Beside others, such as features, these are known by their names.
            _ if others.contains(&SCORES) && others.contains(&BOXES) => (SCORES, BOXES),
            _ => {
                let names: Vec<_> = others.iter().map(|name| format!("`{name}`")).collect();
                return Err(Problem::Outputs(format!(
                    "a Fast R-CNN gives class scores and box deltas; this model gives {} ({}); export these two alone, or call them \
                     `{SCORES}` and `{BOXES}`",
                    others.len(),
                    names.join(", ")
                )));
            }
        };
        let find = |prefix: &str, level: usize| {
            let wanted = format!("{prefix}{level}");
            let found = names().find(|name| **name == wanted);
            found.ok_or_else(|| Problem::Outputs(format!("of the RPN's outputs `{wanted}` is missing")))
        };
        let pair = |level| Ok([find(LOGITS, level)?, find(DELTAS, level)?]);
        let rpn = (0..of_rpn.div_ceil(2)).map(pair).collect::<Result<_, Problem>>()?;
        Ok(Outputs { detections: [a, b], rpn })
    }
}

/// The maps that the RPN reads: those that are pooled, and any behind them.
pub(super) fn maps<'a>(
    view: &View<'a>,
    outputs: &[[&'a str; 2]],
    pooled: &[&'a str],
) -> Result<Vec<&'a str>, Problem> {
    let convs = |which: usize| -> Result<Vec<&'a NodeProto>, Problem> {
        let conv = |pair: &[&'a str; 2]| {
            let value = view.behind(pair[which], &["Identity"]);
            view.made_by(value, &["Conv"], "logits or deltas of a map")
        };
        outputs.iter().map(conv).collect()
    };
    let maps = rpn::maps(view, &convs(0)?, &convs(1)?, pooled)?;
    if maps.get(..pooled.len()) == Some(pooled) {
        return Ok(maps);
    }
    Err(Problem::Outputs(format!(
        "the RPN reads {}, and regions are pooled from {}, which must be the first of them",
        maps.join(", "),
        pooled.join(", ")
    )))
}
