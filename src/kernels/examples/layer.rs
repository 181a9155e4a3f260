//! `layer NAME TIMES [FILE]`: computes one layer so many times on one thread, for targets/instructions and benches/peers/arm
//! to count what one more time costs. FILE is where the output goes, as little-endian f32, rows or pixels first. A name may
//! end in `_f16` or `_int8`: the layer's weights are of that type then.
//! Without arguments: the names.

use std::error::Error;

use frcnn_core::f16_from_f32;
use frcnn_kernels::{
    ChannelRange, ConvArgs, ConvShape, Cpu, F32Products, Int8Conv, Int8Weights, KOrder, PreparedConv,
    PreparedLinear, Quantization,
};

/// What a name stands for: the layers whose counts are compared with those of other libraries.
const LAYERS: [(&str, Layer); 7] = [
    ("fc_784_512_60", Layer::Linear { rows: 60, in_features: 784, out_features: 512 }),
    ("fc_3136_512_10", Layer::Linear { rows: 10, in_features: 3136, out_features: 512 }),
    ("conv1x1_256_64", Layer::Conv { size: [20, 24], channels: [256, 64], kernel: 1, stride: 1 }),
    ("conv3x3_64_64", Layer::Conv { size: [20, 24], channels: [64, 64], kernel: 3, stride: 1 }),
    ("conv3x3_256_256", Layer::Conv { size: [20, 24], channels: [256, 256], kernel: 3, stride: 1 }),
    ("conv3x3_256_256_large", Layer::Conv { size: [38, 50], channels: [256, 256], kernel: 3, stride: 1 }),
    // SqueezeNet's first.
    ("conv7x7_3_96", Layer::Conv { size: [240, 320], channels: [3, 96], kernel: 7, stride: 2 }),
];

#[derive(Clone, Copy)]
enum Layer {
    Linear { rows: usize, in_features: usize, out_features: usize },
    Conv { size: [usize; 2], channels: [usize; 2], kernel: usize, stride: usize },
}

/// What weights are.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    F32,
    F16,
    Int8,
}

impl Type {
    /// What a name begins with and the type that it ends in.
    fn of(name: &str) -> (&str, Self) {
        let suffixes = [("_f16", Self::F16), ("_int8", Self::Int8)];
        let found = suffixes.iter().find_map(|(suffix, of)| Some((name.strip_suffix(suffix)?, *of)));
        found.unwrap_or((name, Self::F32))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, times, file) = match &arguments[..] {
        [name, times] => (name, times, None),
        [name, times, file] => (name, times, Some(file)),
        _ => {
            for suffix in ["", "_f16", "_int8"] {
                LAYERS.iter().for_each(|(name, _)| println!("{name}{suffix}"));
            }
            return Ok(());
        }
    };
    let (name, of) = Type::of(name);
    let (_, layer) = LAYERS.iter().find(|(known, _)| *known == name).ok_or("no such layer")?;
    let times = times.parse()?;
    let out = match *layer {
        Layer::Linear { rows, in_features, out_features } => {
            linear([rows, in_features, out_features], of, times)?
        }
        Layer::Conv { size, channels, kernel, stride } => conv(size, channels, [kernel, stride], of, times)?,
    };
    // Whoever computes is looked at, or the compiler need not compute.
    println!("{}", out.iter().sum::<f32>());
    if let Some(file) = file {
        std::fs::write(file, out.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 251) as f32 / 125.0 - 1.0).collect()
}

fn rounded(values: &[f32]) -> Vec<u16> {
    values.iter().map(|&value| f16_from_f32(value)).collect()
}

/// Weights from -1 to 1 as int8, and the scales of so many channels.
fn quantized(values: &[f32], channels: usize) -> (Vec<i8>, Vec<f32>) {
    (values.iter().map(|value| (value * 127.0).round() as i8).collect(), vec![1.0 / 127.0; channels])
}

/// Of input from -1 to 1.
const INPUT: Quantization = Quantization { scale: 2.0 / 255.0, zero_point: 128 };

fn linear([rows, k, n]: [usize; 3], of: Type, times: usize) -> Result<Vec<f32>, Box<dyn Error>> {
    let (weights, order, products) = (values(k * n), KOrder::Natural, F32Products::Exact);
    let layer = match of {
        Type::F32 => PreparedLinear::new(&weights, k, n, order, products, 1)?,
        Type::F16 => PreparedLinear::from_f16(&rounded(&weights), k, n, order, products, 1)?,
        Type::Int8 => {
            let (values, scales) = quantized(&weights, n);
            let weights = Int8Weights { values: &values, scales: &scales, input: INPUT };
            PreparedLinear::from_int8(weights, k, n, order, 1)?
        }
    };
    let (x, bias, mut out) = (values(rows * k), values(n), vec![0.0; rows * n]);
    for _ in 0..times {
        layer.run(&x, Some(&bias), true, rows, 1, &mut out)?;
    }
    Ok(out)
}

fn conv(
    [height, width]: [usize; 2],
    [in_channels, out_channels]: [usize; 2],
    [kernel, stride]: [usize; 2],
    of: Type,
    times: usize,
) -> Result<Vec<f32>, Box<dyn Error>> {
    let shape = ConvShape {
        batch: 1,
        height,
        width,
        in_channels,
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1, 1],
        pads: [kernel / 2; 4],
        group: 1,
    };
    let weights = values(shape.weight_len());
    let (input, bias) = (values(height * width * in_channels), values(out_channels));
    let args = ConvArgs { input: &input[..], bias: Some(&bias[..]), relu: true, threads: 1 };
    let (out_height, out_width) = shape.output_size().ok_or("the window is larger than the map")?;
    let (mut scratch, mut out) = (Vec::new(), vec![0.0; out_height * out_width * out_channels]);
    let all = ChannelRange::all(out_channels);
    if of == Type::Int8 {
        let (values, scales) = quantized(&weights, out_channels);
        let weights = Int8Weights { values: &values, scales: &scales, input: INPUT };
        let layer = Int8Conv::new(&shape, weights, 1)?.ok_or("a grouped layer")?;
        for _ in 0..times {
            layer.run_into_channels(&shape, args, all, &mut scratch, &mut out)?;
        }
        return Ok(out);
    }
    let layer = match of {
        Type::F16 => PreparedConv::from_f16(Cpu::detect(), None, &shape, &rounded(&weights), 1)?,
        _ => PreparedConv::new(&shape, &weights, 1)?,
    };
    for _ in 0..times {
        layer.run_into_channels(&shape, args, all, &mut scratch, &mut out)?;
    }
    Ok(out)
}
