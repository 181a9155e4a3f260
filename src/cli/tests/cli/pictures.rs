//! Pictures as cameras, phones and programs write them, made by hand where the `image` crate makes none.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// No two corners alike, and nothing that looks the same turned or mirrored.
pub(crate) fn scene() -> RgbImage {
    RgbImage::from_fn(120, 90, |x, y| {
        if (20..70).contains(&x) && (10..40).contains(&y) {
            return Rgb([230, 40, 30]);
        }
        if (x as i32 - 90).pow(2) + (y as i32 - 65).pow(2) < 300 {
            return Rgb([20, 200, 90]);
        }
        Rgb([x as u8 * 2, y as u8 * 2, 140])
    })
}

pub(crate) fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn jpeg() -> Vec<u8> {
    encoded(scene(), ImageFormat::Jpeg)
}

pub(crate) fn png() -> Vec<u8> {
    encoded(scene(), ImageFormat::Png)
}

/// A segment of a JPEG.
fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 2) as u16;
    [&[0xff, marker], &length.to_be_bytes()[..], body].concat()
}

/// A TIFF block with nothing but an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    [b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation, 0, 0, 0, 0, 0, 0]]
        .concat()
}

/// The JPEG as a camera writes it that was held in this way.
pub(crate) fn jpeg_held(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let app1 = segment(0xe1, &[b"Exif\0\0", exif(orientation).as_slice()].concat());
    [&jpeg[..2], &app1, &jpeg[2..]].concat()
}

/// The same for a PNG.
pub(crate) fn png_held(png: &[u8], orientation: u8) -> Vec<u8> {
    [&png[..33], &chunk(b"eXIf", &exif(orientation)), &png[33..]].concat()
}

/// The JPEG without its segments of this kind.
pub(crate) fn without(jpeg: &[u8], marker: u8) -> Vec<u8> {
    let (mut left, mut at) = (jpeg[..2].to_vec(), 2);
    while jpeg[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != marker {
            left.extend(&jpeg[at..end]);
        }
        at = end;
    }
    [&left, &jpeg[at..]].concat()
}

/// The JPEG with another byte in its frame header, counted from the marker.
pub(crate) fn other_frame(jpeg: &[u8], place: usize, byte: u8) -> Vec<u8> {
    let sof = jpeg.windows(4).position(|four| four == [0xff, 0xc0, 0, 17]).unwrap();
    let mut jpeg = jpeg.to_vec();
    jpeg[sof + place] = byte;
    jpeg
}

/// Bits of entropy-coded data, the last byte filled with ones.
fn scan_data(bits: &str) -> Vec<u8> {
    let bytes = bits.as_bytes().chunks(8).map(|byte| {
        (0..8).fold(0, |value, place| value * 2 + u8::from(byte.get(place).is_none_or(|&bit| bit == b'1')))
    });
    bytes.flat_map(|byte| if byte == 255 { vec![255, 0] } else { vec![byte] }).collect()
}

/// 120 x 90 grey pixels in blocks of 8 x 8, black, then white from block 100 on; progressive or baseline.
pub(crate) fn grey_blocks_jpeg(progressive: bool) -> Vec<u8> {
    let quantisation = [&[0][..], &[8; 64]].concat();
    // Codes 0 (no difference), 10 (8 bits follow) of DC and 0 (end of block) of AC.
    let dc = [&[0, 1, 1][..], &[0; 14], &[0, 8]].concat();
    let ac = [&[0x10, 1][..], &[0; 15], &[0]].concat();
    let frame = [8, 0, 90, 0, 120, 1, 1, 0x11, 0];
    let dc_of = |block| match block {
        // 128 below grey; and 255 more.
        0 => "1001111111",
        100 => "1011111111",
        _ => "0",
    };
    let head = [
        vec![0xff, 0xd8],
        segment(0xdb, &quantisation),
        segment(if progressive { 0xc2 } else { 0xc0 }, &frame),
        segment(0xc4, &dc),
        segment(0xc4, &ac),
    ]
    .concat();
    let blocks = 0..15 * 12;
    let scans = if progressive {
        let first: String = blocks.clone().map(dc_of).collect();
        let rest: String = blocks.map(|_| "0").collect();
        [
            segment(0xda, &[1, 1, 0, 0, 0, 0]),
            scan_data(&first),
            segment(0xda, &[1, 1, 0, 1, 63, 0]),
            scan_data(&rest),
        ]
        .concat()
    } else {
        let all: String = blocks.map(|block| dc_of(block).to_string() + "0").collect();
        [segment(0xda, &[1, 1, 0, 0, 63, 0]), scan_data(&all)].concat()
    };
    [&head[..], &scans, &[0xff, 0xd9]].concat()
}

/// What [`grey_blocks_jpeg`] shows.
pub(crate) fn grey_blocks() -> RgbImage {
    RgbImage::from_fn(120, 90, |x, y| if y / 8 * 15 + x / 8 >= 100 { Rgb([255; 3]) } else { Rgb([0; 3]) })
}

/// Four channels in the way of Adobe's programs, all of them half: a quarter of white.
pub(crate) fn cmyk_jpeg() -> Vec<u8> {
    let quantisation = [&[0][..], &[8; 64]].concat();
    let adobe = b"Adobe\0\x64\0\0\0\0\0";
    let frame: Vec<u8> =
        [&[8, 0, 90, 0, 120, 4][..], &[1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0]].concat();
    let scan = [4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0];
    // By the standard tables: no difference, end of block.
    let data = "001010".repeat(4 * 15 * 12);
    [
        vec![0xff, 0xd8],
        segment(0xee, adobe),
        segment(0xdb, &quantisation),
        segment(0xc0, &frame),
        segment(0xda, &scan),
        scan_data(&data),
        vec![0xff, 0xd9],
    ]
    .concat()
}

/// A chunk of a PNG.
fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [kind.as_slice(), body].concat();
    let bit = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    let crc = !named.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit));
    [&(body.len() as u32).to_be_bytes(), &named[..], &crc.to_be_bytes()].concat()
}

/// A PNG of these rows, uncompressed, each with its filter byte; they may be fewer than `size` says.
pub(crate) fn raw_png(
    (width, height): (u32, u32),
    depth: u8,
    colour: u8,
    palette: &[u8],
    rows: &[u8],
) -> Vec<u8> {
    assert!(rows.len() < 1 << 16);
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let (a, b) = rows.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    let length = rows.len() as u16;
    let stored = [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), rows].concat();
    let zlib = [&stored[..], &(b << 16 | a).to_be_bytes()].concat();
    let palette = if palette.is_empty() { Vec::new() } else { chunk(b"PLTE", palette) };
    [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        &chunk(b"IHDR", &[&size[..], &[depth, colour, 0, 0, 0]].concat()),
        &palette,
        &chunk(b"IDAT", &zlib),
        &chunk(b"IEND", &[]),
    ]
    .concat()
}

/// What [`grey_blocks_jpeg`] shows, of two colours in a palette, a byte for eight pixels.
pub(crate) fn palette_png() -> Vec<u8> {
    let rows: Vec<u8> = (0..90u32)
        .flat_map(|y| {
            std::iter::once(0).chain((0..15).map(move |x| if y / 8 * 15 + x >= 100 { 255 } else { 0 }))
        })
        .collect();
    raw_png((120, 90), 1, 3, &[0, 0, 0, 255, 255, 255], &rows)
}
