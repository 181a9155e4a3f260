use proptest::prelude::*;

use super::*;

const FORMATS: [PixelFormat; 5] =
    [PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Rgba8, PixelFormat::Bgra8, PixelFormat::Gray8];

/// Numbers from 0 to 1, by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    }

    /// Nearly Gaussian, with a standard deviation of 1: twelve numbers have a variance of 1.
    fn noise(&mut self) -> f32 {
        (0..12).map(|_| self.next()).sum::<f32>() - 6.0
    }
}

/// A colour camera whose channels have noise of so many grey levels.
struct Camera {
    random: Random,
    sigma: f32,
}

impl Camera {
    const WIDTH: usize = 161;
    const HEIGHT: usize = 123;

    fn new(sigma: f32) -> Camera {
        Camera { random: Random(1), sigma }
    }

    /// A photo of a square of 32 pixels from `x`, `y`, lighter than what is behind it.
    fn shoot(&mut self, x: usize, y: usize, contrast: f32, light: f32) -> Vec<u8> {
        let pixel = |i: usize| (i / 3 % Camera::WIDTH, i / 3 / Camera::WIDTH);
        let of = |i: usize| {
            let (px, py) = pixel(i);
            let inside = (x..x + 32).contains(&px) && (y..y + 32).contains(&py);
            let scene = 60.0 + (px + py) as f32 / 4.0 + light;
            let value = scene + if inside { contrast } else { 0.0 } + self.sigma * self.random.noise();
            value.round() as u8
        };
        (0..Camera::WIDTH * Camera::HEIGHT * 3).map(of).collect()
    }
}

fn rgb(data: &[u8]) -> Frame<'_> {
    Frame::rgb8(data, Camera::WIDTH as u32, Camera::HEIGHT as u32).unwrap()
}

fn colours(frame: &Frame<'_>, y: usize) -> Vec<u8> {
    let bytes = frame.format().bytes();
    frame.row(y).chunks(bytes).flat_map(|pixel| pixel[..bytes.min(3)].to_vec()).collect()
}

/// By the definition in [`Tolerance`]'s documentation, in f64.
fn difference(a: &Frame<'_>, b: &Frame<'_>, column: usize, row: usize) -> f64 {
    let (width, height, bytes) = (a.width() as usize, a.height() as usize, a.format().bytes());
    let mut largest = 0f64;
    for (left, top) in [(0, 0), (4, 0), (0, 4), (4, 4)] {
        let (left, top) = (column * CELL + left, row * CELL + top);
        let (mut sum, mut count) = (0, 0);
        for y in top..(top + 4).min(height) {
            for x in left..(left + 4).min(width) {
                for c in 0..bytes.min(3) {
                    sum += a.row(y)[x * bytes + c].abs_diff(b.row(y)[x * bytes + c]) as usize;
                    count += 1;
                }
            }
        }
        largest = largest.max(if count == 0 { 0.0 } else { sum as f64 / count as f64 });
    }
    largest
}

proptest! {
    /// What is accepted is what differs by more than the tolerance; it is taken whole, and nothing else is.
    #[test]
    fn cells_are_taken_whole_or_not_at_all(
        (width, height) in (1usize..40, 1usize..40),
        format in prop::sample::select(&FORMATS[..]),
        (padding, other_padding) in (0usize..5, 0usize..5),
        tolerance in prop_oneof![Just(0.0f32), 0.0f32..40.0],
        // Few bytes differ, so that some cells are still.
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..60),
        seed in any::<u64>(),
    ) {
        let bytes = width * format.bytes();
        let frame = |data, padding| Frame::new(data, width as u32, height as u32, bytes + padding, format).unwrap();
        let mut random = Random(seed);
        let first: Vec<u8> = (0..(bytes + padding) * height).map(|_| (random.next() * 255.0) as u8).collect();
        let mut second = vec![7; (bytes + other_padding) * height];
        for y in 0..height {
            let row = y * (bytes + other_padding);
            second[row..row + bytes].copy_from_slice(frame(&first, padding).row(y));
        }
        for (place, value) in &changes {
            second[place.index((bytes + other_padding) * height)] = *value;
        }
        let (first, second) = (frame(&first, padding), frame(&second, other_padding));

        let mut composite = Composite::default();
        prop_assert!(composite.frame().is_none());
        let changed = composite.accept(&first, Tolerance::Fixed(tolerance)).unwrap();
        prop_assert!(changed.scene && changed.count() == changed.cells());
        let changed = composite.accept(&second, Tolerance::Fixed(tolerance)).unwrap();
        prop_assert!(!changed.scene);
        let accepted: Vec<Vec<bool>> = changed.rows().map(<[bool]>::to_vec).collect();
        let composite = composite.frame().unwrap();
        prop_assert_eq!(accepted.len(), height.div_ceil(CELL));
        for (row, cells) in accepted.iter().enumerate() {
            prop_assert_eq!(cells.len(), width.div_ceil(CELL));
            for (column, &accepted) in cells.iter().enumerate() {
                let difference = difference(&first, &second, column, row);
                // The bound itself is met in f32.
                if (difference - f64::from(tolerance)).abs() > 1e-4 || tolerance == 0.0 {
                    prop_assert_eq!(accepted, difference > f64::from(tolerance), "{} {}", column, row);
                }
                let source = if accepted { &second } else { &first };
                let span = column * CELL * format.bytes()..((column + 1) * CELL * format.bytes()).min(bytes);
                for y in row * CELL..((row + 1) * CELL).min(height) {
                    prop_assert_eq!(&composite.row(y)[span.clone()], &source.row(y)[span.clone()]);
                }
            }
        }
        if tolerance == 0.0 {
            for y in 0..height {
                prop_assert_eq!(colours(&composite, y), colours(&second, y));
            }
        }
    }
}

#[test]
fn another_size_or_format_is_another_scene() {
    let data = [9; 64];
    let mut composite = Composite::default();
    let mut scene = |width, height, format: PixelFormat| {
        let frame = Frame::new(&data, width, height, width as usize * format.bytes(), format).unwrap();
        let scene = composite.accept(&frame, Tolerance::Learned).unwrap().scene;
        let held = composite.frame().unwrap();
        assert_eq!((held.width(), held.height(), held.format()), (width, height, format));
        scene
    };
    let (grey, rgb, bgr) = (PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Bgr8);
    let sizes =
        [(8, 8, grey), (8, 8, grey), (8, 7, grey), (7, 8, grey), (5, 4, rgb), (5, 4, bgr), (5, 4, bgr)];
    let scenes = sizes.map(|(width, height, format)| scene(width, height, format));
    assert_eq!(scenes, [true, false, true, true, true, true, false]);
}

#[test]
fn tolerances_are_checked() {
    for levels in [-1.0, f32::NAN, f32::INFINITY] {
        assert!(Tolerance::Fixed(levels).check().is_err());
    }
    assert!(Tolerance::Fixed(0.0).check().is_ok() && Tolerance::default().check().is_ok());
}

/// Noise alone changes nothing once it is known; before that any byte counts.
#[test]
fn noise_is_learned() {
    for sigma in [1.0, 2.0, 4.0, 6.0] {
        let (mut camera, mut composite, mut accepted) = (Camera::new(sigma), Composite::default(), 0);
        for frame in 0..100 {
            let photo = camera.shoot(0, 0, 0.0, 0.0);
            let changed = composite.accept(&rgb(&photo), Tolerance::Learned).unwrap();
            match frame {
                0..=8 => assert!(changed.count() as f32 > 0.99 * changed.cells() as f32, "{sigma} {frame}"),
                _ => accepted += changed.count(),
            }
        }
        // 91 frames of 21 x 16 cells.
        assert!(accepted < 91 * 21 * 16 / 5000, "{sigma}: {accepted}");
        let tolerance = composite.tolerance(Tolerance::Learned);
        assert!((1.5 * sigma..2.6 * sigma).contains(&tolerance), "{sigma}: {tolerance}");
    }
}

/// What is four times lighter than the noise is wide is seen in every cell that it covers or leaves.
#[test]
fn what_moves_is_accepted() {
    for sigma in [1.0, 3.0, 6.0] {
        let (mut camera, mut composite) = (Camera::new(sigma), Composite::default());
        for frame in 0..60 {
            let x = frame / 10 * 16;
            let photo = camera.shoot(x, 40, 4.0 * sigma, 0.0);
            let changed = composite.accept(&rgb(&photo), Tolerance::Learned).unwrap();
            if frame >= 10 && frame % 10 == 0 {
                // It has left the first of three pairs of columns, and covers the last.
                let count = changed.rows().skip(5).take(4).flat_map(|row| {
                    let column = (x - 16) / CELL;
                    [&row[column..column + 2], &row[column + 4..column + 6]].concat()
                });
                assert_eq!(count.filter(|&accepted| accepted).count(), 16, "{sigma} {frame}");
            }
        }
    }
}

/// A sunset: what is held is never further from the frame than the tolerance, and the tolerance does not grow with it.
#[test]
fn slow_changes_are_accepted_in_the_end() {
    let (mut camera, mut composite) = (Camera::new(2.0), Composite::default());
    for frame in 0..400 {
        let photo = camera.shoot(0, 0, 0.0, frame as f32 / 8.0);
        composite.accept(&rgb(&photo), Tolerance::Learned).unwrap();
        let (tolerance, held) = (composite.tolerance(Tolerance::Learned), composite.frame().unwrap());
        assert!(tolerance < 6.0, "{frame}: {tolerance}");
        for row in 0..Camera::HEIGHT.div_ceil(CELL) {
            for column in 0..Camera::WIDTH.div_ceil(CELL) {
                let difference = difference(&held, &rgb(&photo), column, row);
                assert!(difference <= f64::from(tolerance) + 1e-4, "{frame}: {difference}");
            }
        }
    }
}

/// Rendered frames, and decoders that repeat what does not move: nothing is tolerated.
#[test]
fn no_noise_is_learned_where_there_is_none() {
    let (mut camera, mut composite) = (Camera::new(0.0), Composite::default());
    for frame in 0..100 {
        let photo = camera.shoot(frame, 40, 30.0, 0.0);
        composite.accept(&rgb(&photo), Tolerance::Learned).unwrap();
        assert_eq!(composite.frame().unwrap().packed(), Some(&photo[..]));
    }
    assert_eq!(composite.tolerance(Tolerance::Learned), 0.0);
}
