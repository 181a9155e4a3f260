//! One colour per class, the same in every image and every run.

use image::Rgb;

/// Neighbouring classes are a golden angle apart on the colour wheel, so that few classes are far apart and many
/// do not soon come round to the same hue.
pub(super) fn of_class(class_id: u16) -> Rgb<u8> {
    const GOLDEN: f32 = 0.618_034;
    saturated((f32::from(class_id) * GOLDEN).fract())
}

/// Black or white, whichever stands out.
pub(super) fn of_text_on(Rgb([red, green, blue]): Rgb<u8>) -> Rgb<u8> {
    let luma = 0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue);
    if luma > 127.0 { Rgb([0; 3]) } else { Rgb([255; 3]) }
}

/// `text` where `coverage` is 255, `ground` where it is 0, a mixture between.
pub(super) fn mix(ground: Rgb<u8>, text: Rgb<u8>, coverage: u8) -> Rgb<u8> {
    let coverage = u32::from(coverage);
    let channel = |i: usize| {
        let (from, to) = (u32::from(ground.0[i]), u32::from(text.0[i]));
        ((from * (255 - coverage) + to * coverage + 127) / 255) as u8
    };
    Rgb([channel(0), channel(1), channel(2)])
}

/// A strong colour of a hue in 0..1: red at 0, green at a third, blue at two thirds.
fn saturated(hue: f32) -> Rgb<u8> {
    let channel = |offset: f32| {
        let distance = ((hue + offset).fract() * 6.0 - 3.0).abs();
        ((distance - 1.0).clamp(0.0, 1.0) * 200.0 + 40.0) as u8
    };
    Rgb([channel(0.0), channel(2.0 / 3.0), channel(1.0 / 3.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hues() {
        assert_eq!(saturated(0.0), Rgb([240, 40, 40]));
        assert_eq!(saturated(1.0 / 3.0), Rgb([40, 240, 40]));
        assert_eq!(saturated(2.0 / 3.0), Rgb([40, 40, 240]));
    }

    #[test]
    fn twenty_classes_have_twenty_colours() {
        let colours: Vec<Rgb<u8>> = (1..=20).map(of_class).collect();
        for (i, a) in colours.iter().enumerate() {
            for b in &colours[..i] {
                let distance: i32 = (0..3).map(|c| (i32::from(a.0[c]) - i32::from(b.0[c])).abs()).sum();
                assert!(distance > 20, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn text_stands_out_and_blends() {
        assert_eq!(of_text_on(Rgb([240, 240, 40])), Rgb([0; 3]));
        assert_eq!(of_text_on(Rgb([40, 40, 240])), Rgb([255; 3]));
        let (ground, text) = (Rgb([0, 100, 200]), Rgb([255, 255, 255]));
        assert_eq!((mix(ground, text, 0), mix(ground, text, 255)), (ground, text));
        assert_eq!(mix(Rgb([0; 3]), text, 128), Rgb([128; 3]));
    }
}
