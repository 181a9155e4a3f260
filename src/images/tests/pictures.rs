//! Files as they lie on disks.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use frcnn_images::{Error, Options, command, decode, open};
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};

fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Writes `bytes` and opens the file.
fn opened(name: &str, bytes: &[u8]) -> Result<frcnn_images::Picture, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    open(&path, &Options::default())
}

/// 3 x 2 blocks of 16 x 16 pixels, each of another colour, so that JPEG keeps them apart.
fn blocks() -> RgbImage {
    const COLOURS: [[u8; 3]; 6] =
        [[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 250], [0, 0, 0], [120, 120, 0]];
    RgbImage::from_fn(48, 32, |x, y| Rgb(COLOURS[(y / 16 * 3 + x / 16) as usize]))
}

/// A TIFF block with nothing but an orientation, little- or big-endian.
fn exif(orientation: u8, little: bool) -> Vec<u8> {
    if little {
        [b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[orientation, 0, 0, 0, 0, 0, 0, 0]]
            .concat()
    } else {
        [b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".as_slice(), &[0, orientation, 0, 0, 0, 0, 0, 0]]
            .concat()
    }
}

fn jpeg_with(jpeg: &[u8], exif: &[u8]) -> Vec<u8> {
    let length = (exif.len() + 8) as u8;
    [&jpeg[..2], &[0xff, 0xe1, 0, length], b"Exif\0\0", exif, &jpeg[2..]].concat()
}

/// A chunk of a PNG, checksum and all.
fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [kind.as_slice(), body].concat();
    let crc = !named.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    });
    [&(body.len() as u32).to_be_bytes(), &named[..], &crc.to_be_bytes()].concat()
}

/// Puts a chunk behind the header of a PNG.
fn png_with(png: &[u8], kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&png[..33], &chunk(kind, body), &png[33..]].concat()
}

/// Every orientation as EXIF defines it, against the `image` crate's way of turning.
#[test]
fn all_orientations_are_applied() {
    let (jpeg, png) =
        (encoded(blocks().into(), ImageFormat::Jpeg), encoded(blocks().into(), ImageFormat::Png));
    let stored = opened("a.jpg", &jpeg).unwrap();
    let stored = RgbImage::from_raw(stored.width, stored.height, stored.pixels).unwrap();
    for orientation in 1..=8 {
        let turned = |image: &RgbImage| {
            let mut image = DynamicImage::from(image.clone());
            image.apply_orientation(image::metadata::Orientation::from_exif(orientation).unwrap());
            image.into_rgb8()
        };
        for (bytes, expected) in [
            (jpeg_with(&jpeg, &exif(orientation, true)), turned(&stored)),
            (jpeg_with(&jpeg, &exif(orientation, false)), turned(&stored)),
            (png_with(&png, b"eXIf", &exif(orientation, false)), turned(&blocks())),
            // Behind the pixels, before the last chunk (IEND, 12 bytes).
            (
                [&png[..png.len() - 12], &chunk(b"eXIf", &exif(orientation, true)), &png[png.len() - 12..]]
                    .concat(),
                turned(&blocks()),
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("turned");
            std::fs::write(&path, bytes).unwrap();
            let picture = open(&path, &Options::default()).unwrap();
            assert_eq!((picture.width, picture.height), expected.dimensions(), "{orientation}");
            assert!(picture.pixels == expected.into_raw(), "{orientation}");
        }
    }
    // By hand: the camera was turned right (6), row 0 of the file is the right side of the scene.
    let picture = decode(&png_with(&png, b"eXIf", &exif(6, true)), &Options::default()).unwrap();
    assert_eq!((picture.width, picture.height), (32, 48));
    assert_eq!(picture.pixels[31 * 3..32 * 3], [250, 0, 0], "top right");
    assert_eq!(picture.pixels[..3], [250, 250, 250], "top left");
    // No orientation.
    for value in [0, 9, 255] {
        assert_eq!(opened("a", &jpeg_with(&jpeg, &exif(value, true))).unwrap().width, 48);
    }
    // A directory that says it has more entries than there are.
    assert_eq!(opened("a", &jpeg_with(&jpeg, b"II\x2a\0\x08\0\0\0\xff\xff\0")).unwrap().width, 48);
}

/// A camera's JPEG is taken as it is stored, as `frcnn.h` says, where a file's is turned.
#[test]
fn an_orientation_turns_no_frame() {
    use frcnn_images::camera::{Converter, Image};
    let jpeg = encoded(blocks().into(), ImageFormat::Jpeg);
    let turned = jpeg_with(&jpeg, &exif(6, true));
    assert_eq!(decode(&turned, &Options::default()).unwrap().width, 32);
    let (mut plain, mut marked) = (Converter::default(), Converter::default());
    let plain = plain.run(&Image::jpeg(&jpeg)).unwrap();
    let marked = marked.run(&Image::jpeg(&turned)).unwrap();
    assert_eq!((marked.width(), marked.height()), (48, 32));
    assert!((0..32).all(|y| plain.row(y) == marked.row(y)));
}

/// Sides that a row of which would not fit either: the sides are the reason, not what the row takes.
#[test]
fn sides_of_a_png_beyond_the_limit_are_named() {
    let header = [&[0x7f, 0xff, 0xff, 0xff].repeat(2)[..], &[8, 2, 0, 0, 0]].concat();
    let bytes =
        [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &header)[..], &chunk(b"IDAT", b""), &chunk(b"IEND", b"")]
            .concat();
    let error = decode(&bytes, &Options::default()).unwrap_err().to_string();
    assert_eq!(error, "2147483647 x 2147483647 pixels; the longest side is 65535");
}

#[test]
fn every_kind_of_png_becomes_rgb8() {
    let png = |image: DynamicImage| opened("x.png", &encoded(image, ImageFormat::Png)).unwrap().pixels;
    assert_eq!(png(RgbImage::from_pixel(2, 1, Rgb([1, 2, 3])).into()), [1, 2, 3, 1, 2, 3]);
    assert_eq!(png(GrayImage::from_pixel(1, 2, Luma([9])).into()), [9; 6]);
    assert_eq!(png(RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0])).into()), [10, 20, 30]);
    assert_eq!(png(ImageBuffer::from_pixel(1, 1, image::LumaA([7u8, 0])).into()), [7; 3]);
    // 16 bits are rounded: 128.498 and 128.502 of 255.
    assert_eq!(png(ImageBuffer::from_pixel(1, 1, Luma([33_024u16])).into()), [128; 3]);
    assert_eq!(png(ImageBuffer::from_pixel(1, 1, Luma([33_025u16])).into()), [129; 3]);
    assert_eq!(png(ImageBuffer::from_pixel(1, 1, Rgb([0u16, 65_535, 257])).into()), [0, 255, 1]);
    assert_eq!(png(ImageBuffer::from_pixel(1, 1, Rgba([514u16, 0, 257, 9])).into()), [2, 0, 1]);

    // A palette of 1 bit with a transparent entry, 9 x 1: bits 10000000 1.
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunk(b"IHDR", &[0, 0, 0, 9, 0, 0, 0, 1, 1, 3, 0, 0, 0]));
    bytes.extend(chunk(b"PLTE", &[1, 2, 3, 4, 5, 6]));
    bytes.extend(chunk(b"tRNS", &[0]));
    // zlib, one stored block of 3 bytes: filter 0 and two bytes of pixels; Adler-32 of 00 80 80.
    bytes.extend(chunk(b"IDAT", &[0x78, 1, 1, 3, 0, 0xfc, 0xff, 0, 0x80, 0x80, 1, 0x83, 1, 1]));
    bytes.extend(chunk(b"IEND", &[]));
    let picture = opened("x", &bytes).unwrap();
    assert_eq!(picture.pixels[..6], [4, 5, 6, 1, 2, 3]);
    assert_eq!(picture.pixels[24..], [4, 5, 6]);
}

#[test]
fn the_content_decides_and_what_is_not_read_is_named() {
    let png = encoded(DynamicImage::new_rgb8(4, 5), ImageFormat::Png);
    assert_eq!(opened("photo.jpg", &png).unwrap().height, 5);
    for (bytes, word) in [
        (&b"GIF89a\x01\0\x01\0\0\0\0;"[..], "a GIF picture"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture"),
        (b"BM\x46\0\0\0\0\0", "a BMP picture"),
        (b"II\x2a\0\x08\0\0\0", "a TIFF picture"),
        (b"MM\0\x2a\0\0\0\x08", "a TIFF picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC or HEIF picture"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF picture"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "an MP4 or QuickTime video"),
        (b"\xff\x0a\0\0", "a JPEG XL picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"<!DOCTYPE html>", "an HTML"),
        (b"P6\n1 1\n255\n...", "a PNM picture"),
        (b"hello, this is no picture\n", "a text"),
        (b"\x01\x02\x03\x04", "of an unknown format"),
        (b"", "empty"),
    ] {
        let error = opened("photo.jpg", bytes).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("supported are JPEG and PNG"), "{word}: {error}");
    }
}

#[test]
fn files_that_are_cut_short_are_refused_at_every_tenth() {
    let noise = RgbImage::from_fn(90, 70, |x, y| {
        Rgb([(x * y % 251) as u8, (x * 7 % 256) as u8, (y * y % 256) as u8])
    });
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let whole = encoded(noise.clone().into(), format);
        let lenient = Options::default().lenient(true);
        let expected = decode(&whole, &lenient).unwrap();
        assert_eq!(expected.damage, None);
        for left in (1..10).map(|tenth| whole.len() * tenth / 10).chain([whole.len() - 2, whole.len() - 1]) {
            assert!(opened("a.jpg", &whole[..left]).is_err(), "{format:?}: {left} of {}", whole.len());
        }
        let half = decode(&whole[..whole.len() / 2 + 300], &lenient).unwrap();
        assert!(half.damage.is_some() && half.pixels.len() == expected.pixels.len());
        assert!(
            half.pixels[..90 * 3 * 8] == expected.pixels[..90 * 3 * 8],
            "{format:?}: the upper rows are there"
        );
    }
}

/// The only test that sets the switch of the whole process; no other reads it.
#[test]
fn a_command_names_the_option_that_takes_what_is_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let whole = encoded(blocks().into(), ImageFormat::Png);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(command::open(&path).unwrap().damage, None);
    std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let refused = command::open(&path).unwrap_err();
    assert!(refused.ends_with("; --lenient takes it as far as it goes"), "{refused}");
    command::be_lenient();
    let damage = command::open(&path).unwrap().damage.unwrap();
    assert!(damage.ends_with("; taken as far as it goes"), "{damage}");
    std::fs::write(&path, "no picture").unwrap();
    let refused = command::open(&path).unwrap_err();
    assert!(refused.contains("is a text") && !refused.contains("--lenient"), "{refused}");
}

/// The header of a PNG with a checksum that fits.
fn claims(width: u32, height: u32, depth: u8, colour: u8, interlace: u8) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = [&size[..], &[depth, colour, 0, 0, interlace]].concat();
    let data = chunk(b"IDAT", &[0x78, 1, 1, 3, 0, 0xfc, 0xff, 0, 0x80, 0x80, 1, 0x83, 1, 1]);
    [b"\x89PNG\r\n\x1a\n".as_slice(), &chunk(b"IHDR", &header), &data, &chunk(b"IEND", &[])].concat()
}

/// What is counted is what the picture becomes: three bytes for each pixel, however small it is stored.
#[test]
fn memory_is_counted_before_it_is_reserved() {
    let options = |max_bytes| {
        let mut options = Options::default();
        options.max_bytes = max_bytes;
        options
    };
    // 32768 x 32768 of 1 bit: 128 MiB as stored, 3 GiB as pixels.
    for bytes in
        [claims(32_768, 32_768, 1, 0, 0), claims(32_767, 32_767, 8, 2, 0), claims(12_000, 9_000, 16, 6, 1)]
    {
        let error = decode(&bytes, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
        assert!(error.to_string().contains("the limit is 1024 MiB"), "{error}");
    }
    // 70,000 pixels in a row of nothing.
    assert!(matches!(decode(&claims(70_000, 1, 8, 0, 0), &Options::default()), Err(Error::TooLarge(_))));
    // 100 x 100 are 30,000 bytes, and turned they are there twice.
    let jpeg = encoded(DynamicImage::new_rgb8(1000, 1000), ImageFormat::Jpeg);
    let turned = jpeg_with(&jpeg, &exif(6, true));
    let upright = jpeg_with(&jpeg, &exif(3, true));
    assert!(decode(&upright, &options(4_000_000)).is_ok());
    assert!(matches!(decode(&turned, &options(4_000_000)), Err(Error::TooLarge(_))));
    assert!(decode(&turned, &options(7_000_000)).is_ok());
}

/// A profile or text that unpacks to any size is not unpacked.
#[test]
fn chunks_beside_the_pixels_are_not_unpacked() {
    let png = encoded(RgbImage::from_pixel(1, 1, Rgb([1, 2, 3])).into(), ImageFormat::Png);
    // zlib of stored zeros would do for a bomb of any ratio; a broken stream shows that nobody looks.
    let named = |rest: &[u8]| [b"name\0\0".as_slice(), rest].concat();
    for kind in [b"iCCP", b"zTXt", b"tEXt"] {
        let picture = decode(&png_with(&png, kind, &named(&[0x78, 0x9c, 1, 2, 3])), &Options::default());
        assert_eq!(picture.unwrap().pixels, [1, 2, 3]);
    }
}

#[test]
fn folders_and_devices_are_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path(), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("is a folder"), "{error}");
    assert!(matches!(open(&folder.path().join("absent.jpg"), &Options::default()), Err(Error::Io(_))));
    #[cfg(target_os = "linux")]
    {
        let error = open(Path::new("/dev/zero"), &Options::default()).unwrap_err().to_string();
        assert!(error.contains("is a device"), "{error}");
        let pipe = folder.path().join("pipe.jpg");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let error = open(&pipe, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("is a pipe"), "{error}");
    }
}

/// A file with holes takes no disk: what is too large is refused before it is read.
#[test]
fn large_files_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.jpg");
    for head in [&b"\xff\xd8\xff\xe0"[..], b"\0\0\0\x20ftypisom"] {
        std::fs::write(&path, head).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(40 << 30).unwrap();
        let error = open(&path, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("the most that is read") || error.contains("video"), "{error}");
    }
}
