//! RoI pooling and the fully connected layers that read it, slab of channels by slab.
//!
//! ```text
//!   for each group of slabs:   pool them for all RoIs          [R, Ph Pw, 16] each, in cache
//!                              out += pooled x their weights   [R, N], for each layer that reads them
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::{Roi, ShapeError};

use super::{Bins, FeatureMap, Spans, bin_count, pool_slab, roi_pool_into, table::Table};
use crate::{
    CacheInfo, Isa, KOrder, PreparedLinear,
    aligned::aligned,
    blocking::{pooled_group_values, pooled_whole_values},
    gemm::check_bias,
    init::Init,
    k_order::{KBlock, KPart, SLAB, slab_blocks, slabs},
    len_of,
    sync_ptr::SyncPtr,
    tasks,
};

/// RoIs taken at a time.
const MAX_ROIS: usize = 4096;

/// What [`roi_pool_linear_into`] has just done some of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pooled RoIs.
    Pool,
    /// Multiplied pooled features with weights.
    Multiply,
}

/// A fully connected layer that reads RoIs' pooled features, and where what it gives goes.
#[derive(Debug)]
pub struct PooledLayer<'a> {
    /// Prepared with [`KOrder::ChannelSlabs`] of the pooled bins and the maps' channels.
    pub linear: &'a PreparedLinear,
    /// `[N]`.
    pub bias: Option<&'a [f32]>,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// `[R, N]`.
    pub out: &'a mut [f32],
}

/// Fully connected layers of the RoIs' pooled features, which are pooled once for all `layers`.
///
/// The same as [`roi_pool_into`](super::roi_pool_into) and [`PreparedLinear::run`] for each layer, bit for bit, without the
/// tensor between them. RoIs are pooled from the map of their level, zeros where there is none. `scratch` is kept between
/// calls. `after` is called after each step, for who wants to know how long it took.
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
    let Some(first) = layers.first() else { return Ok(()) };
    let (isa, channels) = (first.linear.isa(), first.check(rois.len(), bins)?);
    for layer in &layers[1..] {
        ShapeError::check("channels", channels, layer.check(rois.len(), bins)?)?;
    }
    for map in maps {
        ShapeError::check("channels", channels, map.channels())?;
    }
    for (i, rois) in rois.chunks(MAX_ROIS).enumerate() {
        let job = Job { isa, maps, rois, first_row: i * MAX_ROIS, pooled, bins, channels, threads };
        let runs = job.runs();
        if len_of(&[rois.len(), bins, channels]) > pooled_whole_values(CacheInfo::detect()) {
            job.by_slabs(&runs, layers, scratch, after);
        } else {
            job.whole(&runs, layers, scratch, after)?;
        }
    }
    Ok(())
}

impl PooledLayer<'_> {
    /// Whether its lengths are those for so many RoIs and bins; gives the channels that it reads.
    fn check(&self, rois: usize, bins: usize) -> Result<usize, ShapeError> {
        let n = self.linear.out_features();
        ShapeError::check("out", len_of(&[rois, n]), self.out.len())?;
        check_bias(self.bias, n)?;
        match self.linear.order() {
            KOrder::ChannelSlabs { bins: of_layer, channels } => {
                ShapeError::check("bins", of_layer, bins)?;
                Ok(channels)
            }
            KOrder::Natural => Err(ShapeError { what: "channels in slabs", expected: SLAB, found: 0 }),
        }
    }

    /// Its output for `rows` RoIs from `first` on.
    fn rows(&mut self, first: usize, rows: usize) -> &mut [f32] {
        let n = self.linear.out_features();
        &mut self.out[first * n..][..rows * n]
    }
}

/// The arguments of [`roi_pool_linear_into`] for some of its RoIs, checked.
struct Job<'a> {
    isa: Isa,
    maps: &'a [FeatureMap<'a>],
    rois: &'a [Roi],
    /// The first RoI's row of the layers' outputs.
    first_row: usize,
    pooled: &'a [[usize; 2]],
    bins: usize,
    channels: usize,
    threads: usize,
}

/// RoIs that follow one another and are on the same map.
struct MapRun<'a> {
    map: Option<FeatureMap<'a>>,
    rois: Range<usize>,
    spans: Option<Spans<'a>>,
}

impl<'a> Job<'a> {
    fn runs(&self) -> Vec<MapRun<'a>> {
        let mut first = 0;
        let runs = self.rois.chunk_by(|a, b| a.level == b.level).map(|run| {
            let rois = first..first + run.len();
            first = rois.end;
            let map = run.first().and_then(|roi| self.maps.get(usize::from(roi.level))).copied();
            let spans = map.and_then(|map| Spans::worth_it(map, run, self.pooled));
            MapRun { map, rois, spans }
        });
        runs.collect()
    }

    fn by_slabs(
        &self,
        runs: &[MapRun<'_>],
        layers: &mut [PooledLayer<'_>],
        scratch: &mut Vec<f32>,
        after: &mut dyn FnMut(Step),
    ) {
        let rows = self.rois.len();
        let (isa, roi_len) = (self.isa, self.bins * SLAB);
        let slab_len = rows * roi_len;
        let tasks = tasks::task_count(self.threads);
        // As many slabs as tasks, or all would not have work.
        let at_once =
            (pooled_group_values(CacheInfo::detect()) / slab_len.max(1)).next_multiple_of(tasks).max(tasks);
        let slabs: Vec<Range<usize>> = slabs(self.channels).collect();
        let at_once = at_once.min(slabs.len());
        let buffer = aligned(scratch, len_of(&[at_once, slab_len]));
        let mut tables: Vec<Table> = (0..tasks).map(|_| Table::new()).collect();
        for (group, slabs) in slabs.chunks(at_once).enumerate() {
            let pooled = SyncPtr::new(buffer);
            // A slab of channels of all RoIs is what a task takes.
            tasks::for_each_index(&mut tables, slabs.len(), |table, i| {
                let channels = slabs[i].clone();
                for run in runs {
                    let data = pooled.offset(i * slab_len + run.rois.start * roi_len);
                    let rois = &self.rois[run.rois.clone()];
                    let Some(map) = run.map else {
                        // SAFETY: `rois.len()` RoIs of this slab, which is this task's alone.
                        unsafe { data.as_mut_ptr().write_bytes(0, rois.len() * roi_len) };
                        continue;
                    };
                    let (spans, channels) = (run.spans.as_ref(), channels.clone());
                    let out = Bins { data, roi_stride: roi_len, bin_stride: SLAB, large: false };
                    // SAFETY: as above; a bin has the slab's channels, at most `SLAB`.
                    unsafe { pool_slab(isa, table, map, rois, spans, self.pooled, channels, out) };
                }
            });
            after(Step::Pool);
            let blocks: Vec<Vec<KBlock>> =
                slabs.iter().map(|slab| slab_blocks(self.bins, slab.clone(), SLAB, 0).collect()).collect();
            let parts: Vec<KPart<'_>> = blocks
                .iter()
                .zip(buffer.chunks_exact(slab_len.max(1)))
                .flat_map(|(blocks, data)| {
                    blocks.iter().map(move |block| KPart { data, stride: roi_len, block })
                })
                .collect();
            let is_last = (group + 1) * at_once >= self.channels.div_ceil(SLAB);
            for layer in &mut *layers {
                let (linear, relu) = (layer.linear, layer.relu && is_last);
                let init = if group == 0 { Init::bias(layer.bias) } else { Init::Accumulate };
                linear.accumulate(&parts, init, relu, rows, self.threads, layer.rows(self.first_row, rows));
            }
            after(Step::Multiply);
        }
    }

    fn whole(
        &self,
        runs: &[MapRun<'_>],
        layers: &mut [PooledLayer<'_>],
        scratch: &mut Vec<f32>,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), ShapeError> {
        let (rows, features) = (self.rois.len(), self.bins * self.channels);
        let buffer = aligned(scratch, len_of(&[rows, features]));
        let mut rest = &mut *buffer;
        for run in runs {
            let rois = &self.rois[run.rois.clone()];
            let pooled = rest.split_off_mut(..rois.len() * features).unwrap_or_default();
            match run.map {
                Some(map) => roi_pool_into(map, rois, self.pooled, self.threads, pooled)?,
                None => pooled.fill(0.0),
            }
        }
        after(Step::Pool);
        for layer in layers {
            let (linear, bias, relu) = (layer.linear, layer.bias, layer.relu);
            linear.run(buffer, bias, relu, rows, self.threads, layer.rows(self.first_row, rows))?;
        }
        after(Step::Multiply);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::test_random::Random;

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
            for linears in Isa::available().map(exact).chain(split) {
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
                    assert!(steps.chunks(2).all(|pair| pair == [Step::Pool, Step::Multiply]));
                    assert_eq!(steps.is_empty(), count == 0);
                }
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
