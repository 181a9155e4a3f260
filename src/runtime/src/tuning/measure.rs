//! The measurement behind a tuning.

use std::sync::Arc;
use std::time::{Duration, Instant};

use frcnn_bundle::{Bundle, Contents, nominal_size};
use frcnn_core::ShapeError;
use frcnn_kernels::{CacheInfo, ConvArgs, ConvCandidate};
use serde::Serialize;

use super::{TunedLayer, Tuning, algorithm_name, cpu_name};
use crate::crops::TRUNK_BATCH;
use crate::model::in_pool;
use crate::ops::{ConvPlan, UnpackedConv};
use crate::options::{Options, Settings};
use crate::{BBox, Detector, Error, Frame};

/// Each algorithm of a layer runs at least as often ...
const LEAST_ROUNDS: usize = 3;
/// ... and up to so often, while a layer has taken less time than this.
const MOST_ROUNDS: usize = 15;
const LAYER_TIME: Duration = Duration::from_millis(400);
/// Most bytes that are written between two runs, so that weights come from memory, as they do where other layers have run
/// in between.
const MOST_FLUSHED: usize = 64 << 20;
/// Frames by which the whole network is measured with the choice and without, and boxes on each: a batch of R-CNN's crops.
const FRAMES: usize = 5;
const BOXES: usize = TRUNK_BATCH;
/// What the whole network must gain.
const WORTH: f64 = 0.01;

/// How far a measurement is.
#[derive(Clone, Copy, Debug)]
pub struct TuneStep<'a> {
    /// The layer that is measured next; `None` for the whole network.
    pub layer: Option<&'a str>,
    /// Layers done.
    pub done: usize,
    /// Layers in all.
    pub layers: usize,
}

/// What a measurement found.
#[derive(Clone, Debug, Serialize)]
pub struct TuneReport {
    /// The times of all layers.
    pub tuning: Tuning,
    /// Milliseconds of the trunk and the head on a frame with a few boxes, by the algorithms that are expected to be fastest.
    pub expected_ms: f64,
    /// The same by those that were measured to be.
    pub tuned_ms: f64,
}

impl TuneReport {
    /// Whether the choice pays on the whole network, by more than one measurement differs from the next.
    pub fn gains(&self) -> bool {
        self.tuned_ms < self.expected_ms * (1.0 - WORTH)
    }
}

impl Tuning {
    /// Measures each convolution of a bundle by each algorithm, on `options.threads` threads, and the whole network with
    /// the fastest of them.
    ///
    /// # Errors
    /// As [`Detector::new`].
    pub fn measure(
        bundle: &Bundle,
        options: &Options,
        progress: &mut dyn FnMut(TuneStep<'_>),
    ) -> Result<TuneReport, Error> {
        let bundle = Arc::new(bundle.clone());
        let plain = Options { tuning: None, ..options.clone() };
        // What cannot be opened is found out first.
        let expected = Detector::new(bundle.clone(), &plain)?;
        let Settings { threads, .. } = expected.model.settings;
        let (contents, weights) = Arc::unwrap_or_clone(bundle.clone()).into_parts();
        let mut plans = ConvPlan::all(&contents);
        plans.retain(|plan| plan.candidates().len() > 1);
        let layers = UnpackedConv::all(plans, &contents, &weights);
        let mut caches = Flush::new();
        let mut tuned = Vec::with_capacity(layers.len());
        for (done, layer) in layers.iter().enumerate() {
            progress(TuneStep { layer: Some(&layer.plan.name), done, layers: layers.len() });
            // Layers of one shape take the same time.
            let times = match tuned.iter().find(|other: &&TunedLayer| other.shape == layer.plan.shape_name())
            {
                Some(same) => same.times.clone(),
                None => in_pool(expected.model.pool.as_ref(), || times(layer, threads, &mut caches))?,
            };
            let shape = layer.plan.shape_name();
            tuned.push(TunedLayer { layer: layer.plan.name.clone(), shape, times });
        }
        let tuning = Tuning { cpu: cpu_name(), threads: threads as u32, layers: tuned };

        if layers.is_empty() {
            return Ok(TuneReport { tuning, expected_ms: 0.0, tuned_ms: 0.0 });
        }
        progress(TuneStep { layer: None, done: layers.len(), layers: layers.len() });
        drop(layers);
        let tuned = Detector::new(bundle, &Options { tuning: Some(tuning.clone()), ..plain })?;
        let [expected_ms, tuned_ms] = whole([&expected, &tuned], &contents)?;
        Ok(TuneReport { tuning, expected_ms, tuned_ms })
    }
}

/// Least milliseconds of a layer by each algorithm, in turns.
fn times(layer: &UnpackedConv, threads: usize, caches: &mut Flush) -> Result<Vec<(String, f64)>, ShapeError> {
    let shape = &layer.plan.shape;
    let input = activations(shape.batch * shape.height * shape.width * shape.in_channels);
    let (height, width) = shape.output_size().unwrap_or((0, 0));
    let mut out = vec![0.0; shape.batch * height * width * shape.out_channels];
    let mut scratch = Vec::new();
    let prepare = |candidate: &ConvCandidate| {
        Ok((candidate.algorithm, layer.prepare(Some(candidate.algorithm), threads)?))
    };
    let prepared = layer.plan.candidates().iter().map(prepare).collect::<Result<Vec<_>, ShapeError>>()?;
    let mut least = vec![f64::INFINITY; prepared.len()];
    let begun = Instant::now();
    for round in 0..MOST_ROUNDS {
        if round >= LEAST_ROUNDS && begun.elapsed() > LAYER_TIME {
            break;
        }
        for ((_, layer), least) in prepared.iter().zip(&mut least) {
            caches.flush();
            let args = ConvArgs { input: &input[..], bias: None, relu: true, threads };
            let run = Instant::now();
            layer.run(shape, args, &mut scratch, &mut out)?;
            *least = least.min(run.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(prepared
        .iter()
        .zip(least)
        .map(|(&(algorithm, _), ms)| (algorithm_name(algorithm).to_string(), ms))
        .collect())
}

/// Least milliseconds of a frame's trunk and head by each detector, in turns.
fn whole(detectors: [&Detector; 2], contents: &Contents) -> Result<[f64; 2], Error> {
    let (height, width) = nominal_size(contents);
    let noise = activations(height * width * 3);
    let pixels: Vec<u8> = noise.iter().map(|value| (value * 255.0) as u8).collect();
    let frame = Frame::rgb8(&pixels, width as u32, height as u32)?;
    let boxes = (1..=BOXES).map(|i| i as f32 / BOXES as f32 / 2.0);
    let boxes: Vec<BBox> =
        boxes.map(|side| BBox::new(0.0, 0.0, side * width as f32, side * height as f32)).collect();
    let mut least = [f64::INFINITY; 2];
    // The first frame of each allocates.
    for round in 0..=FRAMES {
        for (detector, least) in detectors.iter().zip(&mut least) {
            let mut session = detector.session();
            session.detect(&frame, &boxes)?;
            session.detect(&frame, &boxes)?;
            if round > 0 {
                let timings = session.timings();
                *least = least.min((timings.trunk + timings.head).as_secs_f64() * 1e3);
            }
        }
    }
    Ok(least)
}

/// Numbers like those behind a ReLU: half of them 0, the others below 1.
fn activations(count: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (((state >> 40) as f32) / (1u32 << 23) as f32 - 1.0).max(0.0)
    };
    (0..count).map(next).collect()
}

/// Memory that is written to empty the caches.
struct Flush(Vec<u8>);

impl Flush {
    fn new() -> Flush {
        let CacheInfo { l2, l3, .. } = CacheInfo::detect();
        Flush(vec![0; (2 * l2.bytes.max(l3.bytes)).min(MOST_FLUSHED)])
    }

    fn flush(&mut self) {
        for line in self.0.chunks_mut(64) {
            line[0] = line[0].wrapping_add(1);
        }
        std::hint::black_box(&self.0);
    }
}
