//! How far each layer of the published trunks is from a float64 reference.
//!
//! Weights are random (He), the input is noise in the range of an image's values. The f32 trunk runs on the kernels
//! that a detector uses, each layer in the algorithm that it has on the full blob; the reference sums in f64. Errors
//! add up from layer to layer, as they do in a detector. `cargo test --release --workspace --test trunk_error -- --nocapture`
//! prints the table of benches/README.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use frcnn_core::relative_difference;
use frcnn_kernels::{ConvAlgorithm, ConvArgs, ConvShape, PoolShape, PreparedConv, lrn_into, max_pool_into};
use frcnn_networks::{LRN_BETA, LRN_SIZE, Lrn, TrunkLayer};
use frcnn_tests::trunks::{Size, TRUNKS, conv_shape, fire_shapes, output_size, pool_shape, random, weights};

/// The project's bound for every layer, as a share of its largest value.
const ALLOWED: f64 = 2e-4;
/// Odd sizes, so that tiles and windows hang over, and small ones: the reference takes a second for each GFLOP.
const SIZE: [usize; 2] = [99, 131];

/// One map, as the kernels and as the reference have it.
struct Maps {
    size: Size,
    f32: Vec<f32>,
    f64: Vec<f64>,
}

impl Maps {
    fn error(&self) -> f64 {
        relative_difference(&self.f32, &self.f64)
    }

    /// Convolution and ReLU; `on_blob` is the layer on the full blob.
    fn conv(&self, shape: &ConvShape, on_blob: &ConvShape, seed: u64) -> (Maps, ConvAlgorithm) {
        let weights = weights(shape, seed);
        let bias = random(shape.out_channels, seed + 1);
        let (height, width) = shape.output_size().unwrap();
        let size = [height, width, shape.out_channels];
        let mut out = vec![f32::NAN; size.iter().product()];
        let prepared = PreparedConv::new(on_blob, &weights, 1).unwrap();
        let args = ConvArgs { input: &self.f32[..], bias: Some(&bias), relu: true, threads: 1 };
        prepared.run(shape, args, &mut Vec::new(), &mut out).unwrap();
        let maps = Maps { size, f32: out, f64: conv_f64(shape, &self.f64, &weights, &bias) };
        (maps, prepared.algorithm())
    }

    fn max_pool(&self, shape: &PoolShape) -> Maps {
        let (height, width) = shape.output_size().unwrap();
        let size = [height, width, shape.channels];
        let mut out = vec![f32::NAN; size.iter().product()];
        max_pool_into(shape, &self.f32, 1, &mut out).unwrap();
        Maps { size, f32: out, f64: max_pool_f64(shape, &self.f64, [height, width]) }
    }

    fn lrn(&self, Lrn { alpha, k }: Lrn) -> Maps {
        let mut out = vec![f32::NAN; self.f32.len()];
        let lrn = frcnn_kernels::Lrn { size: LRN_SIZE, alpha, beta: LRN_BETA, k };
        lrn_into(lrn, &self.f32, self.size[2], 1, &mut out).unwrap();
        let exact = self.f64.chunks(self.size[2]).flat_map(|cell| {
            (0..cell.len()).map(move |c| {
                let window = &cell[c.saturating_sub(2)..cell.len().min(c + 3)];
                let squares: f64 = window.iter().map(|v| v * v).sum();
                cell[c] / (f64::from(k) + f64::from(alpha) / 5.0 * squares).powf(0.75)
            })
        });
        Maps { size: self.size, f32: out, f64: exact.collect() }
    }
}

fn conv_f64(shape: &ConvShape, input: &[f64], weights: &[f32], bias: &[f32]) -> Vec<f64> {
    let (height, width) = shape.output_size().unwrap();
    let (ci, co) = (shape.in_channels / shape.group, shape.out_channels / shape.group);
    let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let mut out = Vec::with_capacity(height * width * shape.out_channels);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let first = out.len();
        out.extend(bias.iter().map(|&b| f64::from(b)));
        let sums = &mut out[first..];
        for (ty, tx) in (0..shape.kernel[0]).flat_map(|ty| (0..shape.kernel[1]).map(move |tx| (ty, tx))) {
            let iy = (y * shape.stride[0] + ty).wrapping_sub(shape.pads[0]);
            let ix = (x * shape.stride[1] + tx).wrapping_sub(shape.pads[1]);
            if iy >= shape.height || ix >= shape.width {
                continue;
            }
            let cell = &input[(iy * shape.width + ix) * shape.in_channels..][..shape.in_channels];
            let tap = &weights[(ty * shape.kernel[1] + tx) * ci * shape.out_channels..];
            for group in 0..shape.group {
                for (c, value) in cell[group * ci..][..ci].iter().enumerate() {
                    let row = &tap[c * shape.out_channels + group * co..][..co];
                    sums[group * co..][..co].iter_mut().zip(row).for_each(|(sum, w)| *sum += value * w);
                }
            }
        }
        sums.iter_mut().for_each(|sum| *sum = sum.max(0.0));
    }
    out
}

fn max_pool_f64(shape: &PoolShape, input: &[f64], [height, width]: [usize; 2]) -> Vec<f64> {
    let mut out = Vec::with_capacity(height * width * shape.channels);
    let taps = |position: usize, axis: usize, len: usize| {
        let start = position * shape.stride[axis];
        let pad = shape.pads[axis];
        start.saturating_sub(pad)..(start + shape.kernel[axis]).saturating_sub(pad).min(len)
    };
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for c in 0..shape.channels {
            let rows = taps(y, 0, shape.height);
            let cells = rows.flat_map(|iy| taps(x, 1, shape.width).map(move |ix| iy * shape.width + ix));
            out.push(cells.map(|cell| input[cell * shape.channels + c]).max_by(f64::total_cmp).unwrap());
        }
    }
    out
}

/// Fire modules concatenate channels.
fn concat<T: Copy>(a: &[T], b: &[T], channels: usize) -> Vec<T> {
    a.chunks(channels).zip(b.chunks(channels)).flat_map(|(a, b)| [a, b].concat()).collect()
}

#[test]
fn every_layer_is_near_a_float64_reference() {
    for (network, blob) in TRUNKS {
        let net = network.name;
        println!("\n| {net} | algorithm | error |\n|---|---|---|");
        let data: Vec<f32> = random(SIZE[0] * SIZE[1] * 3, 1).into_iter().map(|v| v * 128.0).collect();
        let exact = data.iter().map(|&v| f64::from(v)).collect();
        let mut maps = Maps { size: [SIZE[0], SIZE[1], 3], f32: data, f64: exact };
        let mut on_blob = [blob[0], blob[1], 3];
        let mut seed = 10;
        let mut run = |name: &str, maps: &Maps, shape: &ConvShape, on_blob: &ConvShape| {
            seed += 2;
            let (maps, algorithm) = maps.conv(shape, on_blob, seed);
            println!("| {name} | {algorithm:?} | {:.1e} |", maps.error());
            assert!(maps.error() <= ALLOWED, "{net} {name}: {:e}", maps.error());
            // A wrong tap would show at once; a layer of zeros would hide one.
            assert!(maps.f64.iter().any(|&v| v > 0.0), "{net} {name}: nothing but zeros");
            maps
        };
        for layer in network.trunk {
            maps = match *layer {
                TrunkLayer::Conv(name, conv) => {
                    let shapes = [maps.size, on_blob].map(|size| conv_shape(size, conv));
                    run(name, &maps, &shapes[0], &shapes[1])
                }
                TrunkLayer::MaxPool(_, pool) => maps.max_pool(&pool_shape(maps.size, pool)),
                TrunkLayer::Lrn(_, lrn) => maps.lrn(lrn),
                TrunkLayer::Fire(name, fire) => {
                    let (small, large) = (fire_shapes(maps.size, fire), fire_shapes(on_blob, fire));
                    let mut part = |i: usize, input: &Maps| {
                        run(&format!("{name}_{}", small[i].0), input, &small[i].1, &large[i].1)
                    };
                    let squeezed = part(0, &maps);
                    let (one, three) = (part(1, &squeezed), part(2, &squeezed));
                    let [height, width, _] = one.size;
                    Maps {
                        size: [height, width, 2 * fire.expand],
                        f32: concat(&one.f32, &three.f32, fire.expand),
                        f64: concat(&one.f64, &three.f64, fire.expand),
                    }
                }
            };
            assert!(maps.error() <= ALLOWED, "{net} {layer:?}: {:e}", maps.error());
            on_blob = output_size(layer, on_blob);
        }
    }
}
