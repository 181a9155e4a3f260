//! Bundles that are not what they should be: always an error that says why, never a panic.
#![allow(clippy::unwrap_used, clippy::panic)]

use frcnn_bundle::{Bundle, Contents, Error, FORMAT_VERSION, Regions, RoiPooling, Warp};
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

/// Every byte of the prelude and the contents record, and bytes of every section and gap.
#[test]
fn any_flipped_byte_is_found() {
    let bundle = untrained();
    let mut bytes = bundle.to_bytes();
    let sections = &bundle.contents().sections;
    let first = sections[0].offset as usize;
    let in_sections = sections.iter().flat_map(|s| {
        let (start, end) = (s.offset as usize, (s.offset + s.bytes) as usize);
        [start, (start + end) / 2, end - 1, end]
    });
    let places: Vec<usize> = (0..first).chain(in_sections).filter(|&place| place < bytes.len()).collect();
    // Hashing 30 MB for each of thousands of places takes long, so a section is checked with its file
    // only in part: the record, which decides everything else, byte by byte.
    for place in places.iter().copied().filter(|p| *p < 256 || p % 97 == 0 || *p >= first) {
        for bit in [0x01, 0x80] {
            bytes[place] ^= bit;
            assert!(Bundle::from_bytes(&bytes).is_err(), "byte {place}");
            bytes[place] ^= bit;
        }
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
    bytes[8] += 1;
    assert!(matches!(error(&bytes), Error::Version { found, .. } if found == FORMAT_VERSION + 1));
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

/// Contents that are well-formed and hashed correctly, but describe something that cannot be run.
#[test]
fn wrong_contents_are_refused() {
    let bundle = untrained();
    let rebuilt = |change: &dyn Fn(&mut Contents)| {
        let mut contents = bundle.contents().clone();
        let mut writer = frcnn_bundle::BundleWriter::new();
        for (id, section) in contents.sections.iter().enumerate() {
            let shape: Vec<usize> = section.shape.iter().map(|&d| d as usize).collect();
            writer.add(section.name.clone(), &shape, bundle.weights(id as u32).to_vec());
        }
        change(&mut contents);
        writer.finish(contents)
    };
    assert!(rebuilt(&|_| {}).unwrap().to_bytes() == bundle.to_bytes());

    type Change = Box<dyn Fn(&mut Contents)>;
    let changes: Vec<(&str, Change)> = vec![
        ("no classes", Box::new(|c| c.manifest.classes.clear())),
        ("one class too many", Box::new(|c| c.manifest.classes.push("extra".into()))),
        ("scale 0", Box::new(|c| c.manifest.scales = vec![0])),
        ("scale NaN", Box::new(|c| pooling(c).spatial_scale = f32::NAN)),
        ("pooled 0", Box::new(|c| pooling(c).pooled = vec![[0, 6]])),
        ("pooled huge", Box::new(|c| pooling(c).pooled = vec![[u32::MAX, u32::MAX]])),
        ("no levels", Box::new(|c| pooling(c).pooled.clear())),
        ("levels that the head does not read", Box::new(|c| pooling(c).pooled.push([3, 3]))),
        ("crops of nothing", Box::new(|c| c.regions = Regions::Warp(Warp { side: 0, context: 0 }))),
        (
            "crops of nothing but context",
            Box::new(|c| c.regions = Regions::Warp(Warp { side: 224, context: 112 })),
        ),
        (
            "crops whose maps the head does not read",
            Box::new(|c| c.regions = Regions::Warp(Warp { side: 224, context: 16 })),
        ),
        ("a layer reads itself", Box::new(|c| c.trunk.layers[0].inputs = vec![1])),
        ("a layer reads nothing", Box::new(|c| c.trunk.layers[0].inputs.clear())),
        ("a value that is not there", Box::new(|c| c.trunk.layers[0].inputs = vec![u32::MAX])),
        ("an output that is not there", Box::new(|c| c.head.outputs[0] = u32::MAX)),
        ("outputs swapped", Box::new(|c| c.head.outputs.reverse())),
        ("no outputs", Box::new(|c| c.trunk.outputs.clear())),
        ("no layers", Box::new(|c| c.head.layers.clear())),
        ("stride 0", Box::new(|c| conv(c).stride = [0, 2])),
        ("kernel huge", Box::new(|c| conv(c).kernel = [u32::MAX, u32::MAX])),
        ("pads huge", Box::new(|c| conv(c).pads = [u32::MAX; 4])),
        ("group 0", Box::new(|c| conv(c).group = 0)),
        ("channels huge", Box::new(|c| conv(c).out_channels = u32::MAX)),
        ("weights that are not there", Box::new(|c| conv(c).weight = 10_000)),
        ("weights of another layer", Box::new(|c| conv(c).weight += 2)),
    ];
    for (what, change) in changes {
        let error = rebuilt(&*change).err();
        assert!(error.is_some(), "{what} was accepted");
    }
}

fn pooling(contents: &mut Contents) -> &mut RoiPooling {
    match &mut contents.regions {
        Regions::RoiPooling(pooling) => pooling,
        Regions::Warp(_) => panic!("it is an R-CNN"),
    }
}

fn conv(contents: &mut Contents) -> &mut frcnn_bundle::Conv {
    let conv = contents.trunk.layers.iter_mut().find_map(|layer| match &mut layer.op {
        frcnn_bundle::Op::Conv(conv) => Some(conv),
        _ => None,
    });
    conv.unwrap()
}
