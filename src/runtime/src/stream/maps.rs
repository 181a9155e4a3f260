//! The maps of the trunk, and of the RPN, for blobs of one size, kept from frame to frame, of which a frame changes some areas.

use std::sync::Arc;

use frcnn_bundle::Graph;
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
/// Share of a graph's work from which the whole of it is run: windows overlap, and each is copied in and out.
const MOST: f64 = 0.7;

/// How a value is made.
#[derive(Debug)]
enum Work {
    /// The graph's input.
    Input,
    /// Weights and the like.
    Constant(TValue),
    /// By an operator of ours, on windows.
    Windows(Box<dyn Windowed>),
    /// By an operator that makes each cell of cells of the same place, and of inputs of one cell.
    Cells(Box<dyn TypedOp>),
    /// By any other, which sees the whole of its inputs.
    Whole(Box<dyn TypedOp>),
}

/// A value of a graph.
#[derive(Debug)]
struct Value {
    work: Work,
    /// Positions of the values that it is made of.
    inputs: Vec<usize>,
    /// Rows and columns of those.
    sizes: Vec<[usize; 2]>,
    /// Rows and columns; one of each where it is no map.
    size: [usize; 2],
    channels: usize,
    bytes: usize,
    /// For each of its cells.
    work_of_cell: f64,
}

/// What is kept of a graph for an input of one size.
#[derive(Debug)]
pub(super) struct Maps {
    stage: &'static str,
    size: [usize; 2],
    values: Vec<Value>,
    input: usize,
    /// Whether the input is kept, too, and not somebody else's.
    keeps_input: bool,
    outputs: Vec<usize>,
    plan: Plan,
    /// The values that the plan gives, which are kept.
    given: Vec<usize>,
    recycled: Arc<Recycled>,
    kept: Vec<Option<TValue>>,
    resources: Resources,
    tract: Resources,
}

/// What is kept of the frames of one size.
#[derive(Debug, Default)]
pub(super) struct FrameMaps {
    /// Of the trunk, for each scale of the image.
    pub(super) trunk: Vec<Maps>,
    /// Of the RPN, for each of the trunk's maps.
    pub(super) rpn: Vec<Maps>,
}

/// What a frame has taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Updated {
    /// Of each map that the graph gives: cells whose values may have changed.
    pub(super) areas: Vec<Vec<Area>>,
    /// Share of the graph's work.
    pub(super) share: f64,
}

impl FrameMaps {
    /// For blobs of `sizes`, with at most `mib` MiB of maps.
    pub(super) fn new(model: &Model, sizes: &[[usize; 2]], mib: u32) -> Result<FrameMaps, Error> {
        let (resources, contents) = (&model.resources, model.contents());
        let mut drafts = Vec::with_capacity(sizes.len());
        for &[height, width] in sizes {
            model.trunk.check([height, width])?;
            drafts.push(Draft::new(resources, ("trunk", &contents.trunk), [height, width, 3])?);
        }
        if let Some(rpn) = &model.rpn {
            let maps: Vec<[usize; 3]> = drafts.iter().flat_map(Draft::given).collect();
            for map in maps {
                rpn.check(map)?;
                let draft = Draft::new(resources, ("rpn", &rpn.rpn().graph), map)?;
                drafts.push(Draft { keeps_input: false, ..draft });
            }
        }
        let keep = keep(&drafts, u64::from(mib) << 20);
        let maps = drafts.into_iter().zip(&keep).map(|(draft, keep)| draft.finish(resources, keep));
        let mut trunk: Vec<Maps> = maps.collect::<Result<_, Error>>()?;
        let rpn = trunk.split_off(sizes.len());
        Ok(FrameMaps { trunk, rpn })
    }

    /// Whether they are those of such blobs.
    pub(super) fn are_of(&self, sizes: &[[usize; 2]]) -> bool {
        self.trunk.iter().map(Maps::size).eq(sizes.iter().copied())
    }

    /// Bytes of the maps that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.trunk.iter().chain(&self.rpn).map(Maps::bytes).sum()
    }
}

/// A graph for an input of one size, of which it is not decided yet what is kept.
struct Draft<'a> {
    stage: &'static str,
    graph: &'a Graph,
    fusion: Fusion,
    /// Rows, columns and channels.
    shape: [usize; 3],
    keeps_input: bool,
    values: Vec<Value>,
    /// What operators give, of which any could be kept, by the graph's numbers; the graph's outputs come last.
    candidates: Vec<u32>,
    /// The same as positions of values.
    nodes: Vec<usize>,
    input: usize,
}

impl<'a> Draft<'a> {
    fn new(
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
    fn given(&self) -> Vec<[usize; 3]> {
        let outputs = self.outputs().iter().filter_map(|&value| self.values.get(value));
        outputs.map(|value| [value.size[0], value.size[1], value.channels]).collect()
    }

    fn finish(self, resources: &Resources, keep: &[bool]) -> Result<Maps, Error> {
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

impl Maps {
    pub(super) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Bytes of the maps that are kept.
    pub(super) fn bytes(&self) -> usize {
        let input = self.keeps_input.then_some(&self.input);
        let values = input.into_iter().chain(&self.given).filter_map(|&value| self.values.get(value));
        values.map(|value| value.bytes).sum()
    }

    /// All maps of a new input, which `fill` writes.
    pub(super) fn run(&mut self, fill: impl FnOnce(&mut [f32]) -> TractResult<()>) -> Result<Updated, Error> {
        let error = Error::graph(self.stage);
        let [height, width] = self.size;
        let input = match self.start_anew() {
            Some(mut tensor) => {
                let mut plain = tensor.try_as_plain_ram_mut().map_err(&error)?;
                fill(plain.as_slice_mut::<f32>().map_err(&error)?).map_err(&error)?;
                tensor.into_tvalue()
            }
            None => self.tract.make(&[1, height, width, 3], fill).map_err(&error)?,
        };
        self.run_plan(input)
    }

    /// All maps of an input that somebody else keeps.
    pub(super) fn run_on(&mut self, input: &FeatureMap) -> Result<Updated, Error> {
        self.start_anew();
        let updated = self.run_plan(input.tensor().clone());
        self.let_go_of_input();
        updated
    }

    /// So that who keeps it can write to it. A graph might give it as it is.
    fn let_go_of_input(&mut self) {
        if !self.outputs.contains(&self.input) {
            self.kept[self.input] = None;
        }
    }

    /// Lets go what was kept, so that what fails leaves nothing that is half of a frame. Gives the input.
    fn start_anew(&mut self) -> Option<Tensor> {
        let old = std::mem::take(&mut self.kept);
        self.kept = self.values.iter().map(|_| None).collect();
        let mut input = None;
        for (value, tensor) in old.into_iter().enumerate() {
            let Some(tensor) = tensor.map(IntoTensor::into_tensor) else { continue };
            if value == self.input { input = Some(tensor) } else { self.recycled.give(tensor) }
        }
        input
    }

    fn run_plan(&mut self, input: TValue) -> Result<Updated, Error> {
        let outputs = self.plan.run(input.clone())?;
        self.kept[self.input] = Some(input);
        for (&value, tensor) in self.given.iter().zip(outputs) {
            self.kept[value] = Some(tensor);
        }
        let outputs = self.outputs.iter().filter_map(|&value| self.values.get(value));
        Ok(Updated { areas: outputs.map(|value| vec![Area::whole(value.size)]).collect(), share: 1.0 })
    }

    /// Whether a frame has gone through.
    pub(super) fn is_ready(&self) -> bool {
        self.outputs.iter().all(|&value| self.kept.get(value).is_some_and(Option::is_some))
    }

    /// What the graph gives.
    pub(super) fn maps(&self) -> Result<Vec<FeatureMap>, Error> {
        let map = |&value: &usize| {
            let kept = self.kept.get(value).cloned().flatten();
            FeatureMap::of(kept.unwrap_or_else(|| Tensor::default().into_tvalue()))
        };
        self.outputs.iter().map(map).collect()
    }

    /// The share of the graph's work that is done anew if these areas of its input change, halos of what is not kept included.
    pub(super) fn share(&self, areas: &[Area]) -> TractResult<f64> {
        let mut areas_of: Vec<Vec<Area>> = Vec::with_capacity(self.values.len());
        let (mut work, mut all) = (0.0, 0.0);
        for (position, value) in self.values.iter().enumerate() {
            let changed = match value.work {
                Work::Input => areas.to_vec(),
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

    /// Brings all maps up to date after `areas` of the input have changed, which `fill` writes anew, one at a time. `None` where
    /// running the whole graph takes less.
    pub(super) fn update(
        &mut self,
        areas: &[Area],
        mut fill: impl FnMut(&Area, &mut [f32]) -> TractResult<()>,
    ) -> Result<Option<Updated>, Error> {
        let error = Error::graph(self.stage);
        self.update_with(areas, |input| {
            let mut tensor = input.context("an input")?.into_tensor();
            let mut plain = tensor.try_as_plain_ram_mut()?;
            for area in areas {
                fill(area, plain.as_slice_mut::<f32>()?)?;
            }
            Ok(tensor.into_tvalue())
        })
        .map_err(error)
    }

    /// The same after `areas` of an input have changed that somebody else keeps.
    pub(super) fn update_on(&mut self, input: &FeatureMap, areas: &[Area]) -> Result<Option<Updated>, Error> {
        let updated = self.update_with(areas, |_| Ok(input.tensor().clone()));
        self.let_go_of_input();
        updated.map_err(Error::graph(self.stage))
    }

    /// The same; `renew` makes the new input of the old one.
    fn update_with(
        &mut self,
        areas: &[Area],
        renew: impl FnOnce(Option<TValue>) -> TractResult<TValue>,
    ) -> TractResult<Option<Updated>> {
        let share = self.share(areas)?;
        if !self.is_ready() || share > MOST {
            return Ok(None);
        }
        let mut kept = std::mem::take(&mut self.kept);
        self.kept = self.values.iter().map(|_| None).collect();
        kept[self.input] = Some(renew(kept[self.input].take())?);
        let areas = self.bring_up_to_date(&mut kept, areas)?;
        self.kept = kept;
        Ok(Some(Updated { areas, share }))
    }

    /// Gives what has changed of each output.
    fn bring_up_to_date(&self, kept: &mut [Option<TValue>], areas: &[Area]) -> TractResult<Vec<Vec<Area>>> {
        let mut areas_of: Vec<Vec<Area>> = Vec::with_capacity(self.values.len());
        for (position, value) in self.values.iter().enumerate() {
            let mut changed = match value.work {
                Work::Input => areas.to_vec(),
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
        let of_output = |&value: &usize| areas_of.get(value).cloned().unwrap_or_default();
        Ok(self.outputs.iter().map(of_output).collect())
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
            Work::Input | Work::Constant(_) => bail!("a value that is always kept"),
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
        !matches!(self.work, Work::Input | Work::Constant(_))
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
            Work::Input | Work::Constant(_) => bail!("a value that is always kept"),
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
            (Work::Input, 0.0)
        } else if let Some(op) = windowed(op, &sizes)? {
            let total = op.work(&sizes);
            (Work::Windows(op), total)
        } else if is_of_cells(op, shape) {
            (Work::Cells(node.op.clone()), 4.0 * len as f64)
        } else {
            (Work::Whole(node.op.clone()), 16.0 * len as f64)
        };
        let bytes = len * fact.datum_type.size_of();
        let work_of_cell = total / cells.max(1) as f64;
        let channels = len / cells.max(1);
        values.push(Value { work, inputs, sizes, size, channels, bytes, work_of_cell });
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

/// Which of each draft's candidates are kept within a budget of bytes: outputs always, others as they spare work.
fn keep(drafts: &[Draft<'_>], budget: u64) -> Vec<Vec<bool>> {
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
