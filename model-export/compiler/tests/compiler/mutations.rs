//! Mutated models: whatever they are, `compile` gives a bundle or a clear error, and no panic leaves it.
//!
//! `FRCNN_MUTATIONS=20000 cargo test --release -p frcnn-compiler --test compiler mutations -- --nocapture` tries more than the few
//! hundred of a test run; `FRCNN_SEED` chooses others.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::common::people::*;
use crate::common::{classifier, good};
use frcnn_bundle::Scores;
use frcnn_compiler::{Compiled, Error, Options, compile_rcnn};
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{ModelProto, NodeProto};

/// What a mutation may take, where a plain model takes a tenth of a second; the machine may be loaded.
const LONGEST: Duration = Duration::from_secs(90);
/// Of the whole process. A plain model takes 0.1 GB.
const MOST_MEMORY: u64 = 8 << 30;

const INTEGERS: [i64; 22] = [
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    16,
    63,
    64,
    255,
    1024,
    1025,
    65_536,
    1 << 31,
    (1 << 31) - 1,
    1 << 32,
    1 << 62,
    i64::MAX,
    i64::MIN,
    -2,
];
const FLOATS: [f32; 9] = [0.0, -0.0, 1.0, -1.0, 1e-38, 3e38, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
const OPS: [&str; 44] = [
    "Conv",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "LRN",
    "BatchNormalization",
    "Relu",
    "LeakyRelu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Concat",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Flatten",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Gemm",
    "MatMul",
    "Softmax",
    "Dropout",
    "Identity",
    "Cast",
    "CastLike",
    "Pad",
    "Shape",
    "Constant",
    "ConstantOfShape",
    "Expand",
    "Tile",
    "Range",
    "Gather",
    "Slice",
    "Transpose",
    "MaxRoiPool",
    "If",
    "Loop",
    "Resize",
    "QuantizeLinear",
];

fn pick<T: Clone>(rng: &mut ChaCha8Rng, all: &[T]) -> Option<T> {
    (!all.is_empty()).then(|| all[rng.random_range(0..all.len())].clone())
}

fn mutate_bytes(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            return;
        }
        // Half of the time near the front, where there are nodes and not weights.
        let end = if rng.random_range(0..2) == 0 { bytes.len() } else { bytes.len().min(3_000) };
        let at = rng.random_range(0..end);
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random_range(0..=255),
            2 => bytes.insert(at, rng.random_range(0..=255)),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => {
                let len = rng.random_range(0..64).min(bytes.len() - at);
                let part = bytes[at..at + len].to_vec();
                bytes.splice(at..at, part);
            }
            _ => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x07])),
        }
    }
}

fn mutate(rng: &mut ChaCha8Rng, model: &mut ModelProto) {
    let integer = |rng: &mut ChaCha8Rng| pick(rng, &INTEGERS).unwrap();
    match rng.random_range(0..20) {
        0 => model.opset_import[0].version = integer(rng),
        1..=7 => mutate_node(rng, model),
        8..=11 => {
            let count = tensors(model).count();
            let Some(tensor) = tensors(model).nth(rng.random_range(0..count.max(1))) else { return };
            match rng.random_range(0..6) {
                0 => tensor.data_type = rng.random_range(-1..25),
                1 if !tensor.dims.is_empty() => {
                    let place = rng.random_range(0..tensor.dims.len());
                    tensor.dims[place] = integer(rng);
                }
                2 => tensor.dims.reverse(),
                3 => tensor.raw_data.truncate(rng.random_range(0..9)),
                4 => {
                    for byte in tensor.raw_data.iter_mut().take(8) {
                        *byte = rng.random_range(0..=255);
                    }
                }
                _ => {
                    let width =
                        pick(rng, &[DataType::Float16, DataType::Double, DataType::Bfloat16]).unwrap();
                    narrow_if_whole(tensor, width);
                }
            }
        }
        12 | 13 => {
            let g = graph(model);
            if g.input.is_empty() {
                return;
            }
            let at = rng.random_range(0..g.input.len());
            let Some(Value::TensorType(tensor)) = g.input[at].r#type.as_mut().and_then(|t| t.value.as_mut())
            else {
                return;
            };
            let value = integer(rng);
            match (rng.random_range(0..4), tensor.shape.as_mut()) {
                (0, _) => tensor.elem_type = rng.random_range(-1..25),
                (1, _) => tensor.shape = None,
                (_, Some(shape)) if !shape.dim.is_empty() => {
                    let place = rng.random_range(0..shape.dim.len());
                    shape.dim[place].value = Some(dimension::Value::DimValue(value));
                }
                _ => {}
            }
        }
        14 => {
            let g = graph(model);
            match rng.random_range(0..4) {
                0 => g.output.reverse(),
                1 => drop(g.output.pop()),
                2 => g.input.reverse(),
                _ => drop(g.input.pop()),
            }
        }
        15 | 16 => {
            // What a node makes becomes a constant that expands.
            let g = graph(model);
            let op = pick(rng, &["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Gather"]).unwrap();
            let Some(weight) = pick(rng, &g.initializer) else { return };
            g.initializer.retain(|tensor| tensor.name != weight.name);
            g.initializer
                .push(tract_onnx::pb::TensorProto { name: "expanded".to_string(), ..weight.clone() });
            let sizes: Vec<i64> = (0..rng.random_range(1..5)).map(|_| integer(rng)).collect();
            g.initializer.push(i64s("sizes", &sizes));
            let inputs =
                if op == "ConstantOfShape" { vec!["sizes"] } else { vec!["expanded", "sizes", "sizes"] };
            g.node.insert(0, node(op, &weight.name, &inputs, vec![]));
        }
        _ => {
            let g = graph(model);
            let (a, b) = (rng.random_range(0..g.node.len()), rng.random_range(0..g.node.len()));
            match rng.random_range(0..4) {
                0 => g.node.swap(a, b),
                1 => drop(g.node.remove(a)),
                2 => {
                    let copy = g.node[a].clone();
                    g.node.insert(b, copy);
                }
                _ => {
                    // A node between two others.
                    let Some(value) = g.node[a].output.first_mut() else { return };
                    let made = std::mem::replace(value, "between".to_string());
                    let op = pick(rng, &OPS).unwrap();
                    g.node.insert(a + 1, node(op, &made, &["between"], vec![]));
                }
            }
        }
    }
}

fn narrow_if_whole(tensor: &mut tract_onnx::pb::TensorProto, width: DataType) {
    if tensor.raw_data.len().is_multiple_of(4) && !tensor.raw_data.is_empty() {
        narrow(tensor, width, Form::Raw);
    }
}

fn mutate_node(rng: &mut ChaCha8Rng, model: &mut ModelProto) {
    let g = graph(model);
    let mut values: Vec<String> = g.node.iter().flat_map(|node| node.output.clone()).collect();
    values.extend(g.initializer.iter().map(|tensor| tensor.name.clone()));
    values.push(String::new());
    let at = rng.random_range(0..g.node.len());
    let node: &mut NodeProto = &mut g.node[at];
    match rng.random_range(0..10) {
        0 => node.op_type = pick(rng, &OPS).unwrap().to_string(),
        1 => node.domain = pick(rng, &["ai.onnx", "com.microsoft", ""]).unwrap().to_string(),
        2 if !node.input.is_empty() => {
            let place = rng.random_range(0..node.input.len());
            node.input[place] = pick(rng, &values).unwrap();
        }
        3 => node.input.push(pick(rng, &values).unwrap()),
        4 => drop(node.input.pop()),
        5 => node.output.push("another".to_string()),
        _ if !node.attribute.is_empty() => {
            let place = rng.random_range(0..node.attribute.len());
            let attribute = &mut node.attribute[place];
            match rng.random_range(0..6) {
                0 => attribute.i = pick(rng, &INTEGERS).unwrap(),
                1 => attribute.f = pick(rng, &FLOATS).unwrap(),
                2 => attribute.r#type = rng.random_range(-1..16),
                3 => drop(attribute.ints.pop()),
                4 => attribute.s = b"SAME_LOWER".to_vec(),
                _ => {
                    attribute.i = pick(rng, &INTEGERS).unwrap();
                    for value in &mut attribute.ints {
                        if rng.random_range(0..2) == 0 {
                            *value = pick(rng, &INTEGERS).unwrap();
                        }
                    }
                }
            }
        }
        _ => {
            let name = pick(
                rng,
                &["axis", "axes", "group", "pads", "strides", "alpha", "ceil_mode", "allowzero", "to"],
            )
            .unwrap();
            let value = pick(rng, &INTEGERS).unwrap();
            node.attribute.push(if rng.random_range(0..2) == 0 {
                int(name, value)
            } else {
                ints(name, &[value; 2])
            });
        }
    }
}

/// Largest memory of this process so far, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text}")))
}

/// Compiles `count` mutated files that `mutated` makes; the name of the file is in each error.
fn try_all(
    what: &str,
    count: u64,
    compile: impl Fn(&[u8]) -> Result<Compiled, Error>,
    mutated: impl Fn(&mut ChaCha8Rng, u64) -> Vec<u8>,
) {
    let seed = number("FRCNN_SEED", 0);
    let (mut compiled, mut longest) = (0, Duration::ZERO);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for case in 0..count {
        let bytes = mutated(&mut ChaCha8Rng::seed_from_u64(seed << 32 | case), case);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| compile(&bytes)));
        let took = start.elapsed();
        let save = || {
            let path = std::env::temp_dir().join(format!("frcnn-mutation-{what}-{seed}-{case}"));
            std::fs::write(&path, &bytes).unwrap();
            path
        };
        let keep = |problem: &str| panic!("{what} {case} of seed {seed} {problem}: see {}", save().display());
        match result {
            Err(_) => keep("panics"),
            Ok(Ok(_)) => compiled += 1,
            Ok(Err(error)) => {
                let text = error.to_string();
                if !text.contains(what) || text.len() > 10_000 {
                    keep("has no clear error");
                }
                let kind = format!("{error:?}");
                let kind = kind.split("problem: ").nth(1).unwrap_or(&kind);
                *refused
                    .entry(kind.split([' ', '(', '{']).next().unwrap_or_default().to_string())
                    .or_default() += 1;
                if ["mistake in the compiler", "panics", "please report"]
                    .iter()
                    .any(|word| text.contains(word))
                {
                    // Refused all the same, and worth a look.
                    println!("{}: {}", save().display(), text.split(what).nth(1).unwrap_or(&text));
                }
            }
        }
        longest = longest.max(took);
        if took > LONGEST {
            keep(&format!("takes {took:?}"));
        }
        if peak_memory() > MOST_MEMORY {
            keep("has taken too much memory");
        }
    }
    println!(
        "{count} of {what}: {compiled} compile, refused {refused:?}; longest {longest:?}, memory {} MB",
        peak_memory() >> 20
    );
    // Else the mutations would try nothing but the decoder.
    assert!(compiled * 20 > count && !refused.is_empty(), "{compiled} of {count} compile; {refused:?}");
}

fn mutated_model(rng: &mut ChaCha8Rng, case: u64, mut model: ModelProto) -> Vec<u8> {
    if case.is_multiple_of(4) {
        let mut bytes = model.encode_to_vec();
        mutate_bytes(rng, &mut bytes);
        return bytes;
    }
    for _ in 0..rng.random_range(1..4) {
        mutate(rng, &mut model);
    }
    model.encode_to_vec()
}

#[test]
fn a_mutated_model_compiles_or_is_refused() {
    let sources: Vec<ModelProto> = good().map(|(_, model)| full(&model())).collect();
    let compile = |bytes: &[u8]| try_compile_bytes(bytes, &Options::default());
    try_all("model.onnx", number("FRCNN_MUTATIONS", 400), compile, |rng, case| {
        let model = pick(rng, &sources).unwrap();
        mutated_model(rng, case, model)
    });
}

/// Both files of an R-CNN.
#[test]
fn a_mutated_classifier_compiles_or_is_refused() {
    let source = full(&classifier::classifier(false));
    let weights = classifier::svm(24, Some(160), &[("features", "fc7_relu")]);
    let compile = |model: &[u8], weights: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        let (onnx, svm) = (folder.path().join("model.onnx"), folder.path().join("svm.safetensors"));
        std::fs::write(&onnx, model).unwrap();
        std::fs::write(&svm, weights).unwrap();
        let mut manifest = manifest();
        (manifest.scores, manifest.score_threshold) = (Scores::Margins, Scores::Margins.default_threshold());
        compile_rcnn(&onnx, &svm, &manifest, &Options::default(), &mut |_| {})
    };
    let count = number("FRCNN_MUTATIONS", 400) / 4;
    try_all(
        "model.onnx",
        count,
        |bytes| compile(bytes, &weights),
        |rng, case| mutated_model(rng, case, source.clone()),
    );
    let model = source.encode_to_vec();
    let mutated = |rng: &mut ChaCha8Rng, case: u64| {
        let mut bytes = weights.clone();
        if case.is_multiple_of(2) {
            // A weight, that may become one that is not finite.
            let at = rng.random_range(600..bytes.len());
            bytes[at] = rng.random_range(0..=255);
            return bytes;
        }
        // The header can lie.
        let mut header = bytes.drain(..500).collect();
        mutate_bytes(rng, &mut header);
        [header, bytes].concat()
    };
    // A change of a weight's name or of a digit may be no mistake in the model's file.
    let either = |bytes: &[u8]| {
        compile(&model, bytes).map_err(|error| match error {
            Error::Model { path, problem } => {
                Error::Model { path: path.with_file_name("svm.safetensors"), problem }
            }
            other => other,
        })
    };
    try_all("svm.safetensors", count, either, mutated);
}
