//! What is known of each region: size, box, neighbours, and histograms of colour and texture.

use super::bins::{AXES, AXIS, Bins, COLOURS, ChannelBins, SLOPES};
use super::segment::Segmentation;

/// Histogram lengths are multiples of this, so that they are compared in whole steps.
pub(super) const LANES: usize = 16;

/// The regions of one segmentation.
#[derive(Clone, Debug)]
pub struct RegionFeatures {
    /// Pixels.
    pub(super) sizes: Vec<f32>,
    /// x1, y1, x2, y2, corners inclusive.
    pub(super) boxes: Vec<[u16; 4]>,
    /// Texture, then colour, of one region after the other; each of the two sums to 1.
    pub(super) histograms: Vec<f32>,
    /// Values of one region's texture.
    pub(super) texture_len: usize,
    /// Values of one region.
    pub(super) histogram_len: usize,
    /// Pairs that touch, each once, the smaller number first.
    pub(super) pairs: Vec<(u32, u32)>,
    /// Pixels of the image.
    pub(super) area: f32,
}

impl RegionFeatures {
    /// Of an image of `width` pixels a row.
    #[must_use]
    pub fn new(segmentation: &Segmentation, bins: &Bins, width: usize) -> RegionFeatures {
        let count = segmentation.count;
        let (sizes, boxes) = extents(segmentation, width);
        let channels = bins.channels.len();
        let texture_len = (channels * AXES * 2 * SLOPES).next_multiple_of(LANES);
        let histogram_len = texture_len + (channels * COLOURS).next_multiple_of(LANES);
        let counts = counts(segmentation, bins, width);
        let per_region = channels * CHANNEL;
        let mut histograms = vec![0.0; count * histogram_len];
        for ((counts, histogram), size) in
            counts.chunks_exact(per_region).zip(histograms.chunks_exact_mut(histogram_len)).zip(&sizes)
        {
            let (texture, colour) = histogram.split_at_mut(texture_len);
            normalise(counts, *size, channels, texture, colour);
        }
        RegionFeatures {
            sizes,
            boxes,
            histograms,
            texture_len,
            histogram_len,
            pairs: pairs(segmentation, width),
            area: segmentation.labels.len() as f32,
        }
    }
}

fn extents(segmentation: &Segmentation, width: usize) -> (Vec<f32>, Vec<[u16; 4]>) {
    let mut sizes = vec![0.0; segmentation.count];
    let mut boxes = vec![[u16::MAX, u16::MAX, 0, 0]; segmentation.count];
    for (y, row) in segmentation.labels.chunks_exact(width).enumerate() {
        for (start, run) in runs(row) {
            let (Some(b), label) = (boxes.get_mut(run[0] as usize), run[0] as usize) else { continue };
            let (x1, x2, y) = (start as u16, (start + run.len() - 1) as u16, y as u16);
            *b = [b[0].min(x1), b[1].min(y), b[2].max(x2), b[3].max(y)];
            sizes[label] += run.len() as f32;
        }
    }
    (sizes, boxes)
}

/// Runs of equal labels, each with its first column.
fn runs(row: &[u32]) -> impl Iterator<Item = (usize, &[u32])> {
    let mut start = 0;
    row.chunk_by(|a, b| a == b).map(move |run| {
        let first = start;
        start += run.len();
        (first, run)
    })
}

/// Counters of one channel: colours, then each axis.
const CHANNEL: usize = COLOURS + AXES * AXIS;

/// By region, channel, bin: its pixels.
fn counts(segmentation: &Segmentation, bins: &Bins, width: usize) -> Vec<u32> {
    let per_region = bins.channels.len() * CHANNEL;
    let mut counts = vec![0u32; segmentation.count * per_region];
    for (y, row) in segmentation.labels.chunks_exact(width).enumerate() {
        for (start, run) in runs(row) {
            let pixels = y * width + start..y * width + start + run.len();
            let counts = &mut counts[run[0] as usize * per_region..][..per_region];
            for (counts, channel) in counts.chunks_exact_mut(CHANNEL).zip(&bins.channels) {
                count(counts, channel, pixels.clone());
            }
        }
    }
    counts
}

/// Counts five histograms side by side: where one waits for a counter that it has just written, the others go on.
fn count(counts: &mut [u32], channel: &ChannelBins, pixels: std::ops::Range<usize>) {
    let (colours, slopes) = counts.split_at_mut(COLOURS);
    let ([a, b, c, d], _) = slopes.as_chunks_mut::<AXIS>() else { return };
    let bins = [&channel.slopes[0], &channel.slopes[1], &channel.slopes[2], &channel.slopes[3]];
    let [in_a, in_b, in_c, in_d] = bins.map(|bins| &bins[pixels.clone()]);
    let along = in_a.iter().zip(in_b).zip(in_c.iter().zip(in_d));
    for (colour, ((in_a, in_b), (in_c, in_d))) in channel.colour[pixels].iter().zip(along) {
        add(colours, *colour);
        add(a, *in_a);
        add(b, *in_b);
        add(c, *in_c);
        add(d, *in_d);
    }
}

#[inline(always)]
fn add(counts: &mut [u32], bin: u8) {
    if let Some(count) = counts.get_mut(usize::from(bin)) {
        *count += 1;
    }
}

/// Counters to histograms. A slope along one orientation is none along the opposite one.
fn normalise(counts: &[u32], size: f32, channels: usize, texture: &mut [f32], colour: &mut [f32]) {
    let of_texture = 1.0 / (size * (channels * 2 * AXES) as f32);
    let of_colour = 1.0 / (size * channels as f32);
    let mut orientations = texture.chunks_exact_mut(SLOPES);
    for (counts, colour) in counts.chunks_exact(CHANNEL).zip(colour.chunks_exact_mut(COLOURS)) {
        let (colours, slopes) = counts.split_at(COLOURS);
        for (out, &count) in colour.iter_mut().zip(colours) {
            *out = count as f32 * of_colour;
        }
        for axis in slopes.chunks_exact(AXIS) {
            let (down, up) = (axis[..SLOPES].iter().rev(), axis[SLOPES - 1..].iter());
            for (out, counts) in orientations.by_ref().zip([up.collect::<Vec<_>>(), down.collect()]) {
                let mut none = size;
                for (out, &&count) in out.iter_mut().zip(&counts).skip(1) {
                    *out = count as f32 * of_texture;
                    none -= count as f32;
                }
                out[0] = none * of_texture;
            }
        }
    }
}

/// Regions with pixels side by side or one above the other.
fn pairs(segmentation: &Segmentation, width: usize) -> Vec<(u32, u32)> {
    let labels = &segmentation.labels;
    let beside = labels.chunks_exact(width).flat_map(|row| row.iter().zip(&row[1..]));
    let below = labels.iter().zip(labels.get(width..).unwrap_or_default());
    let mut pairs = Vec::new();
    let mut last = (u32::MAX, u32::MAX);
    for (&a, &b) in beside.chain(below) {
        if a != b {
            let pair = (a.min(b), a.max(b));
            // Borders are long: most repeat the pair before.
            if pair != last {
                pairs.push(pair);
                last = pair;
            }
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}
