//! Bundles that are not what they should be: always the error that is due, never a panic.
#![allow(clippy::unwrap_used, clippy::panic)]

use frcnn_bundle::{
    Bundle, Contents, Error, FORMAT_VERSION, Layer, Precision, Regions, RoiPooling, Warp, Weights,
};
use frcnn_fuzz::bundle::{PRELUDE, record_len, set_prelude};
use frcnn_tests::untrained;

fn error(bytes: &[u8]) -> Error {
    Bundle::from_bytes(bytes).err().unwrap()
}

#[test]
fn a_whole_bundle_comes_back_equal() {
    let bundle = untrained();
    let again = Bundle::from_bytes(&bundle.to_bytes()).unwrap();
    assert_eq!(again.contents(), bundle.contents());
    assert!(again.to_bytes() == bundle.to_bytes());
}

/// Every bit of the prelude and the contents record, each with the error that is due.
#[test]
fn any_flipped_bit_of_prelude_and_record_is_named() {
    let mut bytes = untrained().to_bytes();
    let record = record_len(&bytes);
    assert!(record > 1000, "a record of {record} bytes describes no network");
    for (place, bit) in (0..PRELUDE + record).flat_map(|place| (0..8).map(move |bit| (place, 1 << bit))) {
        bytes[place] ^= bit;
        let error = error(&bytes);
        let due = match place {
            0..8 => matches!(error, Error::Magic),
            8..12 => match u32::from_le_bytes(bytes[8..12].try_into().unwrap()) {
                // Older formats that are read, and which the record is not of.
                older @ (2 | 4) => {
                    matches!(error, Error::OtherVersion { stated, actual: FORMAT_VERSION } if stated == older)
                }
                stated => {
                    matches!(error, Error::Version { found, supported: FORMAT_VERSION } if found == stated)
                }
            },
            12..16 | 48..64 => matches!(error, Error::Padding(at) if at == place as u64),
            // A length of the record that fits into the file ends it at another byte.
            16..24 => match u64::from_le_bytes(bytes[16..24].try_into().unwrap()) {
                record if record > (bytes.len() - PRELUDE) as u64 => {
                    let due = record.saturating_add(PRELUDE as u64);
                    matches!(error, Error::Length { stated, actual } if stated == due && actual == bytes.len() as u64)
                }
                stated if stated > 4 << 20 => error.to_string().contains("longer than the 4 MiB"),
                _ => matches!(error, Error::ContentsHash),
            },
            24..32 => {
                let said = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
                matches!(error, Error::Length { stated, actual } if stated == said && actual == bytes.len() as u64)
            }
            _ => matches!(error, Error::ContentsHash),
        };
        assert!(due, "bit {bit:#04x} of byte {place}: {error}");
        bytes[place] ^= bit;
    }
}

/// The ends and the middle of every section, and every gap between two.
#[test]
fn a_flipped_bit_of_a_section_names_it() {
    let bundle = untrained();
    let mut bytes = bundle.to_bytes();
    let mut end = PRELUDE + record_len(&bytes);
    // Each place costs the hashes of all sections before it: every third of some fifty.
    for (i, section) in bundle.contents().sections.iter().enumerate() {
        let (start, next) = (section.offset as usize, (section.offset + section.bytes) as usize);
        let gap = (end..start).step_by(7).map(|place| (place, true));
        let within = [start, (start + next) / 2, next - 1].map(|place| (place, false));
        let places: Vec<_> = if i % 3 == 0 { gap.chain(within).collect() } else { gap.collect() };
        for (place, in_gap) in places {
            bytes[place] ^= 0x10;
            let error = error(&bytes);
            let due = match &error {
                Error::Padding(at) => in_gap && *at == place as u64,
                Error::Section { name, problem } => {
                    !in_gap && *name == section.name && problem == "does not match its hash"
                }
                _ => false,
            };
            assert!(due, "byte {place}, near section `{}`: {error}", section.name);
            bytes[place] ^= 0x10;
        }
        end = next;
    }
}

#[test]
fn truncation_is_found_at_every_length_class() {
    let bundle = untrained();
    let bytes = bundle.to_bytes();
    assert!(matches!(error(&[]), Error::TooShort(0)));
    assert!(matches!(error(&bytes[..63]), Error::TooShort(63)));
    let sections = &bundle.contents().sections;
    let lengths =
        [64, 65, 1000, sections[0].offset as usize, sections[3].offset as usize + 7, bytes.len() - 1];
    for len in lengths {
        assert!(matches!(error(&bytes[..len]), Error::Length { .. }), "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(error(&longer), Error::Length { .. }));
}

#[test]
fn other_files_are_told_apart() {
    let mut bytes = untrained().to_bytes();
    assert!(matches!(error(&[0; 4096]), Error::Magic));
    assert!(matches!(error(&b"a text file that somebody named model.frcnn".repeat(3)), Error::Magic));
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 1234\n", "ab".repeat(32));
    assert!(matches!(error(pointer.as_bytes()), Error::LfsPointer));
    bytes[8] += 1;
    assert!(matches!(error(&bytes), Error::Version { found, .. } if found == FORMAT_VERSION + 1));
    for older in [2, 3] {
        bytes[8] = older;
        let error = error(&bytes);
        assert!(
            matches!(error, Error::OtherVersion { stated, actual: FORMAT_VERSION } if stated == u32::from(older)),
            "{error}"
        );
    }
}

#[test]
fn oversized_counts_are_refused_without_allocating() {
    let mut bytes = untrained().to_bytes();
    for (place, what) in [(16, "contents"), (24, "file")] {
        let kept = bytes[place..place + 8].to_vec();
        bytes[place..place + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(error(&bytes), Error::Length { .. }), "{what}");
        bytes[place..place + 8].copy_from_slice(&kept);
    }
}

/// By less than the part before the record as well.
#[test]
fn a_record_that_reaches_beyond_the_file_is_refused() {
    let mut bytes = untrained().to_bytes();
    let len = bytes.len() as u64;
    for beyond in 1..=PRELUDE as u64 + 1 {
        bytes[16..24].copy_from_slice(&(len - PRELUDE as u64 + beyond).to_le_bytes());
        let error = error(&bytes);
        assert!(
            matches!(error, Error::Length { stated, actual } if stated == len + beyond && actual == len),
            "{beyond} bytes beyond: {error}"
        );
    }
}

/// Contents that are well-formed and hashed correctly, but describe something that cannot be run.
#[test]
fn wrong_contents_are_refused() {
    let bundle = untrained();
    let rebuilt = |change: &dyn Fn(&mut Contents)| {
        let mut contents = bundle.contents().clone();
        let mut writer = frcnn_bundle::BundleWriter::new();
        for (id, section) in contents.sections.iter().enumerate() {
            let shape: Vec<usize> = section.shape.iter().map(|&d| d as usize).collect();
            writer.add(section.name.clone(), &shape, bundle.weights_as_f32(id as u32).into_owned());
        }
        change(&mut contents);
        writer.finish(contents)
    };
    assert!(rebuilt(&|_| {}).unwrap().to_bytes() == bundle.to_bytes());

    type Change = Box<dyn Fn(&mut Contents)>;
    let changes: Vec<(&str, &str, Change)> = vec![
        ("means that are no numbers", "means to subtract", Box::new(|c| c.blob_means[1] = f32::NAN)),
        ("scale above 1", "spatial scale 1.5", Box::new(|c| pooling(c).spatial_scale = 1.5)),
        (
            "one value further than there are",
            "the head gives a value that no layer makes",
            Box::new(|c| c.head.outputs[0] = c.head.layers.len() as u32 + 1),
        ),
        (
            "scores in the place of box deltas",
            "for 4 classes the head must give",
            Box::new(|c| c.head.outputs[1] = c.head.outputs[0]),
        ),
        (
            "groups that do not divide",
            "layer `conv1` of the trunk: channels [3, 96] cannot be split into 2 groups",
            Box::new(|c| conv(c).group = 2),
        ),
        (
            "a window in the padding",
            "a window could lie wholly in the padding",
            Box::new(|c| pool(c).pads = [3, 0, 0, 0]),
        ),
        (
            "maps of other widths side by side",
            "it cannot join",
            Box::new(|c| named_conv(c, "fire2_expand3x3").pads = [1, 0, 1, 1]),
        ),
        (
            "other channels than it reads",
            "layer `fire2_squeeze1x1` of the trunk: it reads 96 channels and is given 3",
            Box::new(|c| layer(c, "fire2_squeeze1x1").inputs = vec![0]),
        ),
        ("no classes", "manifest: `classes`", Box::new(|c| c.manifest.classes.clear())),
        (
            "one class too many",
            "for 5 classes the head must give",
            Box::new(|c| c.manifest.classes.push("extra".into())),
        ),
        ("scale 0", "manifest: `scales`", Box::new(|c| c.manifest.scales = vec![0])),
        ("scale NaN", "spatial scale NaN", Box::new(|c| pooling(c).spatial_scale = f32::NAN)),
        ("pooled 0", "pooled shape [[0, 6]]", Box::new(|c| pooling(c).pooled = vec![[0, 6]])),
        (
            "pooled huge",
            "pooled shape [[4294967295, 4294967295]]",
            Box::new(|c| pooling(c).pooled = vec![[u32::MAX, u32::MAX]]),
        ),
        ("no levels", "0 levels of RoI pooling", Box::new(|c| pooling(c).pooled.clear())),
        (
            "levels that the head does not read",
            "layer `pool5_flat` of the head",
            Box::new(|c| pooling(c).pooled.push([3, 3])),
        ),
        (
            "crops of nothing",
            "a crop of 0 pixels",
            Box::new(|c| c.regions = Regions::Warp(Warp { side: 0, context: 0 })),
        ),
        (
            "crops of nothing but context",
            "112 of them context",
            Box::new(|c| c.regions = Regions::Warp(Warp { side: 224, context: 112 })),
        ),
        (
            "crops whose maps the head does not read",
            "layer `fc6` of the head: it reads 18432 features",
            Box::new(|c| c.regions = Regions::Warp(Warp { side: 224, context: 16 })),
        ),
        (
            "a layer reads itself",
            "layer `conv1` of the trunk: it reads a later layer",
            Box::new(|c| c.trunk.layers[0].inputs = vec![1]),
        ),
        (
            "a layer reads nothing",
            "layer `conv1` of the trunk: Conv cannot read []",
            Box::new(|c| c.trunk.layers[0].inputs.clear()),
        ),
        (
            "a value that is not there",
            "layer `conv1` of the trunk: it reads a later layer",
            Box::new(|c| c.trunk.layers[0].inputs = vec![u32::MAX]),
        ),
        (
            "an output that is not there",
            "the head gives a value that no layer makes",
            Box::new(|c| c.head.outputs[0] = u32::MAX),
        ),
        (
            "outputs swapped",
            "scores are probabilities, and they come from Gemm",
            Box::new(|c| c.head.outputs.reverse()),
        ),
        (
            "no outputs",
            "the trunk gives 0 feature maps, and 1 map are read",
            Box::new(|c| c.trunk.outputs.clear()),
        ),
        ("no layers", "the head gives a value that no layer makes", Box::new(|c| c.head.layers.clear())),
        ("stride 0", "layer `conv1` of the trunk: stride [0, 2]", Box::new(|c| conv(c).stride = [0, 2])),
        (
            "kernel huge",
            "layer `conv1` of the trunk: kernel",
            Box::new(|c| conv(c).kernel = [u32::MAX, u32::MAX]),
        ),
        ("pads huge", "layer `conv1` of the trunk: pads", Box::new(|c| conv(c).pads = [u32::MAX; 4])),
        (
            "group 0",
            "layer `conv1` of the trunk: channels [3, 96] cannot be split into 0 groups",
            Box::new(|c| conv(c).group = 0),
        ),
        (
            "channels huge",
            "layer `conv1` of the trunk: its weights `conv1.weight` have shape",
            Box::new(|c| conv(c).out_channels = u32::MAX),
        ),
        (
            "weights that are not there",
            "layer `conv1` of the trunk: its weights are section 10000",
            Box::new(|c| conv(c).weight = 10_000),
        ),
        (
            "weights of another layer",
            "its weights `fire2_squeeze1x1.weight` have shape",
            Box::new(|c| conv(c).weight += 2),
        ),
    ];
    for (what, due, change) in changes {
        let error = rebuilt(&*change).err().unwrap_or_else(|| panic!("{what} was accepted")).to_string();
        assert!(error.contains(due), "{what}: `{due}` is not in: {error}");
    }
}

/// The untrained network, in which the section of that name has other weights.
fn with_section(name: &str, weights: impl Fn(&[f32]) -> Weights) -> Result<Bundle, Error> {
    let bundle = untrained();
    let mut writer = frcnn_bundle::BundleWriter::new();
    for (id, section) in bundle.contents().sections.iter().enumerate() {
        let shape: Vec<usize> = section.shape.iter().map(|&d| d as usize).collect();
        let values = bundle.weights_as_f32(id as u32);
        if section.name == name {
            writer.add_weights(section.name.clone(), &shape, weights(&values));
        } else {
            writer.add(section.name.clone(), &shape, values.into_owned());
        }
    }
    writer.finish(bundle.contents().clone())
}

/// Biases never have them.
#[test]
fn only_layers_that_may_have_weights_of_16_bits_read_them() {
    for section in [Precision::Bf16, Precision::F16] {
        let made = with_section("fc6.weight", |values| Weights::rounded(values, section)).unwrap();
        let again = Bundle::from_bytes(&made.to_bytes()).unwrap();
        assert_eq!((again.contents(), again.contents().precision()), (made.contents(), section));
        let error = with_section("fc6.bias", |values| Weights::rounded(values, section)).unwrap_err();
        let due = format!("its weights `fc6.bias` are {}, not f32", section.name());
        assert!(error.to_string().contains(&due), "{error}");
    }
}

/// Hashes that are right say nothing of what they are the hashes of.
#[test]
fn records_of_right_hashes_are_looked_through() {
    let bundle = untrained();
    let bytes = bundle.to_bytes();
    let first = bundle.contents().sections[0].offset as usize;
    let end = PRELUDE + record_len(&bytes);
    let with_record = |record: &[u8]| {
        let mut bytes = [&bytes[..PRELUDE], record, &bytes[PRELUDE + record.len()..]].concat();
        set_prelude(&mut bytes, record.len());
        bytes
    };
    assert!(with_record(&bytes[PRELUDE..end]) == bytes);
    assert!(end < first, "no padding behind the record to take a byte from");
    assert!(matches!(error(&with_record(&bytes[PRELUDE..=end])), Error::Contents(_)));
    assert!(matches!(error(&with_record(&bytes[PRELUDE..end - 1])), Error::Contents(_)));

    for (place, due) in [(0, "does not follow the one before it"), (1, "does not follow the one before it")] {
        let mut contents = bundle.contents().clone();
        contents.sections[place].offset += 64;
        let record = postcard::to_stdvec(&contents).unwrap();
        assert_eq!(record.len(), end - PRELUDE, "the test's own: numbers vary in length");
        let error = error(&with_record(&record));
        assert!(matches!(&error, Error::Section { problem, .. } if problem == due), "{error}");
    }
}

fn layer<'a>(contents: &'a mut Contents, name: &str) -> &'a mut Layer {
    contents.trunk.layers.iter_mut().find(|layer| layer.name == name).unwrap()
}

fn named_conv<'a>(contents: &'a mut Contents, name: &str) -> &'a mut frcnn_bundle::Conv {
    match &mut layer(contents, name).op {
        frcnn_bundle::Op::Conv(conv) => conv,
        other => panic!("{name} is {other:?}"),
    }
}

fn pool(contents: &mut Contents) -> &mut frcnn_bundle::Pool {
    let pool = contents.trunk.layers.iter_mut().find_map(|layer| match &mut layer.op {
        frcnn_bundle::Op::MaxPool(pool) => Some(pool),
        _ => None,
    });
    pool.unwrap()
}

fn pooling(contents: &mut Contents) -> &mut RoiPooling {
    match &mut contents.regions {
        Regions::RoiPooling(pooling) => pooling,
        Regions::RoiAlign(_) | Regions::Warp(_) => panic!("it pools no RoIs"),
    }
}

fn conv(contents: &mut Contents) -> &mut frcnn_bundle::Conv {
    let conv = contents.trunk.layers.iter_mut().find_map(|layer| match &mut layer.op {
        frcnn_bundle::Op::Conv(conv) => Some(conv),
        _ => None,
    });
    conv.unwrap()
}
