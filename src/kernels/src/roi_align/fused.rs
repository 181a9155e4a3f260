//! RoIAlign and the fully connected layers that read it, slab of channels by slab: see [`pooled`](crate::pooled).
//!
//! Where all layers are int8 and quantise their input alike, each RoI's means are quantised as soon as they are there: a quarter
//! of the memory, and slabs of 64 channels.

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::ShapeError;

use super::{AlignedRoi, Axes, Places, RoiAlign, ScaledMap, check, for_each_roi, roi_align_with};
use crate::{
    Isa, PooledIn, PooledLayer, Quantization, Step,
    aligned::{LINE, aligned},
    int8::{bytes_mut, quantize_into},
    len_of,
    pooled::{Feature, Features, Slabs, check_layers, fill_with_nan, whole_lines},
    sync_ptr::SyncPtr,
    tasks,
};

/// Fully connected layers of the RoIs' aligned features, which are computed once for all `layers`.
///
/// The same as [`roi_align_into`](super::roi_align_into) and [`PreparedLinear::run`](crate::PreparedLinear::run) for each layer,
/// bit for bit, without the tensor between them. `scratch` is kept between calls. `after` is called after each step, for who wants
/// to know how long it took.
///
/// # Errors
/// A length does not match, a layer has another order, or an error of [`roi_align_into`](super::roi_align_into).
pub fn roi_align_linear_into(
    maps: &[ScaledMap<'_>],
    rois: &[AlignedRoi],
    align: &RoiAlign,
    layers: &mut [PooledLayer<'_>],
    threads: usize,
    scratch: &mut Vec<f32>,
    after: &mut dyn FnMut(Step),
) -> Result<(), ShapeError> {
    let bins = align.bins();
    let Some(channels) = check_layers(layers, rois.len(), bins)? else { return Ok(()) };
    ShapeError::check("channels", channels, check(maps, align)?)?;
    let Some(isa) = layers.first().map(|layer| layer.linear.isa()) else { return Ok(()) };
    let pooled_in = PooledIn::of_layers(layers);
    let at_once = pooled_in.rois_at_once([bins, channels]);
    for (i, rois) in rois.chunks(at_once).enumerate() {
        let features = Features { first_row: i * at_once, rois: rois.len(), bins, channels, threads };
        let job = Job { isa, maps, rois, align, features };
        let room = room(pooled_in, rois.len(), [bins, channels], tasks::task_count(threads));
        let room = aligned(scratch, room);
        match pooled_in {
            PooledIn::Bytes(input) if channels > 0 => job.in_bytes(input, layers, room, after),
            _ if pooled_in.is_whole(len_of(&[rois.len(), bins, channels])) => {
                let features = &mut room[..rois.len() * bins * channels];
                roi_align_with(isa, maps, rois, align, threads, features)?;
                after(Step::Pool);
                job.features.multiply_whole(layers, features)?;
                after(Step::Multiply);
            }
            _ => job.in_f32(layers, room, after),
        }
    }
    Ok(())
}

/// Values of scratch that [`roi_align_linear_into`] takes, at most, for so many RoIs and channels; saturates.
#[must_use]
pub fn roi_align_linear_scratch_len(
    pooled_in: PooledIn,
    rois: usize,
    align: &RoiAlign,
    channels: usize,
    threads: usize,
) -> usize {
    let bins = align.bins();
    let at_once = rois.min(pooled_in.rois_at_once([bins, channels]));
    room(pooled_in, at_once, [bins, channels], threads).saturating_add(LINE)
}

/// Values of scratch for RoIs that are taken at a time.
fn room(pooled_in: PooledIn, rois: usize, [bins, channels]: [usize; 2], tasks: usize) -> usize {
    let values = len_of(&[rois, bins, channels]);
    match pooled_in {
        PooledIn::Bytes(_) if channels > 0 => {
            let slabs = Slabs::new::<u8>(rois, [bins, channels], tasks).values();
            slabs.div_ceil(size_of::<f32>()).saturating_add(len_of(&[means_len(bins), tasks.max(1)]))
        }
        _ if pooled_in.is_whole(values) => whole_lines(values),
        _ => Slabs::new::<f32>(rois, [bins, channels], tasks).values(),
    }
}

/// Values of a slab of bytes of an RoI, before they are quantised.
fn means_len(bins: usize) -> usize {
    len_of(&[bins, u8::SLAB])
}

/// Some RoIs, whose lengths were checked.
struct Job<'a> {
    isa: Isa,
    maps: &'a [ScaledMap<'a>],
    rois: &'a [AlignedRoi],
    align: &'a RoiAlign,
    features: Features,
}

impl Job<'_> {
    fn in_f32(&self, layers: &mut [PooledLayer<'_>], room: &mut [f32], after: &mut dyn FnMut(Step)) {
        let Self { isa, maps, rois, align, features } = *self;
        let (slab_stride, roi_len) = (features.slabs::<f32>().len, features.bins * f32::SLAB);
        let mut axes = alloc::vec![Axes::default(); tasks::task_count(features.threads)];
        features.multiply_by_slabs(layers, room, after, |slabs, room| {
            let room = SyncPtr::new(room);
            for_each_roi(&mut axes, rois, |axes, i| {
                let data = room.offset(i * roi_len);
                let places = Places { data, bin_stride: f32::SLAB, slab_stride, stream: false };
                let bins = axes.set(maps, &rois[i], align);
                // SAFETY: each slab of the group has a line for each bin of each RoI, and no other task has this RoI.
                unsafe { axes.align(isa, bins, align, channels_of(slabs), places) };
            });
        });
    }

    fn in_bytes(
        &self,
        input: Quantization,
        layers: &mut [PooledLayer<'_>],
        room: &mut [f32],
        after: &mut dyn FnMut(Step),
    ) {
        let Self { isa, maps, rois, align, features } = *self;
        let tasks = tasks::task_count(features.threads);
        let (slab_len, roi_len) = (features.slabs::<u8>().len, features.bins * u8::SLAB);
        let (means, room) = room.split_at_mut(tasks * roi_len);
        // Of RoIs with a mean that is not finite a task notes the numbers.
        let mut states: Vec<_> = means
            .chunks_exact_mut(roi_len.max(1))
            .map(|means| (Axes::default(), means, Vec::new()))
            .collect();
        features.multiply_by_slabs(layers, bytes_mut(room), after, |slabs, room| {
            let room = SyncPtr::new(room);
            for_each_roi(&mut states, rois, |(axes, means, not_finite), i| {
                let bins = axes.set(maps, &rois[i], align);
                for (slab, channels) in slabs.iter().enumerate() {
                    if channels.len() < u8::SLAB {
                        // Nothing of the slab before is taken for this one's.
                        means.fill(0.0);
                    }
                    let data = SyncPtr::new(means);
                    // Channels one after the other, in room for those of a whole slab.
                    let (bin_stride, slab_stride) = (u8::SLAB, f32::SLAB);
                    let places = Places { data, bin_stride, slab_stride, stream: false };
                    // SAFETY: `means` are this task's, and have a slab of each bin.
                    unsafe { axes.align(isa, bins, align, channels.clone(), places) };
                    let to = room.offset(slab * slab_len + i * roi_len);
                    // SAFETY: each slab of the group has a line for each bin of each RoI, and no other task has this RoI.
                    let to = unsafe { core::slice::from_raw_parts_mut(to.as_mut_ptr(), roi_len) };
                    if !quantize_into(input, means, to, 1) {
                        not_finite.push(i);
                    }
                }
            });
        });
        let not_finite = states.into_iter().flat_map(|(_, _, not_finite)| not_finite);
        fill_with_nan(layers, not_finite.map(|i| features.first_row + i));
    }
}

/// The channels of slabs that follow one another.
fn channels_of(slabs: &[Range<usize>]) -> Range<usize> {
    slabs.first().map_or(0, |slab| slab.start)..slabs.last().map_or(0, |slab| slab.end)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use frcnn_core::BBox;

    use super::*;
    use crate::{FeatureMap, Int8Weights, KOrder, PreparedLinear, pooled::MAX_ROIS, test_random::Random};

    /// RoIs from small to as large as the map, on two levels and on one that has no map; one has no place.
    fn rois(random: &mut Random, count: usize) -> Vec<AlignedRoi> {
        let mut coordinate = |max: f32| (random.values(1)[0] + 1.0) / 2.0 * max;
        let roi = |i: usize| {
            let (x1, y1) = (coordinate(480.0), coordinate(320.0));
            let bbox = BBox::new(x1, y1, x1 + coordinate(400.0), y1 + coordinate(320.0));
            let level = if i + 3 > count { 2 } else { u16::from(i.is_multiple_of(3)) };
            let nowhere = BBox { x2: f32::NAN, ..bbox };
            AlignedRoi { level, bbox: if i == 4 { nowhere } else { bbox } }
        };
        (0..count).map(roi).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
    }

    #[test]
    fn fused_is_aligning_then_multiplying() {
        let widths = [37, 5];
        for (channels, count, pooled, sampling_ratio) in [
            (40, 700, [3, 2], 2),
            (16, 700, [2, 2], 0),
            (7, 300, [3, 2], 1),
            (150, 9, [7, 7], 2),
            (72, 70, [4, 2], 2),
            (3, 0, [3, 2], 2),
            (0, 3, [3, 2], 2),
        ] {
            let mut random = Random::new(count as u32);
            let rois = rois(&mut random, count);
            let data = [random.values(20 * 30 * channels), random.values(10 * 15 * channels)];
            let map = |i: usize, [height, width]: [usize; 2], spatial_scale| ScaledMap {
                map: FeatureMap::new(&data[i], height, width, channels).unwrap(),
                spatial_scale,
            };
            let maps = [map(0, [20, 30], 1.0 / 16.0), map(1, [10, 15], 1.0 / 32.0)];
            let align = RoiAlign { pooled, sampling_ratio, half_pixel: false };
            let bins = align.bins();
            let k = bins * channels;
            let mut features = vec![0.0; count * k];
            roi_align_with(Isa::detect(), &maps, &rois, &align, 1, &mut features).unwrap();
            // Two layers that read the same features: the first with a bias.
            let order = KOrder::ChannelSlabs { bins, channels };
            let weights = widths.map(|n| random.values(k * n));
            let bias = random.values(widths[0]);
            let bias = [Some(&bias[..]), None];
            let exact =
                |isa| [0, 1].map(|i| PreparedLinear::with(isa, &weights[i], k, widths[i], order, 1).unwrap());
            let split = [0, 1].map(|i| PreparedLinear::bf16x3(&weights[i], k, widths[i], order, 1).unwrap());
            let split = if let [Some(first), Some(second)] = split { Some([first, second]) } else { None };
            let whole: [Vec<i8>; 2] =
                weights.each_ref().map(|weights| weights.iter().map(|value| (value * 127.0) as i8).collect());
            let scales = [0.01; 37];
            let int8 = |i: usize, scale| {
                let input = Quantization { scale, zero_point: 120 };
                let int8 = Int8Weights { values: &whole[i], scales: &scales[..widths[i]], input };
                PreparedLinear::from_int8(int8, k, widths[i], order, 1).unwrap()
            };
            let mixed = exact(Isa::detect()).into_iter().next_back().unwrap();
            let of_int8 =
                [[int8(0, 0.008), int8(1, 0.008)], [int8(0, 0.008), int8(1, 0.005)], [int8(0, 0.008), mixed]];
            for linears in Isa::available().map(exact).chain(split).chain(of_int8) {
                for (relu, threads) in [([true, false], 1), ([false, true], 3)] {
                    let nan = || widths.map(|n| vec![f32::NAN; count * n]);
                    let (mut expected, mut out) = (nan(), nan());
                    for i in [0, 1] {
                        linears[i].run(&features, bias[i], relu[i], count, 1, &mut expected[i]).unwrap();
                    }
                    // Scratch that holds something else.
                    let (mut scratch, mut steps) = (vec![f32::NAN; 11], Vec::new());
                    let [first, second] = &mut out;
                    let mut layers = [(0, first), (1, second)].map(|(i, out)| PooledLayer {
                        linear: &linears[i],
                        bias: bias[i],
                        relu: relu[i],
                        out,
                    });
                    let after = &mut |step| steps.push(step);
                    roi_align_linear_into(&maps, &rois, &align, &mut layers, threads, &mut scratch, after)
                        .unwrap();
                    let pooled_in = PooledIn::of_layers(&layers);
                    for i in [0, 1] {
                        assert_eq!(
                            bits(&out[i]),
                            bits(&expected[i]),
                            "{:?}, {channels} channels, {count} RoIs, {threads} threads",
                            linears[i]
                        );
                    }
                    // A pool may have fewer threads than were asked for.
                    let tasks = tasks::task_count(threads);
                    let told = roi_align_linear_scratch_len(pooled_in, count, &align, channels, tasks);
                    assert!(
                        scratch.len() <= told.max(11) && (count == 0 || told <= scratch.len().max(LINE)),
                        "{told} told, {} taken, pooled in {pooled_in:?}, {channels} channels, {threads} threads",
                        scratch.len()
                    );
                    assert!(steps.chunks(2).all(|pair| pair == [Step::Pool, Step::Multiply]));
                    assert_eq!(steps.is_empty(), count == 0);
                }
            }
        }
    }

    /// More RoIs than are taken at a time, and so many features that those are made slab by slab, in groups.
    #[test]
    fn many_rois_are_taken_in_parts() {
        let (channels, bins, n) = (208, 8, 3);
        let (k, count) = (bins * channels, MAX_ROIS + 5);
        let caches = crate::CacheInfo::detect();
        assert!(MAX_ROIS * k > crate::blocking::pooled_whole_values(caches));
        assert!(4 * MAX_ROIS * k > crate::blocking::pooled_group_bytes(caches));
        let mut random = Random::new(5);
        let rois = rois(&mut random, count);
        let data = random.values(20 * 30 * channels);
        let map = FeatureMap::new(&data, 20, 30, channels).unwrap();
        let maps = [ScaledMap { map, spatial_scale: 1.0 / 16.0 }];
        let align = RoiAlign { pooled: [2, 4], sampling_ratio: 2, half_pixel: false };
        let mut features = vec![0.0; count * k];
        roi_align_with(Isa::detect(), &maps, &rois, &align, 1, &mut features).unwrap();
        let weights = random.values(k * n);
        let order = KOrder::ChannelSlabs { bins, channels };
        let linear = PreparedLinear::with(Isa::detect(), &weights, k, n, order, 1).unwrap();
        let bias = random.values(n);
        let (mut expected, mut out) = (vec![0.0; count * n], vec![f32::NAN; count * n]);
        linear.run(&features, Some(&bias), true, count, 1, &mut expected).unwrap();
        for threads in [1, 2] {
            let mut layers = [PooledLayer { linear: &linear, bias: Some(&bias), relu: true, out: &mut out }];
            let scratch = &mut Vec::new();
            roi_align_linear_into(&maps, &rois, &align, &mut layers, threads, scratch, &mut |_| {}).unwrap();
            assert_eq!(bits(&out), bits(&expected), "{threads} threads");
        }
    }

    #[test]
    fn wrong_lengths_are_errors() {
        let map = |data, channels| ScaledMap {
            map: FeatureMap::new(data, 2, 2, channels).unwrap(),
            spatial_scale: 1.0,
        };
        let maps = [map(&[0.0; 8], 2), map(&[0.0; 4], 1)];
        let rois = [AlignedRoi { level: 0, bbox: BBox::new(0.0, 0.0, 1.0, 1.0) }];
        let slabs = KOrder::ChannelSlabs { bins: 4, channels: 2 };
        let run = |order, pooled, out: &mut [f32], maps: &[ScaledMap<'_>]| {
            let linear = PreparedLinear::with(Isa::detect(), &[0.0; 24], 8, 3, order, 1).unwrap();
            let mut layers = [PooledLayer { linear: &linear, bias: None, relu: false, out }];
            let align = RoiAlign { pooled, sampling_ratio: 2, half_pixel: false };
            roi_align_linear_into(maps, &rois, &align, &mut layers, 1, &mut Vec::new(), &mut |_| {})
                .map_err(|error| error.what)
        };
        assert_eq!(run(slabs, [2, 2], &mut [0.0; 3], &maps[..1]), Ok(()));
        assert_eq!(run(slabs, [2, 2], &mut [0.0; 4], &maps[..1]), Err("out"));
        assert_eq!(run(slabs, [2, 3], &mut [0.0; 3], &maps[..1]), Err("bins"));
        assert_eq!(run(KOrder::Natural, [2, 2], &mut [0.0; 3], &maps[..1]), Err("channels in slabs"));
        assert_eq!(run(slabs, [2, 2], &mut [0.0; 3], &maps), Err("channels"));
        assert_eq!(run(slabs, [2, 2], &mut [0.0; 3], &maps[1..]), Err("channels"));
        assert_eq!(run(slabs, [2, 2], &mut [0.0; 3], &[]), Err("maps"));
    }
}
