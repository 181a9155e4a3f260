//! A graph before it is decided which of its maps are kept, and that decision, within a budget of memory.

use std::sync::Arc;

use frcnn_bundle::Graph;
use tract_core::internal::*;

use super::values::{Value, Work, values_of};
use super::{MOST, Maps};
use crate::Error;
use crate::area::Area;
use crate::fusion::{Fusion, Step};
use crate::ops::{Readers, Recycled, Resources};
use crate::plan::Plan;
use crate::raise::{raise, readers};

/// A graph for an input of one size, of which it is not decided yet what is kept.
pub(super) struct Draft<'a> {
    stage: &'static str,
    graph: &'a Graph,
    fusion: Fusion,
    /// Rows, columns and channels.
    shape: [usize; 3],
    pub(super) keeps_input: bool,
    values: Vec<Value>,
    /// What operators give, of which any could be kept, by the graph's numbers; the graph's outputs come last.
    candidates: Vec<u32>,
    /// The same as positions of values.
    nodes: Vec<usize>,
    input: usize,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        resources: &Resources,
        (stage, graph): (&'static str, &'a Graph),
        shape: [usize; 3],
    ) -> Result<Draft<'a>, Error> {
        let fusion = Fusion::new(graph, &graph.outputs, &resources.weights.plans);
        let is_output = |layer: usize| {
            let mut makers = graph.outputs.iter().filter_map(|&value| (value as usize).checked_sub(1));
            makers.any(|maker| fusion.operator(maker) == layer)
        };
        let operators =
            (0..graph.layers.len()).filter(|&layer| !matches!(fusion.step(layer), Step::Within(_)));
        let others = operators.filter(|&layer| !is_output(layer)).map(|layer| layer as u32 + 1);
        let candidates: Vec<u32> = others.chain(graph.outputs.iter().copied()).collect();
        let error = Error::graph(stage);
        let all = readers(graph, &fusion, &candidates, Readers::Kernels);
        let input = Draft::input(shape);
        let model = raise(graph, &fusion, &input, &candidates, all, resources, SymbolScope::default())
            .and_then(|model| model.into_optimized())
            .map_err(&error)?;
        let (values, outlets) = values_of(&model).map_err(&error)?;
        let position = |outlet: &OutletId| outlets.iter().position(|known| known == outlet);
        let nodes: Option<Vec<usize>> =
            model.output_outlets().map_err(&error)?.iter().map(position).collect();
        let nodes = nodes.ok_or_else(|| error(format_err!("an output that no operator gives")))?;
        let input = values.iter().position(|value| matches!(value.work, Work::Input)).unwrap_or(0);
        Ok(Draft { stage, graph, fusion, shape, keeps_input: true, values, candidates, nodes, input })
    }

    fn input(shape: [usize; 3]) -> Vec<TDim> {
        [1].into_iter().chain(shape).map(|side| side.to_dim()).collect()
    }

    /// The values that the graph gives.
    fn outputs(&self) -> &[usize] {
        let others = self.nodes.len() - self.graph.outputs.len().min(self.nodes.len());
        self.nodes.get(others..).unwrap_or_default()
    }

    /// Rows, columns and channels of what the graph gives.
    pub(super) fn given(&self) -> Vec<[usize; 3]> {
        let outputs = self.outputs().iter().filter_map(|&value| self.values.get(value));
        outputs.map(|value| [value.size[0], value.size[1], value.channels]).collect()
    }

    pub(super) fn finish(self, resources: &Resources, keep: &[bool]) -> Result<Maps, Error> {
        let outputs = self.outputs().to_vec();
        let Draft { stage, graph, fusion, shape, keeps_input, values, candidates, nodes, input } = self;
        let recycled = Arc::new(Recycled::default());
        let of_stream = resources.of_stream(recycled.clone());
        let shape_of_input = Draft::input(shape);
        let make = |keep: &[bool]| {
            let kept = candidates.iter().zip(&nodes).zip(keep).filter(|(_, keep)| **keep);
            let (wanted, given): (Vec<u32>, Vec<usize>) = kept.map(|((v, node), _)| (*v, *node)).unzip();
            let wanted = (&wanted[..], Readers::Stream);
            let symbols = SymbolScope::default();
            let plan = Plan::new(stage, graph, &fusion, &shape_of_input, wanted, &of_stream, symbols)?;
            Ok::<_, Error>((given, plan))
        };
        let (given, plan) = make(keep)?;
        let mut maps = Maps {
            stage,
            size: [shape[0], shape[1]],
            kept: values.iter().map(|_| None).collect(),
            values,
            input,
            keeps_input,
            outputs,
            plan,
            given,
            recycled,
            resources: resources.read_by(Readers::Kernels),
            tract: resources.read_by(Readers::Tract),
        };
        // Where even one cell in a corner has most of it made anew, maps in between spare nothing, and cost the time to write them.
        let corner = Area::new(0..1, 0..1);
        if maps.share(&[corner]).map_err(Error::graph(stage))? > MOST {
            let last: Vec<bool> = nodes.iter().map(|node| maps.outputs.contains(node)).collect();
            (maps.given, maps.plan) = make(&last)?;
        }
        Ok(maps)
    }
}

/// Which of each draft's candidates are kept within a budget of bytes: outputs always, others as they spare work.
pub(super) fn keep(drafts: &[Draft<'_>], budget: u64) -> Vec<Vec<bool>> {
    let bytes =
        |draft: &Draft<'_>, position: usize| draft.values.get(position).map_or(0, |value| value.bytes as u64);
    // Operators that work cell by cell make anew no more than is asked of them: what they alone read need not be kept.
    let is_read = |draft: &Draft<'_>, node: usize| {
        let by_cells = |value: &&Value| matches!(value.work, Work::Cells(_));
        draft.values.iter().filter(|value| value.inputs.contains(&node)).any(|value| !by_cells(&value))
    };
    let is_output = |draft: &Draft<'_>, node: usize| draft.outputs().contains(&node);
    let mut keep: Vec<Vec<bool>> = Vec::with_capacity(drafts.len());
    let mut total = 0;
    // What could go, with what its bytes spare: the work of what an object of a few cells would make anew.
    let mut order: Vec<(f64, usize, usize)> = Vec::new();
    for (number, draft) in drafts.iter().enumerate() {
        total += if draft.keeps_input { bytes(draft, draft.input) } else { 0 };
        let could = draft.nodes.iter().map(|&node| is_output(draft, node) || is_read(draft, node));
        let could: Vec<bool> = could.collect();
        for (i, &node) in draft.nodes.iter().enumerate() {
            let Some(value) = draft.values.get(node).filter(|_| could[i]) else { continue };
            total += value.bytes as u64;
            if !is_output(draft, node) {
                let work = value.work_of_cell * (value.size[0] * value.size[1]) as f64;
                order.push((work / (value.bytes as f64).max(1.0), number, i));
            }
        }
        keep.push(could);
    }
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, number, i) in order {
        if total <= budget {
            break;
        }
        keep[number][i] = false;
        total -= bytes(&drafts[number], drafts[number].nodes[i]);
    }
    keep
}
