//! Where a trunk ends and an RPN's head begins.

use tract_onnx::pb::NodeProto;

use crate::error::Problem;
use crate::view::{View, input, not_understood};

/// The maps that the RPN's head reads, which is the same for all.
pub(crate) fn maps<'a>(
    view: &View<'a>,
    logits: &[&'a NodeProto],
    deltas: &[&'a NodeProto],
    pooled: &[&'a str],
) -> Result<Vec<&'a str>, Problem> {
    let heads: Vec<Head> =
        logits.iter().zip(deltas).map(|(l, d)| Head::of(view, l, d)).collect::<Result<_, _>>()?;
    // A pooled map tells where the trunk ends.
    let depth = heads.iter().find_map(|head| head.depth_of(pooled));
    let Some((first, depth)) = heads.first().zip(depth) else {
        let node = logits.first().ok_or_else(|| Problem::Outputs("the RPN reads no map".to_string()))?;
        return Err(not_understood(node, "the RPN reads none of the maps that regions are pooled from"));
    };
    let mut maps = Vec::new();
    for head in &heads {
        maps.push(head.map(view, first, depth)?);
    }
    Ok(maps)
}

/// The RPN's head on one map.
struct Head<'a> {
    outputs: [&'a NodeProto; 2],
    /// The layers before the outputs, the last one first, on into the trunk.
    layers: Vec<&'a NodeProto>,
}

/// What a head is made of, but for its outputs.
const HEAD: [&str; 6] = ["Conv", "Relu", "LeakyRelu", "BatchNormalization", "Clip", "HardSwish"];

impl<'a> Head<'a> {
    fn of(view: &View<'a>, logits: &'a NodeProto, deltas: &'a NodeProto) -> Result<Head<'a>, Problem> {
        if input(logits, 0) != input(deltas, 0) {
            return Err(not_understood(deltas, "it does not read what gives the logits"));
        }
        let mut layers = Vec::new();
        let mut value = input(logits, 0);
        while let Some(node) = view.maker(value).filter(|node| HEAD.contains(&&*node.op_type)) {
            layers.push(node);
            value = input(node, 0);
        }
        Ok(Head { outputs: [logits, deltas], layers })
    }

    /// What the layer `depth` before the outputs reads.
    fn read(&self, depth: usize) -> Option<&'a str> {
        match depth.checked_sub(1) {
            None => Some(input(self.outputs[0], 0)),
            Some(last) => self.layers.get(last).map(|node| input(node, 0)),
        }
    }

    /// How many layers it has if it reads one of these maps.
    fn depth_of(&self, maps: &[&str]) -> Option<usize> {
        (0..=self.layers.len()).find(|&depth| self.read(depth).is_some_and(|read| maps.contains(&read)))
    }

    /// The map that it reads, if it does with it what `first` does with another.
    fn map(&self, view: &View<'a>, first: &Head<'a>, depth: usize) -> Result<&'a str, Problem> {
        let ours = self.outputs.iter().chain(self.layers.iter().take(depth));
        let theirs = first.outputs.iter().chain(first.layers.iter().take(depth));
        for (ours, theirs) in ours.zip(theirs) {
            let weights = ours.input.iter().zip(&theirs.input).skip(1);
            let same = ours.op_type == theirs.op_type
                && ours.attribute == theirs.attribute
                && ours.input.len() == theirs.input.len()
                && weights.into_iter().all(|(ours, theirs)| view.same_weights(ours, theirs));
            if !same {
                return Err(not_understood(ours, "the RPN's head is not the same on all maps"));
            }
        }
        self.read(depth)
            .ok_or_else(|| not_understood(self.outputs[0], "the RPN's head is not the same on all maps"))
    }
}
