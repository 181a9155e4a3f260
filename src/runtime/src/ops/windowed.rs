//! Operators on a window of their map, with the bits of the whole map.

use frcnn_kernels::{
    ConvShape, FusedLayer, PoolShape, add_in_place, strip_rows, strip_rows_seen, upsampled_from,
};
use tract_core::internal::*;

use super::map::cut;
use super::{
    AddUpsampledOp, ConcatConvsOp, ConvOp, PoolOp, Readers, Resources, StripLayer, StripsOp, UpsampleOp,
    nhwc, values,
};
use crate::area::Area;

/// An operator that can make a window of its map. Sizes are rows and columns of its whole inputs.
pub(crate) trait Windowed: std::fmt::Debug + Send + Sync {
    /// The outputs that see any of `changed` of an input; tiles that have one of them have changed as a whole.
    fn seeing(&self, input: usize, sizes: &[[usize; 2]], changed: &Area) -> TractResult<Area>;

    /// `outputs`, grown to what is computed together, and what is read of each input for them.
    fn window(&self, sizes: &[[usize; 2]], outputs: &Area) -> TractResult<(Area, Vec<Area>)>;

    /// What [`Windowed::window`] gave as outputs, of what it gave as inputs.
    fn give(&self, sizes: &[[usize; 2]], outputs: &Area, inputs: &[TValue]) -> TractResult<TValue>;

    /// Multiplications, or what takes as long, of the whole map, about.
    fn work(&self, sizes: &[[usize; 2]]) -> f64;
}

/// The operator as one that makes windows, if it can.
pub(crate) fn windowed(op: &dyn TypedOp, sizes: &[[usize; 2]]) -> TractResult<Option<Box<dyn Windowed>>> {
    let has_windows = |conv: &ConvOp, size: [usize; 2]| {
        let window = conv.conv_window(&conv.on_map(size), [0..1, 0..1])?;
        TractResult::Ok(window.is_some())
    };
    let size = sizes.first().copied().context("an operator without input")?;
    if let Some(conv) = op.downcast_ref::<ConvOp>() {
        return Ok(has_windows(conv, size)?.then(|| Box::new(conv.clone()) as Box<dyn Windowed>));
    }
    if let Some(concat) = op.downcast_ref::<ConcatConvsOp>() {
        for (conv, &size) in concat.0.iter().zip(sizes) {
            if !has_windows(conv, size)? {
                return Ok(None);
            }
        }
        return Ok(Some(Box::new(concat.clone())));
    }
    if let Some(pool) = op.downcast_ref::<PoolOp>() {
        return Ok(pool.has_windows().then(|| Box::new(pool.clone()) as Box<dyn Windowed>));
    }
    if let Some(strips) = op.downcast_ref::<StripsOp>() {
        let mut size = size;
        for layer in &strips.layers {
            if let StripLayer::Conv(conv) = layer
                && !has_windows(conv, size)?
            {
                return Ok(None);
            }
            size = layer_size(layer, size)?;
        }
        return Ok(Some(Box::new(strips.clone())));
    }
    if let Some(upsample) = op.downcast_ref::<UpsampleOp>() {
        return Ok(Some(Box::new(upsample.clone())));
    }
    if let Some(sum) = op.downcast_ref::<AddUpsampledOp>() {
        return Ok(Some(Box::new(sum.clone())));
    }
    Ok(None)
}

/// A window of one layer: its outputs, what it reads for them, and by which shape.
struct LayerWindow {
    outputs: Area,
    inputs: Area,
    shape: LayerShape,
}

enum LayerShape {
    Conv(ConvShape),
    Pool(PoolShape),
    /// Each cell by itself.
    Cells,
}

impl ConvOp {
    /// A window of the layer's map, pooled if it pools.
    fn layer_window(&self, size: [usize; 2], outputs: &Area) -> TractResult<(Area, Area, ConvShape)> {
        let shape = self.on_map(size);
        let (height, width) = shape.output_size().context("the kernel is larger than the map")?;
        let each = if self.pools() { 2 } else { 1 };
        let convolved = [
            each * outputs.rows.start..(each * outputs.rows.end).min(height),
            each * outputs.columns.start..(each * outputs.columns.end).min(width),
        ];
        let window = self.conv_window(&shape, convolved)?.context("a layer without windows")?;
        let [whole_height, whole_width] = self.output_size_of(size)?;
        // Windows of 2x2 begin at even cells, as tiles of layers that pool do.
        let [rows, columns] = window.outputs;
        let rows = rows.start / each..rows.end.div_ceil(each).min(whole_height);
        let columns = columns.start / each..columns.end.div_ceil(each).min(whole_width);
        let [seen_rows, seen_columns] = window.inputs;
        Ok((Area::new(rows, columns), Area::new(seen_rows, seen_columns), window.shape))
    }

    fn output_size_of(&self, size: [usize; 2]) -> TractResult<[usize; 2]> {
        let (height, width) = self.output_size(&self.on_map(size))?;
        Ok([height, width])
    }

    fn seeing_of(&self, size: [usize; 2], changed: &Area) -> TractResult<Area> {
        let shape = self.on_map(size);
        let (height, width) = shape.output_size().context("the kernel is larger than the map")?;
        let mut window = shape.window();
        for (kernel, stride) in window.kernel.iter_mut().zip(window.stride) {
            // Space to depth reads whole steps, the taps beyond the kernel, too: bits depend on them.
            *kernel = kernel.next_multiple_of(stride.max(1));
        }
        let rows = window.seeing(0, changed.rows.clone(), height);
        let columns = window.seeing(1, changed.columns.clone(), width);
        if !self.pools() {
            return Ok(Area::new(rows, columns));
        }
        let [height, width] = self.output_size_of(size)?;
        let half =
            |range: std::ops::Range<usize>, most: usize| range.start / 2..range.end.div_ceil(2).min(most);
        Ok(Area::new(half(rows, height), half(columns, width)))
    }

    fn work_of(&self, size: [usize; 2]) -> f64 {
        let shape = self.on_map(size);
        let (height, width) = shape.output_size().unwrap_or((0, 0));
        (height * width) as f64 * shape.weight_len() as f64
    }
}

impl PoolOp {
    fn on_map(&self, [height, width]: [usize; 2], channels: usize) -> PoolShape {
        self.shape([1, height, width, channels])
    }

    fn layer_window(&self, size: [usize; 2], outputs: &Area) -> TractResult<(Area, Area, PoolShape)> {
        let shape = self.on_map(size, 1);
        let (height, width) = shape.output_size().context("the window is larger than the map")?;
        let window = shape.window();
        let rows = window.seen(0, size[0], height, outputs.rows.clone());
        let columns = window.seen(1, size[1], width, outputs.columns.clone());
        let pads = [rows.before, columns.before, rows.after, columns.after];
        let (height, width) = (rows.cells.len(), columns.cells.len());
        let shape = PoolShape { height, width, pads, ..shape };
        Ok((outputs.clone(), Area::new(rows.cells, columns.cells), shape))
    }

    fn seeing_of(&self, size: [usize; 2], changed: &Area) -> TractResult<Area> {
        let shape = self.on_map(size, 1);
        let (height, width) = shape.output_size().context("the window is larger than the map")?;
        let window = shape.window();
        let rows = window.seeing(0, changed.rows.clone(), height);
        Ok(Area::new(rows, window.seeing(1, changed.columns.clone(), width)))
    }
}

impl Windowed for ConvOp {
    fn seeing(&self, _: usize, sizes: &[[usize; 2]], changed: &Area) -> TractResult<Area> {
        self.seeing_of(first(sizes)?, changed)
    }

    fn window(&self, sizes: &[[usize; 2]], outputs: &Area) -> TractResult<(Area, Vec<Area>)> {
        let (outputs, inputs, _) = self.layer_window(first(sizes)?, outputs)?;
        Ok((outputs, vec![inputs]))
    }

    fn give(&self, sizes: &[[usize; 2]], outputs: &Area, inputs: &[TValue]) -> TractResult<TValue> {
        let (_, _, shape) = self.layer_window(first(sizes)?, outputs)?;
        self.give(&shape, inputs.first().context("no input")?)
    }

    fn work(&self, sizes: &[[usize; 2]]) -> f64 {
        sizes.first().map_or(0.0, |&size| self.work_of(size))
    }
}

impl Windowed for ConcatConvsOp {
    fn seeing(&self, input: usize, sizes: &[[usize; 2]], changed: &Area) -> TractResult<Area> {
        let (conv, &size) = self.0.get(input).zip(sizes.get(input)).context("no such input")?;
        conv.seeing_of(size, changed)
    }

    fn window(&self, sizes: &[[usize; 2]], outputs: &Area) -> TractResult<(Area, Vec<Area>)> {
        let mut outputs = outputs.clone();
        // Until all branches compute whole tiles of the same window.
        loop {
            let mut grown = outputs.clone();
            let mut inputs = Vec::with_capacity(sizes.len());
            for (conv, &size) in self.0.iter().zip(sizes) {
                let (own, read, _) = conv.layer_window(size, &outputs)?;
                grown = grown.union(&own);
                inputs.push(read);
            }
            if grown == outputs {
                return Ok((outputs, inputs));
            }
            outputs = grown;
        }
    }

    fn give(&self, sizes: &[[usize; 2]], outputs: &Area, inputs: &[TValue]) -> TractResult<TValue> {
        let shapes = self.0.iter().zip(sizes).map(|(conv, &size)| Ok(conv.layer_window(size, outputs)?.2));
        self.give(&shapes.collect::<TractResult<Vec<_>>>()?, inputs)
    }

    fn work(&self, sizes: &[[usize; 2]]) -> f64 {
        self.0.iter().zip(sizes).map(|(conv, &size)| conv.work_of(size)).sum()
    }
}

impl Windowed for PoolOp {
    fn seeing(&self, _: usize, sizes: &[[usize; 2]], changed: &Area) -> TractResult<Area> {
        self.seeing_of(first(sizes)?, changed)
    }

    fn window(&self, sizes: &[[usize; 2]], outputs: &Area) -> TractResult<(Area, Vec<Area>)> {
        let (outputs, inputs, _) = self.layer_window(first(sizes)?, outputs)?;
        Ok((outputs, vec![inputs]))
    }

    fn give(&self, sizes: &[[usize; 2]], outputs: &Area, inputs: &[TValue]) -> TractResult<TValue> {
        let (_, _, shape) = self.layer_window(first(sizes)?, outputs)?;
        let input = inputs.first().context("no input")?;
        let channels = input.shape().last().copied().unwrap_or(0);
        self.give(&PoolShape { channels, ..shape }, input)
    }

    fn work(&self, sizes: &[[usize; 2]]) -> f64 {
        sizes.first().map_or(0.0, |[height, width]| (height * width) as f64 * POOL_WORK)
    }
}

/// What a cell of a pooled map takes, of some hundred channels.
const POOL_WORK: f64 = 1000.0;

/// A map in the size of another.
#[derive(Clone, Copy)]
struct Upsampling {
    from: [usize; 2],
    to: [usize; 2],
}

impl Upsampling {
    fn source(&self, axis: usize, i: usize) -> usize {
        upsampled_from(i, self.from[axis], self.to[axis])
    }

    /// The cells that any of `changed` goes to.
    fn seeing(&self, changed: &Area) -> Area {
        // Cells go to places in their own order: the first place that reads cell `at` or a later one.
        let place = |axis: usize, at: usize| (at * self.to[axis]).div_ceil(self.from[axis].max(1));
        let axis = |axis: usize, cells: &std::ops::Range<usize>| {
            place(axis, cells.start)..place(axis, cells.end).min(self.to[axis])
        };
        Area::new(axis(0, &changed.rows), axis(1, &changed.columns))
    }

    /// What goes to `outputs`.
    fn seen(&self, outputs: &Area) -> Area {
        let axis = |axis: usize, cells: &std::ops::Range<usize>| match cells.end.checked_sub(1) {
            Some(last) if !cells.is_empty() => self.source(axis, cells.start)..self.source(axis, last) + 1,
            _ => 0..0,
        };
        Area::new(axis(0, &outputs.rows), axis(1, &outputs.columns))
    }

    /// Calls `work(cell of from, cell of outputs)` for each of `outputs`, whose values are `to`; `from` has what goes there.
    fn for_each_cell(
        &self,
        outputs: &Area,
        (from, channels): (&[f32], usize),
        to: &mut [f32],
        mut work: impl FnMut(&[f32], &mut [f32]) -> TractResult<()>,
    ) -> TractResult<()> {
        let seen = self.seen(outputs);
        ensure!(from.len() == seen.cells() * channels, "a window of another size");
        let cells = to.chunks_exact_mut(channels.max(1));
        let places = outputs.rows.clone().flat_map(|y| outputs.columns.clone().map(move |x| (y, x)));
        for (cell, (y, x)) in cells.zip(places) {
            let row = self.source(0, y) - seen.rows.start;
            let column = self.source(1, x) - seen.columns.start;
            work(&from[(row * seen.columns.len() + column) * channels..][..channels], cell)?;
        }
        Ok(())
    }
}

/// The sizes of two inputs.
fn both(sizes: &[[usize; 2]]) -> TractResult<[[usize; 2]; 2]> {
    sizes.try_into().map_err(|_| format_err!("an operator of two inputs has {}", sizes.len()))
}

impl UpsampleOp {
    fn on_maps(sizes: &[[usize; 2]]) -> TractResult<Upsampling> {
        let [from, to] = both(sizes)?;
        Ok(Upsampling { from, to })
    }
}

impl Windowed for UpsampleOp {
    fn seeing(&self, input: usize, sizes: &[[usize; 2]], changed: &Area) -> TractResult<Area> {
        // Of the other map it reads the size alone.
        let nothing = Area::new(0..0, 0..0);
        Ok(if input == 0 { UpsampleOp::on_maps(sizes)?.seeing(changed) } else { nothing })
    }

    fn window(&self, sizes: &[[usize; 2]], outputs: &Area) -> TractResult<(Area, Vec<Area>)> {
        let read = UpsampleOp::on_maps(sizes)?.seen(outputs);
        Ok((outputs.clone(), vec![read, outputs.clone()]))
    }

    fn give(&self, sizes: &[[usize; 2]], outputs: &Area, inputs: &[TValue]) -> TractResult<TValue> {
        let from = inputs.first().context("no input")?;
        let [.., channels] = nhwc(from.shape())?;
        let shape = [1, outputs.rows.len(), outputs.columns.len(), channels];
        self.resources.make(&shape, |made: &mut [f32]| {
            let upsampling = UpsampleOp::on_maps(sizes)?;
            upsampling.for_each_cell(outputs, (values(from)?, channels), made, |from, to| {
                to.copy_from_slice(from);
                Ok(())
            })
        })
    }

    fn work(&self, sizes: &[[usize; 2]]) -> f64 {
        both(sizes).map_or(0.0, |[_, [height, width]]| (height * width) as f64 * POOL_WORK)
    }
}

impl AddUpsampledOp {
    /// The position of the smaller map among the inputs, and what becomes of it.
    fn on_maps(&self, sizes: &[[usize; 2]]) -> TractResult<(usize, Upsampling)> {
        let [a, b] = both(sizes)?;
        Ok(match self.is_second {
            true => (1, Upsampling { from: b, to: a }),
            false => (0, Upsampling { from: a, to: b }),
        })
    }
}

impl Windowed for AddUpsampledOp {
    fn seeing(&self, input: usize, sizes: &[[usize; 2]], changed: &Area) -> TractResult<Area> {
        let (small, upsampling) = self.on_maps(sizes)?;
        Ok(if input == small { upsampling.seeing(changed) } else { changed.clone() })
    }

    fn window(&self, sizes: &[[usize; 2]], outputs: &Area) -> TractResult<(Area, Vec<Area>)> {
        let (small, upsampling) = self.on_maps(sizes)?;
        let mut reads = vec![outputs.clone(); 2];
        reads[small] = upsampling.seen(outputs);
        Ok((outputs.clone(), reads))
    }

    fn give(&self, sizes: &[[usize; 2]], outputs: &Area, inputs: &[TValue]) -> TractResult<TValue> {
        let (small, upsampling) = self.on_maps(sizes)?;
        let (from, map) = inputs.get(small).zip(inputs.get(1 - small)).context("no input")?;
        let [.., channels] = nhwc(from.shape())?;
        self.resources.rewrite(map.clone(), |map| {
            upsampling.for_each_cell(outputs, (values(from)?, channels), map, |from, to| {
                Ok(add_in_place(from, false, 1, to)?)
            })
        })
    }

    fn work(&self, sizes: &[[usize; 2]]) -> f64 {
        let cells = |(_, Upsampling { to: [height, width], .. })| (height * width) as f64;
        self.on_maps(sizes).map_or(0.0, cells) * POOL_WORK
    }
}

fn first(sizes: &[[usize; 2]]) -> TractResult<[usize; 2]> {
    sizes.first().copied().context("an operator without input")
}

/// Rows and columns that a layer in strips makes.
fn layer_size(layer: &StripLayer, size: [usize; 2]) -> TractResult<[usize; 2]> {
    match layer {
        StripLayer::Conv(conv) => conv.output_size_of(size),
        StripLayer::MaxPool(pool) => {
            let (height, width) =
                pool.on_map(size, 1).output_size().context("the window is larger than the map")?;
            Ok([height, width])
        }
        StripLayer::Lrn(_) => Ok(size),
    }
}

fn layer_window(layer: &StripLayer, size: [usize; 2], outputs: &Area) -> TractResult<LayerWindow> {
    Ok(match layer {
        StripLayer::Conv(conv) => {
            let (outputs, inputs, shape) = conv.layer_window(size, outputs)?;
            LayerWindow { outputs, inputs, shape: LayerShape::Conv(shape) }
        }
        StripLayer::MaxPool(pool) => {
            let (outputs, inputs, shape) = pool.layer_window(size, outputs)?;
            LayerWindow { outputs, inputs, shape: LayerShape::Pool(shape) }
        }
        StripLayer::Lrn(_) => {
            LayerWindow { outputs: outputs.clone(), inputs: outputs.clone(), shape: LayerShape::Cells }
        }
    })
}

impl StripsOp {
    /// Rows and columns of the input, then of what each layer makes.
    fn sizes(&self, size: [usize; 2]) -> TractResult<Vec<[usize; 2]>> {
        let mut sizes = vec![size];
        for layer in &self.layers {
            sizes.push(layer_size(layer, first(&sizes[sizes.len() - 1..])?)?);
        }
        Ok(sizes)
    }

    /// Rows of a strip, if which bits a row has depends on it.
    fn strip(
        &self,
        size: [usize; 2],
    ) -> TractResult<(Option<usize>, Vec<frcnn_kernels::FusedShape>, [usize; 3])> {
        let channels = match self.layers.first() {
            Some(StripLayer::Conv(conv)) => conv.on_map(size).in_channels,
            _ => bail!("strips begin with a convolution"),
        };
        let mut shape = [1, size[0], size[1], channels];
        let mut shapes = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let layer = match layer {
                StripLayer::Conv(op) => op.fused(&mut shape)?,
                StripLayer::MaxPool(op) => op.fused(&mut shape)?,
                StripLayer::Lrn(op) => op.fused(),
            };
            shapes.push(FusedLayer::shape(&layer));
        }
        let size = [size[0], size[1], channels];
        Ok((strip_rows(&shapes, size)?, shapes, size))
    }

    /// The windows of all layers for `outputs` of the last one, first layer first.
    fn windows(&self, sizes: &[[usize; 2]], outputs: &Area) -> TractResult<Vec<LayerWindow>> {
        let mut windows = Vec::with_capacity(self.layers.len());
        let mut outputs = outputs.clone();
        for (layer, &size) in self.layers.iter().zip(sizes).rev() {
            let window = layer_window(layer, size, &outputs)?;
            outputs = window.inputs.clone();
            windows.push(window);
        }
        windows.reverse();
        Ok(windows)
    }
}

impl Windowed for StripsOp {
    fn seeing(&self, _: usize, sizes: &[[usize; 2]], changed: &Area) -> TractResult<Area> {
        let sizes = self.sizes(first(sizes)?)?;
        let mut changed = changed.clone();
        for (layer, &size) in self.layers.iter().zip(&sizes) {
            changed = match layer {
                // All of a tile, for which bits its outputs have depends on whatever it reads.
                StripLayer::Conv(conv) => match conv.seeing_of(size, &changed)? {
                    seeing if seeing.is_empty() => seeing,
                    seeing => conv.layer_window(size, &seeing)?.0,
                },
                StripLayer::MaxPool(pool) => pool.seeing_of(size, &changed)?,
                StripLayer::Lrn(_) => changed,
            };
        }
        Ok(changed)
    }

    fn window(&self, sizes: &[[usize; 2]], outputs: &Area) -> TractResult<(Area, Vec<Area>)> {
        let size = first(sizes)?;
        let sizes = self.sizes(size)?;
        let mut outputs = outputs.clone();
        if let (Some(rows), ..) = self.strip(size)? {
            let height = sizes.last().map_or(0, |size| size[0]);
            let (start, end) = (outputs.rows.start / rows * rows, outputs.rows.end.next_multiple_of(rows));
            outputs.rows = start..end.min(height);
        }
        let windows = self.windows(&sizes, &outputs)?;
        let (first, last) = windows.first().zip(windows.last()).context("strips of no layer")?;
        let rows = outputs.rows.start..last.outputs.rows.end;
        Ok((Area { rows, columns: last.outputs.columns.clone() }, vec![first.inputs.clone()]))
    }

    fn give(&self, sizes: &[[usize; 2]], outputs: &Area, inputs: &[TValue]) -> TractResult<TValue> {
        let size = first(sizes)?;
        let (strip, shapes, map) = self.strip(size)?;
        let sizes = self.sizes(size)?;
        let input = inputs.first().context("no input")?;
        let (_, read) = Windowed::window(self, &[size], outputs)?;
        let read = read.first().context("no input")?;
        let rows_at_once = strip.unwrap_or(outputs.rows.len()).max(1);
        let mut parts = Vec::new();
        for start in outputs.rows.clone().step_by(rows_at_once) {
            let rows = start..(start + rows_at_once).min(outputs.rows.end);
            let outputs = Area { rows: rows.clone(), ..outputs.clone() };
            let mut windows = self.windows(&sizes, &outputs)?;
            if strip.is_some() {
                // The rows that the whole map's strip sees, which are no whole tiles.
                let seen = strip_rows_seen(&shapes, map, rows.clone())?;
                let mut made = rows;
                for (window, seen) in windows.iter_mut().zip(&seen).rev() {
                    window.outputs.rows = made;
                    window.inputs.rows = seen.cells.clone();
                    made = seen.cells.clone();
                    match &mut window.shape {
                        LayerShape::Conv(ConvShape { height, pads, .. })
                        | LayerShape::Pool(PoolShape { height, pads, .. }) => {
                            *height = seen.cells.len();
                            [pads[0], pads[2]] = [seen.before, seen.after];
                        }
                        LayerShape::Cells => {}
                    }
                }
            }
            let mut piece = (read.clone(), input.clone());
            for (layer, window) in self.layers.iter().zip(&windows) {
                let input =
                    cut(&self.resources.read_by(Readers::Kernels), (&piece.0, &piece.1), &window.inputs)?;
                let output = match (layer, &window.shape) {
                    (StripLayer::Conv(conv), LayerShape::Conv(shape)) => conv.give(shape, &input)?,
                    (StripLayer::MaxPool(pool), LayerShape::Pool(shape)) => {
                        let channels = input.shape().last().copied().unwrap_or(0);
                        pool.give(&PoolShape { channels, ..shape.clone() }, &input)?
                    }
                    (StripLayer::Lrn(lrn), _) => {
                        lrn.eval_out_of_plan(tvec!(input))?.and_then(|mut o| o.pop()).context("no output")?
                    }
                    _ => bail!("a window of another layer"),
                };
                piece = (window.outputs.clone(), output);
            }
            parts.push(cut(&self.resources, (&piece.0, &piece.1), &outputs)?);
        }
        join_rows(&self.resources, &parts)
    }

    fn work(&self, sizes: &[[usize; 2]]) -> f64 {
        let Ok(sizes) = first(sizes).and_then(|size| self.sizes(size)) else { return 0.0 };
        let works = self.layers.iter().zip(&sizes).map(|(layer, &size)| match layer {
            StripLayer::Conv(conv) => conv.work_of(size),
            StripLayer::MaxPool(_) | StripLayer::Lrn(_) => (size[0] * size[1]) as f64 * POOL_WORK,
        });
        works.sum()
    }
}

/// Maps of f32 with the same columns, one below the other.
fn join_rows(resources: &Resources, parts: &[TValue]) -> TractResult<TValue> {
    let [part] = parts else {
        let rows = parts.iter().map(|part| part.shape()[1]).sum();
        let (columns, channels) = parts.first().map_or((0, 0), |part| (part.shape()[2], part.shape()[3]));
        return resources.make(&[1, rows, columns, channels], |mut all: &mut [f32]| {
            for part in parts {
                let part = super::values::<f32>(part)?;
                let here = all.split_off_mut(..part.len()).context("rows of other lengths")?;
                here.copy_from_slice(part);
            }
            Ok(())
        });
    };
    Ok(part.clone())
}
