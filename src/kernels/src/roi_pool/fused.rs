//! RoI pooling and the fully connected layers that read it, slab of channels by slab: see [`pooled`](crate::pooled).
//!
//! Where all layers are int8 and quantise their input alike, the maps are quantised first, and bytes are pooled: a quarter of
//! the memory, and slabs of 64 channels. The maximum of quantised values is the quantised maximum, so that nothing changes. Of
//! what is not finite only infinity is ever a maximum: RoIs that have it are looked for if there is any.

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::{Roi, ShapeError};

use super::{
    Bins, Edges, FeatureMap, Spans, bin_count,
    cell::Cell,
    pool_slab, roi_pool_in,
    table::{Table, most_values},
};
use crate::{
    Isa, PooledIn, PooledLayer, Quantization, Step,
    aligned::{LINE, aligned},
    int8::{bytes_mut, quantize_into},
    len_of,
    pooled::{Feature, Features, MAX_ROIS, Slabs, check_layers, fill_with_nan, whole_lines},
    sync_ptr::SyncPtr,
    tasks,
};

/// Fully connected layers of the RoIs' pooled features, which are pooled once for all `layers`.
///
/// The same as [`roi_pool_into`](super::roi_pool_into) and [`PreparedLinear::run`](crate::PreparedLinear::run) for each layer,
/// bit for bit, without the tensor between them. RoIs are pooled from the map of their level, zeros where there is none.
/// `scratch` is kept between calls. `after` is called after each step, for who wants to know how long it took.
///
/// # Errors
/// A length does not match, a layer has another order, or the maps have not all the same channels.
pub fn roi_pool_linear_into(
    maps: &[FeatureMap<'_>],
    rois: &[Roi],
    pooled: &[[usize; 2]],
    layers: &mut [PooledLayer<'_>],
    threads: usize,
    scratch: &mut Vec<f32>,
    after: &mut dyn FnMut(Step),
) -> Result<(), ShapeError> {
    let bins = bin_count(pooled);
    let Some(channels) = check_layers(layers, rois.len(), bins)? else { return Ok(()) };
    for map in maps {
        ShapeError::check("channels", channels, map.channels())?;
    }
    let Some(isa) = layers.first().map(|layer| layer.linear.isa()) else { return Ok(()) };
    let request = Request { isa, pooled, bins, channels, threads };
    match PooledIn::of_layers(layers) {
        PooledIn::Bytes(input) if channels > 0 => {
            request.in_bytes(input, maps, rois, layers, scratch, after);
            Ok(())
        }
        pooled_in => request.in_f32(pooled_in, maps, rois, layers, scratch, after),
    }
}

/// Values of scratch that [`roi_pool_linear_into`] takes, at most, for maps of such rows and columns, so many RoIs and channels;
/// saturates.
#[must_use]
pub fn roi_pool_linear_scratch_len(
    pooled_in: PooledIn,
    maps: &[[usize; 2]],
    rois: usize,
    pooled: &[[usize; 2]],
    channels: usize,
    threads: usize,
) -> usize {
    let bins = bin_count(pooled);
    let at_once = rois.min(pooled_in.rois_at_once([bins, channels]));
    let values = len_of(&[at_once, bins, channels]);
    let values = match pooled_in {
        PooledIn::Bytes(_) if channels > 0 => {
            let values = maps.iter().map(|map| len_of(&[len_of(map), channels]));
            let slabs = Slabs::new::<u8>(at_once, [bins, channels], threads).values();
            let tables = tables_len::<u8>(maps, at_once, pooled, threads);
            let bytes = bytes_len(values.fold(0, usize::saturating_add));
            bytes.saturating_add(slabs).saturating_add(tables).div_ceil(size_of::<f32>())
        }
        _ if !pooled_in.is_whole(values) => {
            let slabs = Slabs::new::<f32>(at_once, [bins, channels], threads).values();
            slabs.saturating_add(tables_len::<f32>(maps, at_once, pooled, threads))
        }
        _ => whole_lines(values).saturating_add(tables_len::<f32>(maps, at_once, pooled, threads)),
    };
    values.saturating_add(LINE)
}

/// Values of the tables of all tasks, for the largest of the maps.
fn tables_len<T: Cell>(maps: &[[usize; 2]], rois: usize, pooled: &[[usize; 2]], tasks: usize) -> usize {
    let most = maps.iter().map(|&map| most_values::<T>(map, rois, pooled)).max().unwrap_or(0);
    len_of(&[most, tasks.max(1)])
}

/// Bytes that quantised maps of so many values take before pooled ones.
fn bytes_len(map_values: usize) -> usize {
    map_values.checked_next_multiple_of(u8::SLAB).unwrap_or(usize::MAX)
}

/// Arguments of [`roi_pool_linear_into`], checked.
#[derive(Clone, Copy)]
struct Request<'a> {
    isa: Isa,
    pooled: &'a [[usize; 2]],
    bins: usize,
    channels: usize,
    threads: usize,
}

impl Request<'_> {
    fn in_f32(
        self,
        pooled_in: PooledIn,
        maps: &[FeatureMap<'_>],
        rois: &[Roi],
        layers: &mut [PooledLayer<'_>],
        scratch: &mut Vec<f32>,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), ShapeError> {
        let at_once = pooled_in.rois_at_once([self.bins, self.channels]);
        for (i, rois) in rois.chunks(at_once).enumerate() {
            let job = Job { request: self, maps, rois, first_row: i * at_once, empty: 0.0 };
            let runs = job.runs();
            if pooled_in.is_whole(len_of(&[rois.len(), self.bins, self.channels])) {
                job.whole(&runs, layers, scratch, after)?;
            } else {
                job.by_slabs(&runs, aligned(scratch, job.room()), layers, after);
            }
        }
        Ok(())
    }

    fn in_bytes(
        self,
        input: Quantization,
        maps: &[FeatureMap<'_>],
        rois: &[Roi],
        layers: &mut [PooledLayer<'_>],
        scratch: &mut Vec<f32>,
        after: &mut dyn FnMut(Step),
    ) {
        let job = |maps, i: usize, rois| Job {
            request: self,
            maps,
            rois,
            first_row: i * MAX_ROIS,
            empty: input.zero_point,
        };
        let map_values = maps.iter().map(|map| map.data.len()).fold(0, usize::saturating_add);
        let pooled_at = bytes_len(map_values);
        let sizes = maps.iter().map(|map| [map.height, map.width]);
        let of_quantized = PooledIn::Bytes(input);
        let len = roi_pool_linear_scratch_len(
            of_quantized,
            &sizes.collect::<Vec<_>>(),
            rois.len(),
            self.pooled,
            self.channels,
            tasks::task_count(self.threads),
        );
        let scratch = aligned(scratch, len - LINE);
        let (mut quantized, buffer) = bytes_mut(scratch).split_at_mut(pooled_at);
        let mut byte_maps = Vec::with_capacity(maps.len());
        let mut infinite = Vec::with_capacity(maps.len());
        for map in maps {
            let &FeatureMap { data: values, height, width, channels } = map;
            let data = quantized.split_off_mut(..values.len()).unwrap_or_default();
            // NaN is the least, and never wins.
            let finite = quantize_into(input, values, data, self.threads);
            infinite.push((!finite).then(|| infinite_cells(*map)));
            byte_maps.push(FeatureMap { data: &*data, height, width, channels });
        }
        for (i, rois) in rois.chunks(MAX_ROIS).enumerate() {
            let job = job(&byte_maps, i, rois);
            let runs = job.runs();
            job.by_slabs(&runs, &mut buffer[..job.room()], layers, after);
        }
        let mut edges = Edges::of(self.pooled);
        let has_infinity = |roi: &Roi| {
            let level = usize::from(roi.level);
            let (Some(map), Some(Some(infinite))) = (maps.get(level), infinite.get(level)) else {
                return false;
            };
            Edges::set(&mut edges, roi, *map);
            edges.iter().any(|edges| edges.cells(map.width).any(|row| infinite[row].contains(&true)))
        };
        let places = rois.iter().map(has_infinity).enumerate();
        fill_with_nan(layers, places.filter_map(|(roi, has_infinity)| has_infinity.then_some(roi)));
    }
}

/// Whether each cell of a map has infinity in some channel.
fn infinite_cells(map: FeatureMap<'_>) -> Vec<bool> {
    let cells = map.data.chunks_exact(map.channels.max(1));
    cells.map(|channels| channels.contains(&f32::INFINITY)).collect()
}

/// Some of a request's RoIs, on maps of f32 or of bytes.
struct Job<'a, T> {
    request: Request<'a>,
    maps: &'a [FeatureMap<'a, T>],
    rois: &'a [Roi],
    /// The first RoI's row of the layers' outputs.
    first_row: usize,
    /// What a bin without cells has in each channel.
    empty: T,
}

/// RoIs that follow one another and are on the same map.
struct MapRun<'a, T> {
    map: Option<FeatureMap<'a, T>>,
    rois: Range<usize>,
    spans: Option<Spans<'a>>,
}

impl<'a, T: Cell> Job<'a, T> {
    fn runs(&self) -> Vec<MapRun<'a, T>> {
        let mut first = 0;
        let runs = self.rois.chunk_by(|a, b| a.level == b.level).map(|run| {
            let rois = first..first + run.len();
            first = rois.end;
            let map = run.first().and_then(|roi| self.maps.get(usize::from(roi.level))).copied();
            let spans = map.and_then(|map| Spans::new(map, run, self.request.pooled));
            MapRun { map, rois, spans }
        });
        runs.collect()
    }

    /// Values that [`Job::by_slabs`] takes.
    fn room(&self) -> usize {
        let tables = len_of(&[self.table_len(), tasks::task_count(self.request.threads)]);
        self.features().slabs::<T>().values().saturating_add(tables)
    }

    /// Values of a task's table.
    fn table_len(&self) -> usize {
        let sizes = self.maps.iter().map(|map| [map.height, map.width]);
        let most = sizes.map(|map| most_values::<T>(map, self.rois.len(), self.request.pooled));
        most.max().unwrap_or(0)
    }

    fn features(&self) -> Features {
        let Request { bins, channels, threads, .. } = self.request;
        Features { first_row: self.first_row, rois: self.rois.len(), bins, channels, threads }
    }

    /// Pools group after group of slabs in `room`, which has as many values as [`Job::room`] says, and multiplies them.
    fn by_slabs(
        &self,
        runs: &[MapRun<'_, T>],
        room: &mut [T],
        layers: &mut [PooledLayer<'_>],
        after: &mut dyn FnMut(Step),
    ) {
        let Request { isa, pooled: grids, bins, threads, .. } = self.request;
        let slabs = self.features().slabs::<T>();
        let (buffer, tables) = room.split_at_mut(slabs.values());
        let (slab_len, roi_len) = (slabs.len, bins * T::SLAB);
        let mut tables = Table::all(tables, self.table_len(), tasks::task_count(threads));
        self.features().multiply_by_slabs(layers, buffer, after, |slabs, buffer| {
            let pooled = SyncPtr::new(buffer);
            // A slab of channels of all RoIs is what a task takes.
            tasks::for_each_index(&mut tables, slabs.len(), |table, i| {
                let channels = slabs[i].clone();
                for run in runs {
                    let data = pooled.offset(i * slab_len + run.rois.start * roi_len);
                    let rois = &self.rois[run.rois.clone()];
                    let Some(map) = run.map else {
                        // SAFETY: `rois.len()` RoIs of this slab, which is this task's alone.
                        let bins = unsafe {
                            core::slice::from_raw_parts_mut(data.as_mut_ptr(), rois.len() * roi_len)
                        };
                        bins.fill(self.empty);
                        continue;
                    };
                    let (spans, channels) = (run.spans.as_ref(), channels.clone());
                    let empty = self.empty;
                    let out = Bins { data, roi_stride: roi_len, bin_stride: T::SLAB, large: false, empty };
                    // SAFETY: as above; a bin has the slab's channels, at most `SLAB`.
                    unsafe { pool_slab(isa, table, map, rois, spans, grids, channels, out) };
                }
            });
        });
    }
}

impl Job<'_, f32> {
    fn whole(
        &self,
        runs: &[MapRun<'_, f32>],
        layers: &mut [PooledLayer<'_>],
        scratch: &mut Vec<f32>,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), ShapeError> {
        let Request { pooled: grids, bins, channels, threads, .. } = self.request;
        let (rows, features) = (self.rois.len(), bins * channels);
        let values = len_of(&[rows, features]);
        let tables_at = whole_lines(values);
        let tables = len_of(&[self.table_len(), tasks::task_count(threads)]);
        let (buffer, tables) = aligned(scratch, tables_at.saturating_add(tables)).split_at_mut(tables_at);
        let buffer = &mut buffer[..values];
        let mut rest = &mut *buffer;
        for run in runs {
            let rois = &self.rois[run.rois.clone()];
            let pooled = rest.split_off_mut(..rois.len() * features).unwrap_or_default();
            match run.map {
                Some(map) => {
                    roi_pool_in(Isa::detect(), map, rois, grids, threads, Some(&mut *tables), pooled)?
                }
                None => pooled.fill(0.0),
            }
        }
        after(Step::Pool);
        self.features().multiply_whole(layers, buffer)?;
        after(Step::Multiply);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use frcnn_core::f16_from_f32;

    use super::*;
    use crate::{F16Isa, Int8Weights, KOrder, PreparedLinear, test_random::Random};

    /// Rois from small to as large as the map, on two levels and on one that has no map.
    fn rois(random: &mut Random, count: usize) -> Vec<Roi> {
        let mut coordinate = |max: f32| ((random.values(1)[0] + 1.0) / 2.0 * max) as i32;
        let roi = |i: usize| {
            let (x1, y1) = (coordinate(30.0), coordinate(20.0));
            let (x2, y2) = (x1 + coordinate(25.0), y1 + coordinate(20.0));
            let level = if i + 3 > count { 2 } else { u16::from(i * 2 > count) };
            Roi { level, x1, y1, x2, y2 }
        };
        (0..count).map(roi).collect()
    }

    #[test]
    fn fused_is_pooling_then_multiplying() {
        let widths = [37, 5];
        for (channels, count, pooled) in [
            (40, 700, &[[3, 2]][..]),
            (16, 700, &[[3, 2]]),
            (7, 700, &[[3, 2]]),
            (24, 700, &[[1, 1], [3, 3], [2, 4]]),
            (40, 5, &[[2, 2], [1, 1]]),
            (3, 0, &[[3, 2]]),
        ] {
            let mut random = Random::new(count as u32);
            let rois = rois(&mut random, count);
            let data = [random.values(20 * 30 * channels), random.values(11 * 17 * channels)];
            let maps = [
                FeatureMap::new(&data[0], 20, 30, channels).unwrap(),
                FeatureMap::new(&data[1], 11, 17, channels).unwrap(),
            ];
            let bins = bin_count(pooled);
            let k = bins * channels;
            let mut features = vec![0.0; count * k];
            for (roi, features) in rois.iter().zip(features.chunks_exact_mut(k)) {
                let Some(&map) = maps.get(usize::from(roi.level)) else { continue };
                let mut rest = features;
                for grid in pooled {
                    let features = rest.split_off_mut(..len_of(&[len_of(grid), channels])).unwrap();
                    super::super::roi_pool_reference(map, &[*roi], *grid, features, None).unwrap();
                }
            }
            let order = KOrder::ChannelSlabs { bins, channels };
            // Two layers that read the same features: the first with a bias.
            let weights = widths.map(|n| random.values(k * n));
            let bias = random.values(widths[0]);
            let bias = [Some(&bias[..]), None];
            let exact =
                |isa| [0, 1].map(|i| PreparedLinear::with(isa, &weights[i], k, widths[i], order, 1).unwrap());
            let split = [0, 1].map(|i| PreparedLinear::bf16x3(&weights[i], k, widths[i], order, 1).unwrap());
            let split = if let [Some(first), Some(second)] = split { Some([first, second]) } else { None };
            let f16 = F16Isa::available().map(|isa| {
                [0, 1].map(|i| {
                    let bits: Vec<u16> = weights[i].iter().map(|&value| f16_from_f32(value)).collect();
                    PreparedLinear::from_f16_with(isa, &bits, k, widths[i], order, 1).unwrap().unwrap()
                })
            });
            let quantized = weights
                .each_ref()
                .map(|weights| weights.iter().map(|value| (value * 127.0) as i8).collect::<Vec<_>>());
            let input = Quantization { scale: 0.008, zero_point: 120 };
            let scales = [0.01; 37];
            let int8 = |i: usize, input| {
                let int8 = Int8Weights { values: &quantized[i], scales: &scales[..widths[i]], input };
                PreparedLinear::from_int8(int8, k, widths[i], order, 1).unwrap()
            };
            let other = Quantization { scale: 0.005, ..input };
            let mixed = PreparedLinear::with(Isa::detect(), &weights[1], k, widths[1], order, 1).unwrap();
            let of_int8 =
                [[int8(0, input), int8(1, input)], [int8(0, input), int8(1, other)], [int8(0, input), mixed]];
            for linears in Isa::available().map(exact).chain(split).chain(f16).chain(of_int8) {
                for (relu, threads) in [([true, false], 1), ([false, true], 3)] {
                    let nan = || widths.map(|n| vec![f32::NAN; count * n]);
                    let (mut expected, mut out) = (nan(), nan());
                    for i in [0, 1] {
                        linears[i].run(&features, bias[i], relu[i], count, 1, &mut expected[i]).unwrap();
                    }
                    let (mut scratch, mut steps) = (Vec::new(), Vec::new());
                    let [first, second] = &mut out;
                    let mut layers = [(0, first), (1, second)].map(|(i, out)| PooledLayer {
                        linear: &linears[i],
                        bias: bias[i],
                        relu: relu[i],
                        out,
                    });
                    let after = &mut |step| steps.push(step);
                    roi_pool_linear_into(&maps, &rois, pooled, &mut layers, threads, &mut scratch, after)
                        .unwrap();
                    assert_eq!(
                        out, expected,
                        "{linears:?}, {channels} channels, {count} RoIs, {threads} threads"
                    );
                    let pooled_in = PooledIn::of(linears.iter().map(|layer| layer.quantization()));
                    // A pool may have fewer threads than were asked for.
                    let tasks = tasks::task_count(threads);
                    let sizes = [[20, 30], [11, 17]];
                    let told = roi_pool_linear_scratch_len(pooled_in, &sizes, count, pooled, channels, tasks);
                    assert!(
                        scratch.len() <= told && (count == 0 || told <= scratch.len() + 2 * LINE),
                        "{told} told, {} taken, pooled in {pooled_in:?}, {channels} channels, {threads} threads",
                        scratch.len()
                    );
                    assert!(steps.chunks(2).all(|pair| pair == [Step::Pool, Step::Multiply]));
                    assert_eq!(steps.is_empty(), count == 0);
                }
            }
        }
    }

    /// What a cascade relies on: whichever RoIs are computed beside one, and on however many threads, its row has the same bits.
    /// Not so where AMX multiplies f32 in three parts: see [`F32Products`](crate::F32Products).
    #[test]
    fn a_row_is_the_same_beside_any_others() {
        let (bins, pooled, channels, count, n) = (6, &[[3, 2]][..], 72, 900, 37);
        let mut random = Random::new(11);
        let rois = rois(&mut random, count);
        let data = [random.values(20 * 30 * channels), random.values(11 * 17 * channels)];
        let maps = [
            FeatureMap::new(&data[0], 20, 30, channels).unwrap(),
            FeatureMap::new(&data[1], 11, 17, channels).unwrap(),
        ];
        let (k, order) = (bins * channels, KOrder::ChannelSlabs { bins, channels });
        let weights = random.values(k * n);
        let bits: Vec<u16> = weights.iter().map(|&value| f16_from_f32(value)).collect();
        let upper: Vec<u16> = weights.iter().map(|&value| frcnn_core::bf16_from_f32(value)).collect();
        let values: Vec<i8> = weights.iter().map(|value| (value * 127.0) as i8).collect();
        let (scales, input) = ([0.01; 37], Quantization { scale: 0.008, zero_point: 120 });
        let int8 = Int8Weights { values: &values, scales: &scales, input };
        let f32 = |isa| PreparedLinear::with(isa, &weights, k, n, order, 1).unwrap();
        let layers = Isa::available().map(f32).chain([
            PreparedLinear::from_f16(&bits, k, n, order, crate::F32Products::Exact, 1).unwrap(),
            PreparedLinear::from_bf16(&upper, k, n, order, 1).unwrap(),
            PreparedLinear::from_int8(int8, k, n, order, 1).unwrap(),
        ]);
        for linear in layers {
            let run = |rois: &[Roi], threads| {
                let mut out = vec![f32::NAN; rois.len() * n];
                let mut layers =
                    [PooledLayer { linear: &linear, bias: Some(&scales), relu: true, out: &mut out }];
                let scratch = &mut Vec::new();
                roi_pool_linear_into(&maps, rois, pooled, &mut layers, threads, scratch, &mut |_| {})
                    .unwrap();
                out
            };
            let all = run(&rois, 1);
            // From one in two to one in three hundred, and a few neighbours.
            for (first, step, most) in
                [(0, 1, 899), (1, 2, 900), (2, 7, 900), (5, 300, 900), (640, 1, 5), (899, 1, 1)]
            {
                let places: Vec<usize> = (first..count).step_by(step).take(most).collect();
                let some: Vec<Roi> = places.iter().map(|&place| rois[place]).collect();
                for threads in [1, 3] {
                    let rows = run(&some, threads);
                    for (&place, row) in places.iter().zip(rows.chunks_exact(n)) {
                        let expected = &all[place * n..][..n];
                        let same = row.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(
                            same,
                            "{linear:?}, RoI {place} of every {step} from {first}, {threads} threads"
                        );
                    }
                }
            }
        }
    }

    /// Bytes pooled and f32 pooled become the same sums, whatever the maps hold.
    #[test]
    fn pooled_bytes_are_pooled_values_quantised() {
        for (channels, count, pooled) in [
            (104, 700, &[[3, 2]][..]),
            (64, 600, &[[2, 2], [3, 1]]),
            (150, 9, &[[7, 7]]),
            (5, 400, &[[1, 1], [2, 2]]),
            (0, 3, &[[2, 2]]),
        ] {
            let mut random = Random::new(channels as u32);
            let rois = rois(&mut random, count);
            let mut data = [random.values(20 * 30 * channels), random.values(11 * 17 * channels)];
            let odd = [f32::NAN, f32::NEG_INFINITY, -0.0, f32::NAN, 0.0, -1e9, 1e9];
            for data in &mut data {
                data.iter_mut().step_by(13).zip(odd.into_iter().cycle()).for_each(|(x, odd)| *x = odd);
            }
            // A channel of nothing but NaN.
            data[0].iter_mut().step_by(channels.max(1)).for_each(|x| *x = f32::NAN);
            // One infinite value, on the second map: the RoIs that have it are NaN.
            if let Some(x) = data[1].get_mut((3 * 17 + 9) * channels + channels / 2) {
                *x = f32::INFINITY;
            }
            let maps = [
                FeatureMap::new(&data[0], 20, 30, channels).unwrap(),
                FeatureMap::new(&data[1], 11, 17, channels).unwrap(),
            ];
            let (bins, n) = (bin_count(pooled), 21);
            let k = bins * channels;
            let mut features = vec![0.0; count * k];
            for (roi, features) in rois.iter().zip(features.chunks_exact_mut(k.max(1))) {
                if let Some(&map) = maps.get(usize::from(roi.level)) {
                    super::super::roi_pool_into(map, &[*roi], pooled, 1, features).unwrap();
                }
            }
            let values: Vec<i8> = random.values(k * n).iter().map(|value| (value * 127.0) as i8).collect();
            let (scales, bias) = (random.values(n), random.values(n));
            for (zero_point, threads) in [(0, 1), (77, 3), (255, 1)] {
                let input = Quantization { scale: 0.006, zero_point };
                let weights = Int8Weights { values: &values, scales: &scales, input };
                let order = KOrder::ChannelSlabs { bins, channels };
                let linear = PreparedLinear::from_int8(weights, k, n, order, 1).unwrap();
                let (mut expected, mut out) = (vec![f32::NAN; count * n], vec![f32::NAN; count * n]);
                linear.run(&features, Some(&bias), false, count, 1, &mut expected).unwrap();
                let mut layers =
                    [PooledLayer { linear: &linear, bias: Some(&bias), relu: false, out: &mut out }];
                // Scratch that holds something else.
                let mut scratch = vec![f32::NAN; 5000];
                roi_pool_linear_into(&maps, &rois, pooled, &mut layers, threads, &mut scratch, &mut |_| {})
                    .unwrap();
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(
                    bits(&out),
                    bits(&expected),
                    "{channels} channels, {count} RoIs, zero point {zero_point}"
                );
                let nan = out.iter().filter(|value| value.is_nan()).count();
                // Of few RoIs none may have it.
                assert!(nan < out.len() / 2 && (nan > 0 || count < 100), "{nan} of {}", out.len());
            }
        }
    }

    #[test]
    fn wrong_lengths_are_errors() {
        let map = FeatureMap::new(&[0.0; 8], 2, 2, 2).unwrap();
        let rois = [Roi { level: 0, x1: 0, y1: 0, x2: 1, y2: 1 }];
        let slabs = KOrder::ChannelSlabs { bins: 4, channels: 2 };
        let run = |order, pooled, out: &mut [f32], maps: &[FeatureMap<'_>]| {
            let linear = PreparedLinear::with(Isa::detect(), &[0.0; 24], 8, 3, order, 1).unwrap();
            let mut layers = [PooledLayer { linear: &linear, bias: None, relu: false, out }];
            roi_pool_linear_into(maps, &rois, &[pooled], &mut layers, 1, &mut Vec::new(), &mut |_| {})
                .map_err(|error| error.what)
        };
        assert_eq!(run(slabs, [2, 2], &mut [0.0; 3], &[map]), Ok(()));
        assert_eq!(run(slabs, [2, 2], &mut [0.0; 4], &[map]), Err("out"));
        assert_eq!(run(slabs, [2, 3], &mut [0.0; 3], &[map]), Err("bins"));
        assert_eq!(run(KOrder::Natural, [2, 2], &mut [0.0; 3], &[map]), Err("channels in slabs"));
        let other = FeatureMap::new(&[0.0; 4], 2, 2, 1).unwrap();
        assert_eq!(run(slabs, [2, 2], &mut [0.0; 3], &[map, other]), Err("channels"));
    }
}
