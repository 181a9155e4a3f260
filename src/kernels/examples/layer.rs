//! `layer NAME TIMES [FILE]`: computes one layer so many times on one thread, for targets/instructions and benches/peers/arm
//! to count what one more time costs. FILE is where the output goes, as little-endian f32, rows or pixels first.
//! Without arguments: the names.

use std::error::Error;

use frcnn_kernels::{ConvArgs, ConvShape, F32Products, KOrder, PreparedConv, PreparedLinear};

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

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, times, file) = match &arguments[..] {
        [name, times] => (name, times, None),
        [name, times, file] => (name, times, Some(file)),
        _ => {
            LAYERS.iter().for_each(|(name, _)| println!("{name}"));
            return Ok(());
        }
    };
    let (_, layer) = LAYERS.iter().find(|(known, _)| known == name).ok_or("no such layer")?;
    let times = times.parse()?;
    let out = match *layer {
        Layer::Linear { rows, in_features, out_features } => {
            linear([rows, in_features, out_features], times)?
        }
        Layer::Conv { size, channels, kernel, stride } => conv(size, channels, [kernel, stride], times)?,
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

fn linear([rows, k, n]: [usize; 3], times: usize) -> Result<Vec<f32>, Box<dyn Error>> {
    let layer = PreparedLinear::new(&values(k * n), k, n, KOrder::Natural, F32Products::Exact, 1)?;
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
    let layer = PreparedConv::new(&shape, &values(shape.weight_len()), 1)?;
    let (input, bias) = (values(height * width * in_channels), values(out_channels));
    let (out_height, out_width) = shape.output_size().ok_or("the window is larger than the map")?;
    let (mut scratch, mut out) = (Vec::new(), vec![0.0; out_height * out_width * out_channels]);
    for _ in 0..times {
        let args = ConvArgs { input: &input[..], bias: Some(&bias[..]), relu: true, threads: 1 };
        layer.run(&shape, args, &mut scratch, &mut out)?;
    }
    Ok(out)
}
