//! Every raw format against a plain conversion, pixel by pixel.
#![cfg(feature = "camera")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use frcnn_images::camera::{Colour, Converter, Error, Format, Image};

const FORMATS: [Format; 10] = [
    Format::Rgb24,
    Format::Bgr24,
    Format::Gray8,
    Format::Yuyv,
    Format::Uyvy,
    Format::Nv12,
    Format::Nv21,
    Format::I420,
    Format::Rgba32,
    Format::Bgra32,
];
const COLOURS: [Colour; 4] =
    [Colour::Bt601Limited, Colour::Bt601Full, Colour::Bt709Limited, Colour::Bt709Full];

/// Marsaglia's xorshift: noise that is the same on every machine.
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }
}

/// ITU-R BT.601 and BT.709, by their definition.
fn rgb_of([y, u, v]: [u8; 3], colour: Colour) -> [u8; 3] {
    let (kr, kb) = match colour {
        Colour::Bt601Limited | Colour::Bt601Full => (0.299, 0.114),
        Colour::Bt709Limited | Colour::Bt709Full => (0.2126, 0.0722),
    };
    let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
    let (y, u, v) = match colour {
        Colour::Bt601Limited | Colour::Bt709Limited => ((y - 16.0) / 219.0, u / 224.0, v / 224.0),
        Colour::Bt601Full | Colour::Bt709Full => (y / 255.0, u / 255.0, v / 255.0),
    };
    let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
    let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
    [r, g, b].map(|value| (255.0 * value).round().clamp(0.0, 255.0) as u8)
}

/// A frame of noise whose planes end with the last byte that is used.
struct Made {
    format: Format,
    colour: Colour,
    width: usize,
    height: usize,
    planes: Vec<Box<[u8]>>,
    strides: [usize; 3],
}

impl Made {
    fn new(
        format: Format,
        colour: Colour,
        (width, height): (usize, usize),
        padding: [usize; 3],
        noise: &mut Noise,
    ) -> Made {
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let sizes: &[(usize, usize)] = match format {
            Format::Rgb24 | Format::Bgr24 => &[(3 * width, height)],
            Format::Rgba32 | Format::Bgra32 => &[(4 * width, height)],
            Format::Gray8 => &[(width, height)],
            Format::Yuyv | Format::Uyvy => &[(4 * half_width, height)],
            Format::Nv12 | Format::Nv21 => &[(width, height), (2 * half_width, half_height)],
            Format::I420 => &[(width, height), (half_width, half_height), (half_width, half_height)],
            Format::Mjpeg => unreachable!("no raw format"),
        };
        // Below 16 there is no colour in limited range; the crate's fast paths take such Y for 16, others do not.
        let limited = matches!(colour, Colour::Bt601Limited | Colour::Bt709Limited);
        let least = if limited { 16 } else { 0 };
        let mut strides = [0; 3];
        let mut planes = Vec::new();
        for (i, &(row, rows)) in sizes.iter().enumerate() {
            strides[i] = row + padding[i];
            let len = (rows - 1) * strides[i] + row;
            planes.push((0..len).map(|_| noise.byte().max(least)).collect());
        }
        Made { format, colour, width, height, planes, strides }
    }

    fn bytes(&self) -> [&[u8]; 3] {
        [0, 1, 2].map(|i| self.planes.get(i).map_or(&[][..], |plane| plane))
    }

    fn image(&self) -> Image<&[u8]> {
        let size = (self.width as u32, self.height as u32);
        Image::new(self.bytes(), self.strides, size, self.format, self.colour).unwrap()
    }

    fn expected(&self, x: usize, y: usize) -> [u8; 3] {
        let at = |plane: usize, x: usize, y: usize| self.planes[plane][y * self.strides[plane] + x];
        let yuv = match self.format {
            Format::Rgb24 => return [0, 1, 2].map(|i| at(0, 3 * x + i, y)),
            Format::Bgr24 => return [2, 1, 0].map(|i| at(0, 3 * x + i, y)),
            Format::Rgba32 => return [0, 1, 2].map(|i| at(0, 4 * x + i, y)),
            Format::Bgra32 => return [2, 1, 0].map(|i| at(0, 4 * x + i, y)),
            Format::Gray8 => return [at(0, x, y); 3],
            Format::Yuyv => [at(0, 2 * x, y), at(0, x / 2 * 4 + 1, y), at(0, x / 2 * 4 + 3, y)],
            Format::Uyvy => [at(0, 2 * x + 1, y), at(0, x / 2 * 4, y), at(0, x / 2 * 4 + 2, y)],
            Format::Nv12 => [at(0, x, y), at(1, x / 2 * 2, y / 2), at(1, x / 2 * 2 + 1, y / 2)],
            Format::Nv21 => [at(0, x, y), at(1, x / 2 * 2 + 1, y / 2), at(1, x / 2 * 2, y / 2)],
            Format::I420 => [at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)],
            Format::Mjpeg => unreachable!("no raw format"),
        };
        rgb_of(yuv, self.colour)
    }

    /// The largest difference in any byte, and where.
    fn worst(&self, image: &Image<&[u8]>) -> (u8, usize, usize) {
        let mut converter = Converter::default();
        let frame = converter.run(image).unwrap();
        assert_eq!((frame.width() as usize, frame.height() as usize), (self.width, self.height));
        let (bytes, [b, g, r]) = (frame.format().bytes(), frame.format().bgr_offsets());
        let mut worst = (0, 0, 0);
        for y in 0..self.height {
            for (x, pixel) in frame.row(y).chunks_exact(bytes).enumerate() {
                for (found, expected) in [pixel[r], pixel[g], pixel[b]].iter().zip(self.expected(x, y)) {
                    worst = worst.max((found.abs_diff(expected), x, y));
                }
            }
        }
        worst
    }
}

/// Whatever lies between rows is seen nowhere, and no byte behind the last one is wanted. The copy that a session's
/// thread works on is no other than the frame.
#[test]
fn every_format_size_and_padding() {
    // The crate's products of fixed point are rounded one by one.
    let tolerance = |format| match format {
        Format::Rgb24 | Format::Bgr24 | Format::Rgba32 | Format::Bgra32 | Format::Gray8 => 0,
        _ => 1,
    };
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut copy = Image::default();
    for format in FORMATS {
        for colour in COLOURS {
            for width in [1, 2, 3, 4, 7, 16, 31, 33, 64, 67, 130, 259] {
                for height in [1, 2, 3, 4, 5, 8, 11] {
                    for padding in [[0, 0, 0], [1, 0, 0], [0, 1, 2], [2, 2, 2], [5, 7, 3], [64, 300, 33]] {
                        let made = Made::new(format, colour, (width, height), padding, &mut noise);
                        let image = made.image();
                        let (worst, x, y) = made.worst(&image);
                        assert!(
                            worst <= tolerance(format),
                            "{format:?} {colour:?} {width} x {height} + {padding:?}: {worst} levels off at {x}, {y}"
                        );
                        image.copy_into(&mut copy).unwrap();
                        assert_eq!(made.worst(&copy.view()), (worst, x, y));
                    }
                }
            }
        }
    }
}

/// A stride says nothing where there is one row.
#[test]
fn one_row_has_any_stride() {
    let mut noise = Noise(1);
    for format in FORMATS {
        let made = Made::new(format, Colour::Bt601Full, (5, 1), [0; 3], &mut noise);
        for stride in [usize::MAX, u32::MAX as usize, 1 << 31, 100] {
            let image = Image::new(made.bytes(), [stride; 3], (5, 1), format, made.colour).unwrap();
            assert!(made.worst(&image).0 <= 1, "{format:?} {stride}");
        }
    }
}

/// Packed bytes are the planes one after the other, and not one byte fewer.
#[test]
fn packed_frames_are_cut_into_planes() {
    let mut noise = Noise(4);
    for format in FORMATS {
        for (width, height) in [(1, 1), (5, 3), (64, 48)] {
            let made = Made::new(format, Colour::Bt709Full, (width, height), [0; 3], &mut noise);
            let bytes = made.planes.concat();
            let (width, height) = (width as u32, height as u32);
            assert_eq!(bytes.len(), format.packed_len(width, height));
            let image = Image::packed(&bytes, width, height, format, made.colour).unwrap();
            assert!(made.worst(&image).0 <= 1, "{format:?} {width} x {height}");
            let short = &bytes[..bytes.len() - 1];
            assert!(Image::packed(short, width, height, format, made.colour).is_err());
        }
        assert!(Image::packed(&[], u32::MAX, u32::MAX, format, Colour::Bt601Full).is_err());
        assert!(Image::packed(&[], 0, 1, format, Colour::Bt601Full).is_err());
    }
    assert!(Image::packed(&[], 1, 1, Format::Mjpeg, Colour::Bt601Full).is_err());
}

#[test]
fn names_lead_back_to_what_they_name() {
    for (format, name) in Format::ALL {
        assert_eq!((name.parse(), format.to_string().as_str()), (Ok(format), name));
    }
    for (colour, name) in Colour::ALL {
        assert_eq!((name.parse(), colour.to_string().as_str()), (Ok(colour), name));
    }
    assert!("yv12".parse::<Format>().unwrap_err().contains("`yv12` is none of rgb24, bgr24,"));
}

/// Sizes, strides and planes that do not fit together are told, not computed with.
#[test]
fn what_does_not_fit_is_refused() {
    let mut noise = Noise(2);
    for format in FORMATS {
        let made = Made::new(format, Colour::Bt709Limited, (6, 4), [2; 3], &mut noise);
        let sizes = made.bytes().map(<[u8]>::len);
        let refused = |(width, height): (u32, u32), sizes: [usize; 3], strides: [usize; 3], what: &str| {
            let layout = format.layout(width, height, sizes, strides);
            assert!(matches!(layout, Err(Error::Layout(_))), "{format:?}: {what}: {layout:?}");
        };
        for plane in 0..made.planes.len() {
            let stride = made.strides[plane];
            // Among them a negative stride, as a caller with pictures from bottom to top would give it.
            for bad in [
                0,
                1,
                stride - 3,
                usize::MAX,
                usize::MAX / 2,
                usize::MAX / 3 + 1,
                1 << 32,
                u32::MAX as usize,
                (-(stride as isize)) as usize,
            ] {
                let mut strides = made.strides;
                strides[plane] = bad;
                refused((6, 4), sizes, strides, &format!("plane {plane}, stride {bad}"));
            }
            for bad in [0, 1, sizes[plane] - 1] {
                let mut sizes = sizes;
                sizes[plane] = bad;
                refused((6, 4), sizes, made.strides, &format!("plane {plane}, {bad} bytes"));
            }
        }
        for size in [(0, 4), (6, 0), (32_769, 4), (6, 32_769), (u32::MAX, u32::MAX), (u32::MAX, 1)] {
            refused(size, sizes, made.strides, &format!("{size:?}"));
        }
        // More rows or columns than there are bytes for.
        refused((6, 7), sizes, made.strides, "7 rows");
        refused((32_768, 32_768), sizes, made.strides, "32768 x 32768");
    }
}

/// Colours by hand, which hold the reference conversion as well.
#[test]
fn colours_by_hand() {
    for (colour, yuv, rgb) in [
        (Colour::Bt601Limited, [81, 90, 240], [255, 0, 0]),
        (Colour::Bt601Limited, [145, 54, 34], [0, 255, 0]),
        (Colour::Bt601Limited, [235, 128, 128], [255, 255, 255]),
        (Colour::Bt601Full, [76, 85, 255], [254, 0, 0]),
        (Colour::Bt601Full, [255, 128, 128], [255, 255, 255]),
        (Colour::Bt709Limited, [63, 102, 240], [255, 0, 0]),
        (Colour::Bt709Limited, [32, 240, 118], [0, 0, 255]),
        (Colour::Bt709Full, [54, 99, 255], [254, 0, 0]),
    ] {
        // The published values are rounded to whole numbers.
        let far = rgb_of(yuv, colour).iter().zip(rgb).map(|(a, b)| a.abs_diff(b)).max();
        assert!(far <= Some(2), "{colour:?} {yuv:?}: {:?}", rgb_of(yuv, colour));
    }
}

/// After frames that cannot be decoded, and after huge ones, a session holds what usual frames need.
#[test]
fn memory_returns_to_what_it_was() {
    let mut noise = Noise(3);
    let usual = Made::new(Format::Nv12, Colour::Bt601Full, (640, 480), [0; 3], &mut noise);
    let huge = Made::new(Format::Nv12, Colour::Bt601Full, (4096, 3072), [0; 3], &mut noise);
    let (mut converter, mut copy) = (Converter::default(), Image::default());
    let mut run = |made: &Made| {
        made.image().copy_into(&mut copy).unwrap();
        converter.run(&copy.view()).unwrap();
        converter.capacity() + copy.capacity()
    };
    let before = run(&usual);
    assert!(run(&huge) > 30 * before);
    assert_eq!(run(&usual), before);
}

/// A grey JPEG of one flat colour without Huffman tables, whose sides are multiples of 16.
fn flat_jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    jpeg.extend([1; 64]);
    let [w, h] = [width, height].map(u16::to_be_bytes);
    jpeg.extend([0xff, 0xc0, 0, 11, 8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0]);
    jpeg.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    // A block is 00, no difference to the last, and 1010, its end; four of them are three bytes.
    jpeg.extend([0x28, 0xa2, 0x8a].repeat(usize::from(width) * usize::from(height) / 256));
    jpeg.extend([0xff, 0xd9]);
    jpeg
}

/// The same of JPEGs, which say only in themselves how large they are; and where frames of other formats follow.
#[test]
fn memory_of_a_huge_jpeg_is_given_back() {
    let mut noise = Noise(3);
    let (small, huge) = (flat_jpeg(640, 480), flat_jpeg(4096, 4096));
    let rgb = Made::new(Format::Rgb24, Colour::Bt601Full, (640, 480), [0; 3], &mut noise);
    let mut converter = Converter::default();
    let jpeg = |converter: &mut Converter, bytes: &[u8]| {
        let frame = converter.run(&Image::jpeg(bytes)).unwrap();
        // A scan of differences to grey, 128.
        assert!((0..frame.height()).all(|y| frame.row(y as usize).iter().all(|&value| value == 128)));
        converter.capacity()
    };
    let before = jpeg(&mut converter, &small);
    assert!(jpeg(&mut converter, &huge) > 50 * before);
    assert_eq!(jpeg(&mut converter, &small), before);
    jpeg(&mut converter, &huge);
    converter.run(&rgb.image()).unwrap();
    assert_eq!(converter.capacity(), 0);
    // Sizes that come in turn keep their buffer.
    let twice = jpeg(&mut converter, &flat_jpeg(1280, 960));
    assert_eq!((jpeg(&mut converter, &small), twice), (twice, 4 * before));
}
