//! Files that no writer makes, whose hashes are right.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use frcnn::{Bundle, Contents};
use frcnn_bundle::{Error, Factored, Op};
use xxhash_rust::xxh3::xxh3_128;

use crate::build::Builder;

const PRELUDE: usize = 64;
const ALIGN: usize = 64;

/// The weights of every section of a bundle.
pub(crate) fn weights(bundle: &Bundle) -> Vec<Vec<f32>> {
    (0..bundle.contents().sections.len() as u32).map(|id| bundle.weights_as_f32(id).into_owned()).collect()
}

/// A file of these contents and weights, whatever they are: lengths, offsets and hashes are right.
pub(crate) fn file(mut contents: Contents, weights: &[Vec<f32>]) -> Vec<u8> {
    let data: Vec<Vec<u8>> =
        weights.iter().map(|values| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    for (section, data) in contents.sections.iter_mut().zip(&data) {
        (section.hash, section.bytes) = (xxh3_128(data), data.len() as u64);
    }
    // Offsets depend on the record's length and the other way round.
    let mut record = Vec::new();
    loop {
        let mut end = PRELUDE + record.len();
        for section in &mut contents.sections {
            section.offset = end.next_multiple_of(ALIGN) as u64;
            end = (section.offset + section.bytes) as usize;
        }
        let next = postcard::to_stdvec(&contents).unwrap();
        let settled = next.len() == record.len();
        record = next;
        if settled {
            break;
        }
    }
    let mut file = vec![0; PRELUDE];
    file.extend_from_slice(&record);
    for data in &data {
        file.resize(file.len().next_multiple_of(ALIGN), 0);
        file.extend_from_slice(data);
    }
    let len = file.len() as u64;
    file[..8].copy_from_slice(b"\x89FRCNN\r\n");
    file[8..12].copy_from_slice(&frcnn_bundle::FORMAT_VERSION.to_le_bytes());
    file[16..24].copy_from_slice(&(record.len() as u64).to_le_bytes());
    file[24..32].copy_from_slice(&len.to_le_bytes());
    file[32..48].copy_from_slice(&xxh3_128(&record).to_le_bytes());
    file
}

pub(crate) fn plain() -> Bundle {
    let mut builder = Builder::new(3);
    let conv = builder.conv([3, 4], 3, 1);
    builder.then(Op::Conv(conv)).then(Op::Relu);
    builder.finish(4).unwrap()
}

#[test]
fn weights_that_are_not_finite_are_refused_by_section() {
    let bundle = plain();
    let good = weights(&bundle);
    assert!(file(bundle.contents().clone(), &good) == bundle.to_bytes(), "the file is not the writer's");
    for (section, values) in good.iter().enumerate() {
        for place in [0, values.len() / 2, values.len() - 1] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut contents = bundle.contents().clone();
                let named = format!("section {section}");
                contents.sections[section].name.clone_from(&named);
                let mut weights = good.clone();
                weights[section][place] = bad;
                let error = Bundle::from_bytes(&file(contents, &weights)).unwrap_err();
                assert!(matches!(&error, Error::NotFinite { name, values: 1 } if *name == named), "{error}");
                assert!(error.to_string().contains("did the training diverge?"), "{error}");
            }
        }
    }
}

/// What is no file is refused at once: opening a pipe that nobody writes to would wait forever.
#[test]
#[cfg(unix)]
fn folders_pipes_and_devices_are_no_bundles() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.frcnn");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let link = folder.path().join("link.frcnn");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for (path, words) in [
        (folder.path(), "it is a directory"),
        (&pipe, "it is not a regular file"),
        (&link, "it is not a regular file"),
        (Path::new("/dev/zero"), "it is not a regular file"),
    ] {
        let (done, result) = mpsc::channel();
        let opened = path.to_path_buf();
        std::thread::spawn(move || {
            done.send(Bundle::open(opened).map(drop).map_err(|error| error.to_string()))
        });
        let error = result.recv_timeout(Duration::from_secs(60)).expect("it waits").unwrap_err();
        assert!(error.contains(words) && error.contains(&path.display().to_string()), "{error}");
    }
}

/// What no layer reads is looked at by `inspect`.
#[test]
fn names_and_lists_that_no_layer_reads_have_limits() {
    let bundle = plain();
    let weights = weights(&bundle);
    let refused = |words: &str, change: &dyn Fn(&mut Contents)| {
        let mut contents = bundle.contents().clone();
        change(&mut contents);
        let error = Bundle::from_bytes(&file(contents, &weights)).unwrap_err().to_string();
        assert!(error.contains(words) && error.len() < 1000, "`{words}` is not in: {error}");
    };
    let long = "n".repeat(1 << 20);
    let factored =
        Factored { layer: "fc6".into(), features: [1, 2], rank: 1, energy: 0.5, relative_error: 0.1 };
    refused("1048576 bytes", &|contents| contents.manifest.name.clone_from(&long));
    refused("1048576 bytes", &|contents| contents.manifest.classes[1].clone_from(&long));
    refused("1048576 bytes", &|contents| contents.trunk.layers[0].name.clone_from(&long));
    refused("1048576 bytes", &|contents| contents.sections[0].name.clone_from(&long));
    refused("1048576 bytes", &|contents| contents.origin.compiler.clone_from(&long));
    refused("1048576 bytes", &|contents| {
        contents.factored = vec![Factored { layer: long.clone(), ..factored.clone() }]
    });
    refused("200000 layers are said to be factored", &|contents| {
        contents.factored = vec![factored.clone(); 200_000]
    });
}
