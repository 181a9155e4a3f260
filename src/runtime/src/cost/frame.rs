//! What the maps and scratch of a frame come to: its way through trunk and head, as operators take buffers and give them back.
//!
//! The same layers are fused, and the same [`Shelf`] says which buffer serves, as when a detector runs. Operators run here in the
//! order of the bundle's layers; tract may take branches in another order, by which fewer values are alive at once.

use frcnn_bundle::{Contents, Error, Gemm, Graph, Layer, Op, Regions, Shape};
use frcnn_kernels::{
    ConvAlgorithm, Cpu, FusedShape, PooledIn, PreparedLinear, Quantization, strip_scratch_lens,
};

use super::{outputs, shapes, times};
use crate::crops::{HEAD_BATCH, TRUNK_BATCH};
use crate::fusion::{Fusion, Step};
use crate::head::CHUNK_ROWS;
use crate::head_parts::{HeadParts, Linear};
use crate::ops::{ConvPlans, Readers, Shelf, Taken, buffer_len, conv_shape, pool_shape};
use crate::pooling::Pooling;
use crate::raise::{readers, runs_on_kernels};

/// Frames of one kind after which buffers are as they stay.
const FRAMES: usize = 3;

/// Bytes of maps and scratch, at most, of frames whose blobs have these rows and columns, and of so many RoIs.
pub(super) fn frame_bytes(
    contents: &Contents,
    plans: &ConvPlans,
    blobs: &[[usize; 2]],
    rois: usize,
    threads: usize,
) -> Result<u64, Error> {
    let trunk = GraphRun::new(&contents.trunk, &contents.trunk.outputs, Readers::Frame, plans);
    let mut memory = Memory { threads, ..Memory::default() };
    let trunk_map = |values: &[Shape]| {
        let output = contents.trunk.outputs.first().and_then(|&value| values.get(value as usize));
        output.copied().unwrap_or(Shape::Flat { features: 0 })
    };
    match contents.regions {
        Regions::RoiPooling(_) | Regions::RoiAlign(_) => {
            let blobs = blobs
                .iter()
                .map(|&[height, width]| shapes(&contents.trunk, Shape::Map { height, width, channels: 3 }));
            let blobs = blobs.collect::<Result<Vec<_>, Error>>()?;
            let map = blobs.last().map_or(Shape::Flat { features: 0 }, |values| trunk_map(values));
            let pooled = contents.pooled_maps();
            let all: Vec<Shape> = blobs.iter().flat_map(|values| outputs(&contents.trunk, values)).collect();
            // Of each scale of the image one, or of the one scale those of the pyramid.
            let maps: Vec<[usize; 2]> = match contents.regions {
                Regions::RoiAlign(_) => all.iter().take(pooled).map(|&map| size(map)).collect(),
                _ => blobs.iter().map(|values| size(trunk_map(values))).collect(),
            };
            let rpn = match &contents.rpn {
                Some(rpn) => Some(RpnRun::new(&rpn.graph, &all, plans)?),
                None => None,
            };
            let judge = contents.cascade.as_ref().map(|cascade| &cascade.judge);
            let judge = judge.map(|judge| HeadRun::new(contents, judge, map, plans)).transpose()?;
            let head = HeadRun::new(contents, &contents.head, map, plans)?;
            for _ in 0..FRAMES {
                let held: Vec<Held> =
                    blobs.iter().flat_map(|values| trunk.run_on_new_input(&mut memory, values, 1)).collect();
                if let Some(rpn) = &rpn {
                    rpn.run(&mut memory);
                }
                for head in judge.iter().chain([&head]) {
                    head.run(&mut memory, rois, Some(&maps));
                }
                held.into_iter().for_each(|map| memory.release(map));
                memory.shelf.end_frame(1);
            }
        }
        Regions::Warp(warp) => {
            let side = warp.side as usize;
            let values = shapes(&contents.trunk, Shape::Map { height: side, width: side, channels: 3 })?;
            let head = HeadRun::new(contents, &contents.head, trunk_map(&values), plans)?;
            for _ in 0..FRAMES {
                for regions in whole_and_rest(rois, HEAD_BATCH) {
                    for batch in whole_and_rest(regions, TRUNK_BATCH) {
                        let maps = trunk.run_on_new_input(&mut memory, &values, batch);
                        maps.into_iter().for_each(|map| memory.release(map));
                    }
                    head.run(&mut memory, regions, None);
                }
                memory.shelf.end_frame(1);
            }
        }
    }
    Ok(memory.most)
}

/// Rows and columns of a map.
fn size(shape: Shape) -> [usize; 2] {
    match shape {
        Shape::Map { height, width, .. } => [height, width],
        Shape::Flat { .. } => [0; 2],
    }
}

/// How many of `count` are taken at a time, `at_once` if there are as many, and how many are left for the last time.
fn whole_and_rest(count: usize, at_once: usize) -> impl Iterator<Item = usize> {
    [count.min(at_once), if count > at_once { count % at_once } else { 0 }]
        .into_iter()
        .filter(|&count| count > 0)
}

/// Memory in use.
#[derive(Default)]
struct Memory {
    shelf: Shelf<()>,
    /// Bytes of what the operators of tract's allocate, and kernels for themselves.
    others: u64,
    most: u64,
    threads: usize,
}

/// What holds a value.
#[derive(Clone, Copy)]
enum Held {
    /// A buffer of this length.
    Buffer(usize),
    /// Bytes of tract's.
    Tract(u64),
}

impl Memory {
    fn buffer(&mut self, len: usize, lasting: bool) -> Held {
        let len = match self.shelf.take(len, lasting) {
            Taken::Idle(len, ()) => len,
            Taken::New(_) => len,
        };
        self.count(0);
        Held::Buffer(len)
    }

    fn tensor(&mut self, bytes: u64, readers: Readers) -> Held {
        if readers == Readers::Tract {
            self.others = self.others.saturating_add(bytes);
            self.count(0);
            return Held::Tract(bytes);
        }
        let len = buffer_len(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.buffer(len, readers == Readers::Frame)
    }

    fn release(&mut self, held: Held) {
        match held {
            Held::Buffer(0) => {}
            Held::Buffer(len) => self.shelf.give_back(len, ()),
            Held::Tract(bytes) => self.others = self.others.saturating_sub(bytes),
        }
    }

    /// A buffer for one operator.
    fn scratch(&mut self, len: usize) {
        if len > 0 {
            let held = self.buffer(len, false);
            self.release(held);
        }
    }

    /// Notes what the tasks of a fully connected layer take.
    fn linear(&mut self, gemm: &Gemm, rows: usize) {
        let task = PreparedLinear::max_task_bytes(gemm.in_features as usize, rows);
        self.count(times(self.threads as u64, task as u64));
    }

    /// Notes what is in use, and so many bytes for a moment.
    fn count(&mut self, more: u64) {
        let buffers = times(self.shelf.total() as u64, size_of::<f32>() as u64);
        self.most = self.most.max(buffers.saturating_add(self.others).saturating_add(more));
    }
}

/// A graph's operators.
struct GraphRun<'a> {
    graph: &'a Graph,
    fusion: Fusion,
    plans: &'a ConvPlans,
    /// By the layers that stand for the operators; and last, of the graph's input.
    readers: Vec<Readers>,
    operators: Vec<Operator>,
    /// The operators that make the graph's outputs.
    outputs: Vec<usize>,
}

struct Operator {
    /// The layer that stands for it.
    layer: usize,
    /// The layer whose value it gives: the last one that it computes.
    gives: usize,
    /// Operators whose values are read here for the last time, the graph's input among them.
    done: Vec<usize>,
}

impl<'a> GraphRun<'a> {
    fn new(graph: &'a Graph, outputs: &[u32], caller: Readers, plans: &'a ConvPlans) -> GraphRun<'a> {
        let fusion = Fusion::new(graph, outputs, plans);
        let readers = readers(graph, &fusion, outputs, caller);
        let input = graph.layers.len();
        let maker =
            |value: u32| (value as usize).checked_sub(1).map_or(input, |layer| fusion.operator(layer));
        let mut gives: Vec<usize> = (0..input).collect();
        for layer in 0..input {
            gives[fusion.operator(layer)] = layer;
        }
        let mut last = vec![None; input + 1];
        let mut operators = Vec::new();
        for (layer, (Layer { inputs, .. }, &gives)) in graph.layers.iter().zip(&gives).enumerate() {
            let branches = match fusion.step(layer) {
                Step::Within(_) => continue,
                Step::Own | Step::Strips(_) => vec![inputs],
                Step::AddUpsampled(upsample) => {
                    let upsample = graph.layers.get(*upsample).map(|layer| &layer.inputs);
                    [inputs].into_iter().chain(upsample).collect()
                }
                Step::Concat(branches) => branches
                    .iter()
                    .filter_map(|&branch| graph.layers.get(branch))
                    .map(|l| &l.inputs)
                    .collect(),
            };
            // A value that nobody reads goes with the operator that made it.
            for read in branches.into_iter().flatten().map(|&value| maker(value)).chain([layer]) {
                last[read] = Some(operators.len());
            }
            operators.push(Operator { layer, gives, done: Vec::new() });
        }
        let outputs: Vec<usize> = outputs.iter().map(|&value| maker(value)).collect();
        for &output in &outputs {
            last[output] = None;
        }
        for (made, last) in last.into_iter().enumerate() {
            if let Some(operator) = last.and_then(|last| operators.get_mut(last)) {
                operator.done.push(made);
            }
        }
        GraphRun { graph, fusion, plans, readers, operators, outputs }
    }

    fn readers_of_input(&self) -> Readers {
        self.readers.last().copied().unwrap_or(Readers::Tract)
    }

    /// Makes the input, runs on it and gives what holds the outputs. `shapes` are those of all values, of a batch of 1.
    fn run_on_new_input(&self, memory: &mut Memory, shapes: &[Shape], batch: usize) -> Vec<Held> {
        let bytes = shapes.first().map_or(0, Shape::bytes);
        let input = memory.tensor(times(bytes, batch as u64), self.readers_of_input());
        self.run(memory, shapes, batch, Some(input))
    }

    /// The same with an input that the caller holds, if it is none.
    fn run(&self, memory: &mut Memory, shapes: &[Shape], batch: usize, input: Option<Held>) -> Vec<Held> {
        let mut values: Vec<Option<Held>> = vec![None; self.graph.layers.len()];
        values.push(input);
        for operator in &self.operators {
            let Some(layer) = self.graph.layers.get(operator.layer) else { continue };
            let made = shapes.get(operator.gives + 1).map_or(0, Shape::bytes);
            let bytes = times(made, batch as u64);
            let held = match self.fusion.step(operator.layer) {
                Step::Own if !runs_on_kernels(&layer.op) => {
                    // Two operators of tract's.
                    let between = if matches!(layer.op, Op::Affine(_)) { bytes } else { 0 };
                    memory.count(between);
                    memory.tensor(bytes, Readers::Tract)
                }
                step => {
                    let makers =
                        if let Step::Concat(branches) = step { &branches[..] } else { &[operator.layer] };
                    let bf16 = makers.iter().all(|&layer| self.fusion.epilogue(layer).bf16);
                    let readers = self.readers.get(operator.layer).copied().unwrap_or(Readers::Tract);
                    let held = memory.tensor(if bf16 { bytes / 2 } else { bytes }, readers);
                    match step {
                        Step::Strips(layers) => self.strips(memory, layers, shapes),
                        _ => makers.iter().for_each(|&layer| self.scratch(memory, layer, shapes, batch)),
                    }
                    held
                }
            };
            if let Some(value) = values.get_mut(operator.layer) {
                *value = Some(held);
            }
            for &made in &operator.done {
                if let Some(held) = values.get_mut(made).and_then(Option::take) {
                    memory.release(held);
                }
            }
        }
        self.outputs.iter().filter_map(|&made| values.get_mut(made).and_then(Option::take)).collect()
    }

    /// The shape of what a layer reads first.
    fn input_shape(&self, layer: &Layer, shapes: &[Shape]) -> Option<Shape> {
        layer.inputs.first().and_then(|&value| shapes.get(value as usize)).copied()
    }

    /// Scratch of a layer.
    fn scratch(&self, memory: &mut Memory, layer: usize, shapes: &[Shape], batch: usize) {
        let Some(layer) = self.graph.layers.get(layer) else { return };
        if let Op::Gemm(gemm) = &layer.op {
            memory.linear(gemm, batch);
        }
        if let (Op::Conv(conv), Some(Shape::Map { height, width, .. })) =
            (&layer.op, self.input_shape(layer, shapes))
        {
            let size = [batch, height, width];
            if self.plans.algorithm(conv) == Some(ConvAlgorithm::Plain) {
                // A map of its own, where it is one of several layers that write to one.
                let (height, width) = conv_shape(conv, size).output_size().unwrap_or_default();
                let cells = times(times(height as u64, width as u64), batch as u64);
                memory.count(times(cells, 4 * u64::from(conv.out_channels)));
            }
            memory.scratch(self.plans.scratch_len(conv, size, memory.threads));
        }
    }

    /// Scratch of layers that run in strips, all of it at once.
    fn strips(&self, memory: &mut Memory, layers: &[usize], shapes: &[Shape]) {
        let layers =
            || layers.iter().filter_map(|&layer| self.graph.layers.get(layer).map(|found| (layer, found)));
        let fused = layers().filter_map(|(position, layer)| {
            let Some(Shape::Map { height, width, channels }) = self.input_shape(layer, shapes) else {
                return None;
            };
            Some(match &layer.op {
                Op::Conv(conv) => FusedShape::Conv {
                    algorithm: self.plans.algorithm(conv)?,
                    weights: self.plans.kept(conv)?,
                    shape: conv_shape(conv, [1, height, width]),
                    pool: self.fusion.epilogue(position).pool,
                },
                Op::MaxPool(pool) => FusedShape::MaxPool(pool_shape(pool, [1, height, width, channels])),
                _ => FusedShape::Lrn,
            })
        });
        let fused: Vec<FusedShape> = fused.collect();
        let first = layers().next().and_then(|(_, layer)| self.input_shape(layer, shapes));
        let Some(Shape::Map { height, width, channels }) = first else { return };
        let lens = strip_scratch_lens(Cpu::detect(), &fused, [height, width, channels]).unwrap_or_default();
        let lens = lens.into_iter().filter(|&len| len > 0).cycle();
        let buffers = 3 * memory.threads;
        let held: Vec<Held> = lens.take(buffers).map(|len| memory.buffer(len, false)).collect();
        held.into_iter().for_each(|held| memory.release(held));
    }
}

/// The RPN on each of the trunk's maps, one after the other.
struct RpnRun<'a> {
    graph: GraphRun<'a>,
    /// Of the values of each map.
    shapes: Vec<Vec<Shape>>,
}

impl<'a> RpnRun<'a> {
    fn new(graph: &'a Graph, maps: &[Shape], plans: &'a ConvPlans) -> Result<RpnRun<'a>, Error> {
        let shapes = maps.iter().map(|&map| shapes(graph, map)).collect::<Result<_, Error>>()?;
        Ok(RpnRun { graph: GraphRun::new(graph, &graph.outputs, Readers::Kernels, plans), shapes })
    }

    fn run(&self, memory: &mut Memory) {
        for shapes in &self.shapes {
            // tract's operators read a copy of the map.
            let outputs = match self.graph.readers_of_input() {
                Readers::Tract => self.graph.run_on_new_input(memory, shapes, 1),
                _ => self.graph.run(memory, shapes, 1, None),
            };
            outputs.into_iter().for_each(|held| memory.release(held));
        }
    }
}

/// The head or the judge, cut as it runs.
struct HeadRun<'a> {
    contents: &'a Contents,
    region: Shape,
    parts: HeadParts,
    plans: &'a ConvPlans,
    /// Shapes of the values of the rest.
    rest: Vec<Shape>,
}

impl<'a> HeadRun<'a> {
    /// `map` is what the trunk gives.
    fn new(
        contents: &'a Contents,
        graph: &Graph,
        map: Shape,
        plans: &'a ConvPlans,
    ) -> Result<HeadRun<'a>, Error> {
        let region = contents.region_shape(map);
        // That the whole head fits is seen first, for errors name its layers.
        shapes(graph, region)?;
        let parts = HeadParts::of(graph);
        let input = match parts.second.as_ref().or(parts.first.as_ref()) {
            Some(linear) => Shape::Flat { features: linear.width() },
            None => region,
        };
        let rest = shapes(&parts.rest, input)?;
        Ok(HeadRun { contents, region, parts, plans, rest })
    }

    /// For so many regions, which it pools from maps of these rows and columns, if they are not pooled before.
    fn run(&self, memory: &mut Memory, regions: usize, maps: Option<&[[usize; 2]]>) {
        let rest = GraphRun::new(&self.parts.rest, &self.parts.rest.outputs, Readers::Kernels, self.plans);
        let run_rest = |memory: &mut Memory, rows| {
            let outputs = rest.run(memory, &self.rest, rows, None);
            outputs.into_iter().for_each(|held| memory.release(held));
        };
        let features = self.region.len();
        for rows in whole_and_rest(regions, self.parts.rows_at_once(features)) {
            let bytes = |width: usize, rows: usize| times(times(width as u64, 4), rows as u64);
            let (width, second) = match &self.parts {
                HeadParts { first: Some(first), second, .. } => (first.width(), second.as_ref()),
                HeadParts { first: None, .. } => (features, None),
            };
            let readers = if second.is_some() { Readers::Kernels } else { rest.readers_of_input() };
            let first = memory.tensor(bytes(width, rows), readers);
            match (maps, &self.parts.first) {
                (Some(maps), Some(_)) => memory.scratch(self.pooling_scratch_len(maps, rows, memory.threads)),
                (Some(maps), None) => {
                    let pooling = Pooling::of(self.contents);
                    let tables = maps.iter().map(|&map| pooling.scratch_len(map, rows, memory.threads));
                    memory.count(times(tables.max().unwrap_or(0) as u64, size_of::<f32>() as u64));
                }
                (None, _) => {}
            }
            if let Some(first) = &self.parts.first {
                memory.linear(&first.gemm, rows);
            }
            match second {
                Some(second) => {
                    for rows in whole_and_rest(rows, CHUNK_ROWS) {
                        let gemm = &second.gemm;
                        let second =
                            memory.tensor(bytes(Linear::width(second), rows), rest.readers_of_input());
                        memory.linear(gemm, rows);
                        run_rest(memory, rows);
                        memory.release(second);
                    }
                }
                None => run_rest(memory, rows),
            }
            memory.release(first);
        }
    }

    fn pooling_scratch_len(&self, maps: &[[usize; 2]], rois: usize, threads: usize) -> usize {
        let quantization = |gemm: &Gemm| {
            let int8 = self.contents.sections.get(gemm.weight as usize)?.int8?;
            Some(Quantization { scale: int8.input_scale, zero_point: int8.input_zero_point })
        };
        let linears: Vec<_> = self.parts.on_pooled_rois().map(quantization).collect();
        let pooled_in = PooledIn::of(linears.into_iter());
        Pooling::of(self.contents).linear_scratch_len(pooled_in, maps, rois, self.region.len(), threads)
    }
}
