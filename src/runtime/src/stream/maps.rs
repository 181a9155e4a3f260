//! The trunk's maps of one blob size, kept from frame to frame, of which a frame changes some areas.

use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::binary::{OptBinByScalar, OptBinUnicast, TypedBinOp};
use tract_core::ops::element_wise::ElementWiseOp;

use crate::Error;
use crate::area::{Area, merge};
use crate::fusion::{Fusion, Step};
use crate::model::Model;
use crate::ops::{
    BinaryOp, LrnOp, PointwiseOp, Readers, Recycled, Resources, Windowed, cut, paste, windowed,
};
use crate::plan::Plan;
use crate::raise::{raise, readers};
use crate::trunk::FeatureMap;

/// Cells by which the union of two areas may be larger than both: what one more run of a layer takes.
const SLACK: usize = 16;
/// Share of the trunk's work from which the whole of it is run: windows overlap, and each is copied in and out.
const MOST: f64 = 0.7;

/// How a value is made.
#[derive(Debug)]
enum Work {
    /// The blob.
    Blob,
    /// Weights and the like.
    Constant(TValue),
    /// By an operator of ours, on windows.
    Windows(Box<dyn Windowed>),
    /// By an operator that makes each cell of cells of the same place, and of inputs of one cell.
    Cells(Box<dyn TypedOp>),
    /// By any other, which sees the whole of its inputs.
    Whole(Box<dyn TypedOp>),
}

/// A value of the trunk.
#[derive(Debug)]
struct Value {
    work: Work,
    /// Positions of the values that it is made of.
    inputs: Vec<usize>,
    /// Rows and columns of those.
    sizes: Vec<[usize; 2]>,
    /// Rows and columns; one of each where it is no map.
    size: [usize; 2],
    bytes: usize,
    /// For each of its cells.
    work_of_cell: f64,
}

/// The maps.
#[derive(Debug)]
pub(super) struct Maps {
    size: [usize; 2],
    values: Vec<Value>,
    blob: usize,
    output: usize,
    plan: Plan,
    /// The values that the plan gives, which are kept.
    given: Vec<usize>,
    recycled: Arc<Recycled>,
    kept: Vec<Option<TValue>>,
    resources: Resources,
    tract: Resources,
}

/// What a frame has taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Updated {
    /// Of the map that the trunk gives: cells whose values may have changed.
    pub(super) areas: Vec<Area>,
    /// Share of the trunk's work.
    pub(super) share: f64,
}

impl Maps {
    /// For the blobs of one frame, each with its part of `mib` MiB of maps by its pixels.
    pub(super) fn of_scales(model: &Model, sizes: &[[usize; 2]], mib: u32) -> Result<Vec<Maps>, Error> {
        let pixels = |[height, width]: [usize; 2]| height.saturating_mul(width) as f64;
        let all: f64 = sizes.iter().copied().map(pixels).sum();
        let budget = |size| ((u64::from(mib) << 20) as f64 * pixels(size) / all.max(1.0)) as u64;
        sizes.iter().map(|&size| Maps::new(model, size, budget(size))).collect()
    }

    /// For blobs of `size`, with at most so many bytes of maps.
    pub(super) fn new(model: &Model, size: [usize; 2], budget: u64) -> Result<Maps, Error> {
        let resources = &model.resources;
        let graph = &resources.network.contents.trunk;
        let [height, width] = size;
        model.trunk.check(size)?;
        let fusion = Fusion::new(graph, &graph.outputs, &resources.weights.plans);
        // What operators give, of which any could be kept.
        let last = graph.outputs.first().copied().unwrap_or(0);
        let output = (last as usize).checked_sub(1).map(|layer| fusion.operator(layer));
        let operators =
            (0..graph.layers.len()).filter(|&layer| !matches!(fusion.step(layer), Step::Within(_)));
        let others = operators.filter(|&layer| Some(layer) != output);
        let candidates: Vec<u32> = others.map(|layer| layer as u32 + 1).chain([last]).collect();
        let input = [1, height, width, 3].map(|side| side.to_dim());
        let error = Error::graph("trunk");
        let all = readers(graph, &fusion, &candidates, Readers::Kernels);
        let model = raise(graph, &fusion, &input, &candidates, all, resources, SymbolScope::default())
            .and_then(|model| model.into_optimized())
            .map_err(&error)?;
        let (values, outlets) = values_of(&model).map_err(&error)?;
        let position = |outlet: &OutletId| outlets.iter().position(|known| known == outlet);
        let nodes: Option<Vec<usize>> =
            model.output_outlets().map_err(&error)?.iter().map(position).collect();
        let nodes = nodes.ok_or_else(|| error(format_err!("an output that no operator gives")))?;
        let output = nodes.last().copied().unwrap_or(0);
        let blob = values.iter().position(|value| matches!(value.work, Work::Blob)).unwrap_or(0);

        let keep = keep(&values, &nodes, (blob, output), budget);
        let wanted: Vec<u32> =
            candidates.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(v, _)| *v).collect();
        let given = nodes.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(node, _)| *node).collect();
        let recycled = Arc::new(Recycled::default());
        let of_stream = resources.of_stream(recycled.clone());
        let outputs = (&wanted[..], Readers::Stream);
        let plan = Plan::new("trunk", graph, &fusion, &input, outputs, &of_stream, SymbolScope::default())?;
        let kept = values.iter().map(|_| None).collect();
        let tract = resources.read_by(Readers::Tract);
        let resources = resources.read_by(Readers::Kernels);
        Ok(Maps { size, values, blob, output, plan, given, recycled, kept, resources, tract })
    }

    pub(super) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Bytes of the maps that are kept.
    pub(super) fn bytes(&self) -> usize {
        [self.blob]
            .iter()
            .chain(&self.given)
            .filter_map(|&value| self.values.get(value))
            .map(|v| v.bytes)
            .sum()
    }

    /// All maps of a new blob, which `fill` writes.
    pub(super) fn run(&mut self, fill: impl FnOnce(&mut [f32]) -> TractResult<()>) -> Result<Updated, Error> {
        let error = Error::graph("trunk");
        // Until the end, so that what fails leaves nothing that is half of a frame.
        let old = std::mem::take(&mut self.kept);
        self.kept = self.values.iter().map(|_| None).collect();
        let [height, width] = self.size;
        let mut blob = None;
        for (value, tensor) in old.into_iter().enumerate() {
            let Some(tensor) = tensor.map(IntoTensor::into_tensor) else { continue };
            if value == self.blob { blob = Some(tensor) } else { self.recycled.give(tensor) }
        }
        let blob = match blob {
            Some(mut tensor) => {
                let mut plain = tensor.try_as_plain_ram_mut().map_err(&error)?;
                fill(plain.as_slice_mut::<f32>().map_err(&error)?).map_err(&error)?;
                tensor.into_tvalue()
            }
            None => self.tract.make(&[1, height, width, 3], fill).map_err(&error)?,
        };
        let outputs = self.plan.run(blob.clone())?;
        let output = self.values.get(self.output).map_or([0, 0], |value| value.size);
        self.kept[self.blob] = Some(blob);
        for (&value, tensor) in self.given.iter().zip(outputs) {
            self.kept[value] = Some(tensor);
        }
        Ok(Updated { areas: vec![Area::whole(output)], share: 1.0 })
    }

    /// Whether a frame has gone through.
    pub(super) fn is_ready(&self) -> bool {
        self.kept.get(self.output).is_some_and(Option::is_some)
    }

    /// What the trunk gives.
    pub(super) fn map(&self) -> Result<FeatureMap, Error> {
        let tensor =
            self.kept.get(self.output).cloned().flatten().unwrap_or_else(|| Tensor::default().into_tvalue());
        FeatureMap::of(tensor)
    }

    /// The share of the trunk's work that is done anew if these areas of the blob change, halos of what is not kept included.
    pub(super) fn share(&self, areas: &[Area]) -> TractResult<f64> {
        let mut areas_of: Vec<Vec<Area>> = Vec::with_capacity(self.values.len());
        let (mut work, mut all) = (0.0, 0.0);
        for (position, value) in self.values.iter().enumerate() {
            let changed = match value.work {
                Work::Blob => areas.to_vec(),
                _ => value.changed(&areas_of)?,
            };
            all += value.work_of_cell * (value.size[0] * value.size[1]) as f64;
            if self.is_kept(position) && value.is_computed() {
                for area in &changed {
                    for (value, need) in self.values.iter().zip(self.needs(position, area)?) {
                        work += need.map_or(0.0, |need| value.work_of_cell * need.area.cells() as f64);
                    }
                }
            }
            areas_of.push(changed);
        }
        Ok(if all > 0.0 { work / all } else { 0.0 })
    }

    /// Brings all maps up to date after `areas` of the blob have changed, which `fill` writes anew, one at a time. `None` where
    /// running the whole trunk takes less.
    pub(super) fn update(
        &mut self,
        areas: &[Area],
        mut fill: impl FnMut(&Area, &mut [f32]) -> TractResult<()>,
    ) -> Result<Option<Updated>, Error> {
        let error = Error::graph("trunk");
        let share = self.share(areas).map_err(&error)?;
        if !self.is_ready() || share > MOST {
            return Ok(None);
        }
        let mut kept = std::mem::take(&mut self.kept);
        self.kept = self.values.iter().map(|_| None).collect();
        let areas = self.bring_up_to_date(&mut kept, areas, &mut fill).map_err(&error)?;
        self.kept = kept;
        Ok(Some(Updated { areas, share }))
    }

    fn bring_up_to_date(
        &self,
        kept: &mut [Option<TValue>],
        areas: &[Area],
        fill: &mut dyn FnMut(&Area, &mut [f32]) -> TractResult<()>,
    ) -> TractResult<Vec<Area>> {
        let mut areas_of: Vec<Vec<Area>> = Vec::with_capacity(self.values.len());
        for (position, value) in self.values.iter().enumerate() {
            let mut changed = match value.work {
                Work::Blob => {
                    let mut blob = kept[position].take().context("a blob")?.into_tensor();
                    let mut plain = blob.try_as_plain_ram_mut()?;
                    for area in areas {
                        fill(area, plain.as_slice_mut::<f32>()?)?;
                    }
                    kept[position] = Some(blob.into_tvalue());
                    areas.to_vec()
                }
                _ => value.changed(&areas_of)?,
            };
            if value.is_computed() && self.is_kept(position) {
                let mut new = Vec::with_capacity(changed.len());
                for area in &changed {
                    let piece = self.make(kept, position, area)?;
                    let mut whole = kept[position].take().context("a kept map")?.into_tensor();
                    new.push(paste(&piece.tensor, &piece.area, &mut whole)?);
                    kept[position] = Some(whole.into_tvalue());
                }
                merge(&mut new, SLACK);
                changed = new;
            }
            areas_of.push(changed);
        }
        Ok(areas_of.into_iter().nth(self.output).unwrap_or_default())
    }

    /// Whether the whole of a value is there from frame to frame.
    fn is_kept(&self, position: usize) -> bool {
        let always = self.values.get(position).is_some_and(|value| !value.is_computed());
        always || self.given.contains(&position)
    }

    /// What has to be made for `area` of the value at `position`: of this one, and of those before it that are not kept, each once
    /// for all that read it.
    fn needs(&self, position: usize, area: &Area) -> TractResult<Vec<Option<Need>>> {
        let mut wanted: Vec<Option<Area>> = vec![None; position + 1];
        let mut needs: Vec<Option<Need>> = wanted.iter().map(|_| None).collect();
        wanted[position] = Some(area.clone());
        for at in (0..=position).rev() {
            let (Some(area), Some(value)) = (wanted[at].take(), self.values.get(at)) else { continue };
            let need = value.need(area)?;
            for (&input, read) in value.inputs.iter().zip(&need.reads) {
                if !self.is_kept(input) {
                    let wanted = wanted.get_mut(input).context("a value of a later one")?;
                    *wanted = Some(wanted.take().map_or_else(|| read.clone(), |known| known.union(read)));
                }
            }
            needs[at] = Some(need);
        }
        Ok(needs)
    }

    /// Makes some cells of a value, at least those asked for.
    fn make(&self, kept: &[Option<TValue>], position: usize, area: &Area) -> TractResult<Piece> {
        let mut pieces: Vec<Option<Piece>> = Vec::with_capacity(position + 1);
        for (at, need) in self.needs(position, area)?.into_iter().enumerate() {
            let piece = need.map(|need| self.make_one(kept, &pieces, at, need)).transpose()?;
            pieces.push(piece);
        }
        pieces.pop().flatten().context("what was asked for")
    }

    /// Makes what is needed of one value. `pieces` are those of the values before it that are not kept.
    fn make_one(
        &self,
        kept: &[Option<TValue>],
        pieces: &[Option<Piece>],
        position: usize,
        Need { area, reads }: Need,
    ) -> TractResult<Piece> {
        let value = self.values.get(position).context("no such value")?;
        let resources = match value.work {
            Work::Windows(_) => &self.resources,
            _ => &self.tract,
        };
        let mut inputs = Vec::with_capacity(reads.len());
        for (&input, read) in value.inputs.iter().zip(&reads) {
            let of = self.values.get(input).context("no such value")?;
            let whole = Area::whole(of.size);
            let (place, tensor) = match (&of.work, kept.get(input), pieces.get(input)) {
                (Work::Constant(tensor), ..) | (_, Some(Some(tensor)), _) => (&whole, tensor),
                (_, _, Some(Some(piece))) => (&piece.area, &piece.tensor),
                _ => bail!("a value that is neither kept nor made"),
            };
            inputs.push(cut(resources, (place, tensor), read)?);
        }
        let tensor = match &value.work {
            Work::Windows(op) => op.give(&value.sizes, &area, &inputs)?,
            Work::Cells(op) | Work::Whole(op) => {
                let given = op.eval_out_of_plan(inputs.into())?;
                given.and_then(|mut given| given.pop()).context("an operator that runs in plans alone")?
            }
            Work::Blob | Work::Constant(_) => bail!("a value that is always kept"),
        };
        Ok(Piece { area, tensor })
    }
}

/// What is made of a value, and what that reads of each of its inputs.
struct Need {
    area: Area,
    reads: Vec<Area>,
}

/// Some cells of a value.
struct Piece {
    area: Area,
    tensor: TValue,
}

impl Value {
    fn is_computed(&self) -> bool {
        !matches!(self.work, Work::Blob | Work::Constant(_))
    }

    /// What changes of it if so much of each value before it does.
    fn changed(&self, areas_of: &[Vec<Area>]) -> TractResult<Vec<Area>> {
        let mut changed = Vec::new();
        for (i, &input) in self.inputs.iter().enumerate() {
            for area in areas_of.get(input).map_or(&[][..], Vec::as_slice) {
                changed.push(match &self.work {
                    Work::Windows(op) => op.seeing(i, &self.sizes, area)?,
                    Work::Cells(_) if self.sizes.get(i) == Some(&self.size) => area.clone(),
                    _ => Area::whole(self.size),
                });
            }
        }
        for area in &mut changed {
            *area = self.computed(area)?;
        }
        merge(&mut changed, SLACK);
        Ok(changed)
    }

    /// What making `area` of it takes; the area grown to what is computed together.
    fn need(&self, area: Area) -> TractResult<Need> {
        let whole = || self.sizes.iter().map(|&size| Area::whole(size)).collect();
        let (area, reads) = match &self.work {
            Work::Windows(op) => op.window(&self.sizes, &area)?,
            Work::Cells(_) => {
                let read =
                    |&size: &[usize; 2]| if size == self.size { area.clone() } else { Area::whole(size) };
                let reads = self.sizes.iter().map(read).collect();
                (area, reads)
            }
            Work::Whole(_) => (Area::whole(self.size), whole()),
            Work::Blob | Work::Constant(_) => bail!("a value that is always kept"),
        };
        Ok(Need { area, reads })
    }

    /// The area grown to what is computed together.
    fn computed(&self, area: &Area) -> TractResult<Area> {
        match &self.work {
            Work::Windows(op) if !area.is_empty() => Ok(op.window(&self.sizes, area)?.0),
            Work::Whole(_) => Ok(Area::whole(self.size)),
            _ => Ok(area.clone()),
        }
    }
}

/// The values of a model in an order in which each comes after those that it is made of, and their outlets.
fn values_of(model: &TypedModel) -> TractResult<(Vec<Value>, Vec<OutletId>)> {
    let mut values: Vec<Value> = Vec::new();
    let mut outlets: Vec<OutletId> = Vec::new();
    for node in model.eval_order()? {
        let node = model.node(node);
        ensure!(node.outputs.len() == 1, "an operator of several outputs");
        let fact = model.outlet_fact(OutletId::new(node.id, 0))?;
        let shape = fact.shape.as_concrete().context("a value of no fixed size")?;
        let size_of = |shape: &[usize]| match shape {
            &[1, height, width, _] => [height, width],
            _ => [1, 1],
        };
        let size = size_of(shape);
        let mut inputs = Vec::new();
        let mut sizes = Vec::new();
        for input in &node.inputs {
            let position =
                outlets.iter().position(|known| known == input).context("a value of a later one")?;
            inputs.push(position);
            sizes.push(values[position].size);
        }
        let cells: usize = size[0] * size[1];
        let len: usize = shape.iter().product();
        let op = &*node.op;
        let (work, total) = if let Some(constant) = &fact.konst {
            (Work::Constant(constant.clone().into_tvalue()), 0.0)
        } else if node.inputs.is_empty() {
            (Work::Blob, 0.0)
        } else if let Some(op) = windowed(op, &sizes)? {
            let total = op.work(&sizes);
            (Work::Windows(op), total)
        } else if is_of_cells(op, shape) {
            (Work::Cells(node.op.clone()), 4.0 * len as f64)
        } else {
            (Work::Whole(node.op.clone()), 16.0 * len as f64)
        };
        let bytes = len * fact.datum_type.size_of();
        values.push(Value { work, inputs, sizes, size, bytes, work_of_cell: total / cells.max(1) as f64 });
        outlets.push(OutletId::new(node.id, 0));
    }
    Ok((values, outlets))
}

/// Whether an operator makes each cell of a map of cells of the same place.
fn is_of_cells(op: &dyn TypedOp, shape: &[usize]) -> bool {
    let rank = shape.len() == 4;
    rank && (op.is::<LrnOp>()
        || op.is::<PointwiseOp>()
        || op.is::<BinaryOp>()
        || op.is::<ElementWiseOp>()
        || op.is::<TypedBinOp>()
        || op.is::<OptBinByScalar>()
        || op.is::<OptBinUnicast>()
        || op.downcast_ref::<TypedConcat>().is_some_and(|concat| concat.axis == 3))
}

/// Which of the values `nodes` are kept within a budget: the output always, others as they spare work.
fn keep(values: &[Value], nodes: &[usize], (blob, output): (usize, usize), budget: u64) -> Vec<bool> {
    let bytes = |position: usize| values.get(position).map_or(0, |value| value.bytes as u64);
    // Operators that work cell by cell make anew no more than is asked of them: what they alone read need not be kept.
    let is_read = |node: usize| {
        let by_cells = |value: &&Value| matches!(value.work, Work::Cells(_));
        values.iter().filter(|value| value.inputs.contains(&node)).any(|value| !by_cells(&value))
    };
    let mut keep: Vec<bool> = nodes.iter().map(|&node| node == output || is_read(node)).collect();
    let kept = nodes.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(&node, _)| bytes(node));
    let mut total = bytes(blob) + kept.sum::<u64>();
    // Those go first whose bytes spare least work: what an object of a few cells would make anew.
    let mut order: Vec<usize> = (0..nodes.len()).filter(|&i| keep[i] && nodes[i] != output).collect();
    let spared = |i: &usize| {
        let value = &values[nodes[*i]];
        value.work_of_cell * (value.size[0] * value.size[1]) as f64 / (value.bytes as f64).max(1.0)
    };
    order.sort_by(|a, b| spared(a).total_cmp(&spared(b)));
    for i in order {
        if total <= budget {
            break;
        }
        keep[i] = false;
        total -= bytes(nodes[i]);
    }
    keep
}
