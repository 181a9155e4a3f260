//! What a file says of its int8 weights is looked through before anything is multiplied.
#![allow(clippy::unwrap_used, clippy::panic)]

use frcnn_bundle::{Bundle, BundleWriter, Contents, Error, Int8, Precision, Section};
use frcnn_fuzz::bundle::{put_together, seeds};

const INT8: Int8 = Int8 { scales: 0, input_scale: 0.5, input_zero_point: 7 };

fn seed(name: &str) -> Bundle {
    let (_, file) = seeds().into_iter().find(|(seed, _)| *seed == format!("{name}.frcnn")).unwrap();
    Bundle::from_bytes(&file).unwrap()
}

fn int8_section(contents: &Contents) -> usize {
    contents.sections.iter().position(|section| section.precision == Precision::Int8).unwrap()
}

/// The seed, changed by `change`, as it is read again.
fn changed(change: impl Fn(&mut Contents, &mut Vec<Vec<u8>>)) -> Result<Bundle, Error> {
    let bundle = seed("int8");
    let (mut contents, file) = (bundle.contents().clone(), bundle.to_bytes());
    let bytes = |section: &Section| file[section.offset as usize..][..section.bytes as usize].to_vec();
    let mut weights: Vec<Vec<u8>> = contents.sections.iter().map(bytes).collect();
    change(&mut contents, &mut weights);
    Bundle::from_bytes(&put_together(contents, &weights).unwrap())
}

#[test]
fn what_is_written_is_read() {
    let bundle = changed(|_, _| {}).unwrap();
    let contents = bundle.contents();
    assert_eq!(contents.precision(), Precision::Int8);
    let id = int8_section(contents) as u32;
    let (scales, values) = (bundle.scales(id).unwrap(), bundle.weights_as_f32(id));
    let channels = *contents.sections[id as usize].shape.last().unwrap() as usize;
    assert_eq!(scales.len(), channels);
    let Some(frcnn_bundle::Weights::Int8(whole)) = bundle.weights(id) else { panic!("it is int8") };
    for (place, (&value, &whole)) in values.iter().zip(&**whole).enumerate() {
        assert_eq!(value, f32::from(whole) * scales[place % channels], "{place}");
    }
    assert!(values.iter().any(|value| *value > 0.0) && values.iter().any(|value| *value < 0.0));
    assert_eq!(bundle.scales(contents.sections[id as usize].int8.unwrap().scales), None);
}

#[test]
fn what_cannot_be_multiplied_is_refused() {
    fn section(contents: &mut Contents) -> &mut Section {
        let place = int8_section(contents);
        &mut contents.sections[place]
    }
    fn int8(contents: &mut Contents) -> &mut Int8 {
        section(contents).int8.as_mut().unwrap()
    }
    fn scales(contents: &Contents) -> usize {
        contents.sections[int8_section(contents)].int8.unwrap().scales as usize
    }
    fn set_scale(weights: &mut [u8], scale: f32) {
        weights[..4].copy_from_slice(&scale.to_le_bytes());
    }
    type Change = fn(&mut Contents, &mut Vec<Vec<u8>>);
    let cases: [(&str, Change); 15] = [
        ("has no scales for its", |c, _| int8(c).scales = 10_000),
        ("has no scales for its", |c, _| int8(c).scales = int8_section(c) as u32),
        // The bias of the first layer, which has other channels.
        ("has no scales for its", |c, _| int8(c).scales = 1),
        ("of int8 values has no scales", |c, _| section(c).int8 = None),
        ("of f32 values has the scales of int8 ones", |c, _| c.sections[0].int8 = Some(INT8)),
        ("of the scale NaN", |c, _| int8(c).input_scale = f32::NAN),
        ("of the scale 0", |c, _| int8(c).input_scale = 0.0),
        ("of the scale -1", |c, _| int8(c).input_scale = -1.0),
        ("of the scale inf", |c, _| int8(c).input_scale = f32::INFINITY),
        // Its reciprocal is infinite.
        ("of the scale 0.0000", |c, _| int8(c).input_scale = 1e-40),
        ("-128", |c, w| w[int8_section(c)][3] = 0x80),
        ("a scale that is not above 0", |c, w| set_scale(&mut w[scales(c)], 0.0)),
        ("a scale that is not above 0", |c, w| set_scale(&mut w[scales(c)], -0.5)),
        ("NaN or infinite", |c, w| set_scale(&mut w[scales(c)], f32::NAN)),
        ("a scale that is not above 0, or too large", |c, w| {
            set_scale(&mut w[scales(c)], 1e30);
            int8(c).input_scale = 1e30;
        }),
    ];
    for (number, (due, change)) in cases.into_iter().enumerate() {
        let error = changed(change).err().unwrap_or_else(|| panic!("{number}, `{due}`, was accepted"));
        assert!(error.to_string().contains(due), "{number}: `{due}` is not in: {error}");
    }
}

#[test]
fn a_bias_is_never_int8() {
    let error = changed(|contents, _| {
        let gemm = contents.head.layers.iter_mut().find_map(|layer| match &mut layer.op {
            frcnn_bundle::Op::Gemm(gemm) => Some(gemm),
            _ => None,
        });
        let gemm = gemm.unwrap();
        contents.sections[gemm.bias.unwrap() as usize] = Section {
            shape: vec![gemm.out_features],
            bytes: gemm.out_features.into(),
            ..contents.sections[gemm.weight as usize].clone()
        };
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("are int8, not f32"), "{error}");
}

/// 255 * 127 * products would not fit into 32 bits.
#[test]
fn too_many_products_are_refused() {
    for (products, refused) in [(66_311usize, false), (66_312, true)] {
        let bundle = seed("fast");
        let mut writer = BundleWriter::new();
        for (id, section) in (0..).zip(&bundle.contents().sections) {
            let shape: Vec<usize> = section.shape.iter().map(|&d| d as usize).collect();
            writer.add(section.name.clone(), &shape, bundle.weights_as_f32(id).into_owned());
        }
        let scales = writer.add("scales", &[1], vec![1.0]);
        writer.add_int8("long", &[products, 1], vec![1; products].into(), Int8 { scales, ..INT8 });
        let made = writer.finish(bundle.contents().clone());
        assert_eq!(made.is_err(), refused, "{products}");
        if let Err(error) = made {
            assert!(error.to_string().contains("more than 66311 int8 weights for one output"), "{error}");
        }
    }
}
