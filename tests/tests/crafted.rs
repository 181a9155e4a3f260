//! Files that no writer makes, whose hashes are right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use frcnn_bundle::{Bundle, BundleWriter, Contents, Error, Factored, Precision};
use frcnn_fuzz::bundle::{put_together, seeds};

/// A small valid bundle.
fn plain() -> Bundle {
    let (_, file) = seeds().swap_remove(0);
    Bundle::from_bytes(&file).unwrap()
}

/// The weights of every section of a bundle.
fn weights(bundle: &Bundle) -> Vec<Vec<f32>> {
    (0..bundle.contents().sections.len() as u32).map(|id| bundle.weights_as_f32(id).into_owned()).collect()
}

/// A file of these contents and weights, whatever they are.
fn file(contents: Contents, weights: &[Vec<f32>]) -> Vec<u8> {
    let bytes = |values: &Vec<f32>| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    put_together(contents, &weights.iter().map(bytes).collect::<Vec<Vec<u8>>>()).unwrap()
}

/// What is right in a crafted file is so to the byte; else the tests below would be refused for something else.
#[test]
fn a_crafted_file_of_what_a_writer_takes_is_the_writers() {
    let bundle = plain();
    let weights = weights(&bundle);
    let mut writer = BundleWriter::new();
    for (section, weights) in bundle.contents().sections.iter().zip(&weights) {
        let shape: Vec<usize> = section.shape.iter().map(|&extent| extent as usize).collect();
        writer.add(section.name.clone(), &shape, weights.clone());
    }
    let written = writer.finish(bundle.contents().clone()).unwrap();
    assert!(file(bundle.contents().clone(), &weights) == written.to_bytes());
}

#[test]
fn weights_that_are_not_finite_are_refused_by_section() {
    let bundle = plain();
    let good = weights(&bundle);
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

#[test]
fn so_are_weights_of_16_bits() {
    let cases = [
        ("bf16.frcnn", 0x7f7f, [0x7f80, 0xff80, 0x7f81, 0xffff]),
        ("f16.frcnn", 0x7bff, [0x7c00, 0xfc00, 0x7c01, 0xffff]),
    ];
    for (seed, largest, worthless) in cases {
        let (_, file) = seeds().into_iter().find(|(name, _)| name == seed).unwrap();
        let bundle = Bundle::from_bytes(&file).unwrap();
        let sections = &bundle.contents().sections;
        let bytes = sections.iter().map(|s| file[s.offset as usize..][..s.bytes as usize].to_vec());
        let good: Vec<Vec<u8>> = bytes.collect();
        let with = |section: usize, value: u16| {
            let mut weights = good.clone();
            weights[section][2..4].copy_from_slice(&value.to_le_bytes());
            Bundle::from_bytes(&put_together(bundle.contents().clone(), &weights).unwrap())
        };
        let mut tried = 0;
        for (id, section) in sections.iter().enumerate() {
            if section.precision == Precision::F32 {
                continue;
            }
            tried += 1;
            with(id, largest).unwrap();
            for value in worthless {
                let error = with(id, value).unwrap_err();
                assert!(
                    matches!(&error, Error::NotFinite { name, values: 1 } if *name == section.name),
                    "{seed} {value:#06x}: {error}"
                );
            }
        }
        assert!(tried > 2, "{seed} has {tried} such sections");
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
        (folder.path(), "is a folder"),
        (&pipe, "is a pipe"),
        (&link, "is a pipe"),
        (Path::new("/dev/zero"), "is a device"),
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
