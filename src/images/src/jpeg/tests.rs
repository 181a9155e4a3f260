//! Pictures that the `image` crate encodes, changed as cameras and accidents change them.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};

use super::{Decoded, Rules, decode_into};
use crate::Error;

const RULES: Rules = Rules { max_side: 8192, max_bytes: 1 << 28, lenient: false, upright: false };

/// 16 x 16, 4:2:0, progressive, as libjpeg's script writes it (Pillow: quality 40, `progressive=True`).
const PROGRESSIVE: &str = "\
    ffd8ffdb004300140e0f120f0d14121012171514181e32211e1c1c1e3d2c2e243249404c4b47404645505a736250556d5645\
    466488656d777b8182814e608d978c7d96737e817cffdb0043011517171e1a1e3b21213b7c5346537c7c7c7c7c7c7c7c7c7c\
    7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7cffc20011080010001003\
    012200021101031101ffc400160001010100000000000000000000000000040305ffc4001501010100000000000000000000\
    000000000103ffda000c03010002100310000001cf4dd517ffc400161001010100000000000000000000000000020001ffda\
    0008010100010502c1608888bfffc4001511010100000000000000000000000000000300ffda0008010301013f0116bfffc4\
    00161101010100000000000000000000000000010011ffda0008010201013f011dbfffc40014100100000000000000000000\
    000000000020ffda0008010100063f021fffc40014100100000000000000000000000000000020ffda0008010100013f2114\
    1fffda000c03010002000300000010a3ffc4001511010100000000000000000000000000000011ffda0008010301013f1083\
    ffc40014110100000000000000000000000000000000ffda0008010201013f101fffc4001710010003000000000000000000\
    0000000000213161ffda0008010100013f10c99a88530fffd9\
";

fn progressive() -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    PROGRESSIVE.trim().as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])).collect()
}

fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = ((x * x + y * 3) % 97) as u8;
        image::Rgb([(x * 5 % 256) as u8, wave.wrapping_mul(2), (y * 7 % 256) as u8])
    })
}

/// Baseline, 4:2:0 as the encoder chooses, with the tables of Annex K.
fn baseline(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = photo(width, height);
    JpegEncoder::new_with_quality(&mut bytes, 90)
        .encode(&picture, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

fn decode(jpeg: &[u8]) -> Result<(Decoded, Vec<u8>), Error> {
    let mut pixels = Vec::new();
    decode_into(jpeg, &RULES, &mut pixels).map(|decoded| (decoded, pixels))
}

/// Start of each segment with this marker.
fn segments(jpeg: &[u8], wanted: u8) -> Vec<usize> {
    let (mut found, mut at) = (Vec::new(), 2);
    while at + 4 <= jpeg.len() {
        if jpeg[at] != 0xff || matches!(jpeg[at + 1], 0 | 0xff | 0xd0..=0xd7) {
            at += 1;
            continue;
        }
        if jpeg[at + 1] == wanted {
            found.push(at);
        }
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
    }
    found
}

fn without(jpeg: &[u8], marker: u8) -> Vec<u8> {
    let mut left = jpeg.to_vec();
    for at in segments(jpeg, marker).into_iter().rev() {
        let length = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        left.drain(at..at + length);
    }
    left
}

/// First byte of the last scan's data.
fn scan(jpeg: &[u8]) -> usize {
    let at = *segments(jpeg, 0xda).last().unwrap();
    at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]))
}

fn spliced(jpeg: &[u8], at: usize, piece: &[u8]) -> Vec<u8> {
    [&jpeg[..at], piece, &jpeg[at..]].concat()
}

/// As most USB cameras send them: no DHT; with AVI1, with JFIF, with no APP segment at all.
#[test]
fn missing_huffman_tables_are_the_standard_ones() {
    let whole = baseline(70, 50);
    let (_, expected) = decode(&whole).unwrap();
    let bare = without(&without(&whole, 0xc4), 0xe0);
    assert!(bare.len() + 400 < whole.len(), "the tables are gone");
    let avi = spliced(&bare, 2, b"\xff\xe0\0\x10AVI1\0\0\0\0\0\0\0\0\0\0");
    for jpeg in [without(&whole, 0xc4), bare, avi] {
        assert!(decode(&jpeg).unwrap().1 == expected);
    }
    // Only one of the four is left out.
    let dht = segments(&whole, 0xc4);
    assert_eq!(dht.len(), 4);
    let mut three = whole.clone();
    three.drain(dht[3]..dht[3] + 2 + usize::from(u16::from_be_bytes([whole[dht[3] + 2], whole[dht[3] + 3]])));
    assert!(decode(&three).unwrap().1 == expected);
}

#[test]
fn a_scan_that_ends_early_is_an_error_wherever_it_ends() {
    for jpeg in [baseline(70, 50), baseline(8, 8), progressive()] {
        let (start, end) = (scan(&jpeg), jpeg.len() - 2);
        assert!(decode(&jpeg).is_ok());
        for cut in start..end - 2 {
            let data = &jpeg[..cut];
            let data = data.strip_suffix(&[0xff]).unwrap_or(data);
            let error = decode(data).err().map(|error| error.to_string());
            assert!(error.is_some(), "cut at {cut} of {end}");
            assert!(decode(&[data, &[0xff, 0xd9]].concat()).is_err(), "EOI at {cut} of {end}");
        }
    }
}

#[test]
fn progressive_scans_must_all_come() {
    let jpeg = progressive();
    let scans = segments(&jpeg, 0xda);
    assert!(scans.len() >= 8, "{scans:?}");
    for pair in scans.windows(2) {
        assert!(decode(&[&jpeg[..pair[1]], &[0xff, 0xd9]].concat()).is_err());
        assert!(decode(&[&jpeg[..pair[0]], &jpeg[pair[1]..]].concat()).is_err());
    }
}

/// Trailing bytes, doubled EOI, fill bytes and junk between segments, a second picture behind the first.
#[test]
fn what_lies_around_a_picture_changes_nothing() {
    for jpeg in [baseline(40, 24), progressive()] {
        let (_, expected) = decode(&jpeg).unwrap();
        let dqt = segments(&jpeg, 0xdb)[0];
        for changed in [
            [&jpeg[..], &[0; 5000]].concat(),
            [&jpeg[..], &[0xff, 0xd9]].concat(),
            [&jpeg[..], &baseline(16, 16)].concat(),
            spliced(&jpeg, dqt, &[0xff, 0xff, 0xff]),
            spliced(&jpeg, dqt, &[0, 0, 0, 7]),
            spliced(&jpeg, dqt, b"\xff\xe5\0\x06abcd"),
            spliced(&jpeg, jpeg.len() - 2, &[0xff, 0xff]),
        ] {
            let (decoded, pixels) = decode(&changed).unwrap();
            assert!(decoded.ended && pixels == expected);
        }
        let (decoded, pixels) = decode(&jpeg[..jpeg.len() - 2]).unwrap();
        assert!(!decoded.ended && pixels == expected, "every pixel is there, the marker is not");
    }
}

/// A restart marker after every unit, by hand: each unit of this grey picture ends on a byte.
#[test]
fn restart_intervals_are_counted() {
    // 24 x 8, three blocks; DC difference 0 is 00, end of block 1010, padded by ones.
    let scan = [0xffu8, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
    let mut head = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    head.extend([16; 64]);
    head.extend([0xff, 0xc0, 0, 11, 8, 0, 8, 0, 24, 1, 1, 0x11, 0]);
    head.extend([0xff, 0xdd, 0, 4, 0, 1]);
    head.extend(scan);
    let of = |data: &[u8]| decode(&[&head[..], data, &[0xff, 0xd9]].concat()).map(|(_, pixels)| pixels);
    assert_eq!(of(&[0x2b, 0xff, 0xd0, 0x2b, 0xff, 0xd1, 0x2b]).unwrap(), [128; 24 * 8 * 3]);
    for data in [
        &[0x2b, 0xff, 0xd0, 0x2b][..],
        &[0x2b, 0xff, 0xd0, 0x2b, 0xff, 0xd1],
        &[0x2b, 0xff, 0xd1, 0x2b, 0xff, 0xd0, 0x2b],
        &[0x2b, 0xff, 0xd0, 0x2b, 0xff, 0xd2, 0x2b],
        &[0x2b, 0x2b, 0x2b],
    ] {
        assert!(of(data).is_err(), "{data:x?}");
    }
}

/// A damaged header costs no memory: what the claimed pixels take at the very least is not in the file.
#[test]
fn a_size_that_the_data_cannot_fill_is_refused_before_memory_is_reserved() {
    for mut jpeg in [baseline(160, 120), progressive()] {
        let sof = [segments(&jpeg, 0xc0), segments(&jpeg, 0xc2)].concat()[0];
        jpeg[sof + 5..sof + 9].copy_from_slice(&[0x20, 0, 0x20, 0]);
        let mut pixels = Vec::new();
        let error = decode_into(&jpeg, &RULES, &mut pixels).unwrap_err().to_string();
        assert!(error.contains("8192 x 8192") && pixels.capacity() == 0, "{error}, {}", pixels.capacity());
        jpeg[sof + 5] = 0x40;
        assert!(matches!(decode_into(&jpeg, &RULES, &mut pixels), Err(Error::TooLarge(_))));
    }
    // The same by the memory that is allowed.
    let rules = Rules { max_bytes: 10_000, ..RULES };
    let error = decode_into(&baseline(160, 120), &rules, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
}

#[test]
fn other_kinds_of_jpeg_are_named() {
    let jpeg = baseline(16, 16);
    let sof = segments(&jpeg, 0xc0)[0];
    let with = |at: usize, byte: u8| {
        let mut jpeg = jpeg.clone();
        jpeg[at] = byte;
        decode(&jpeg).unwrap_err().to_string()
    };
    for (at, byte, word) in [
        (sof + 1, 0xc3, "lossless"),
        (sof + 1, 0xc5, "hierarchical"),
        (sof + 1, 0xc9, "arithmetic"),
        (sof + 1, 0xca, "arithmetic"),
        (sof + 4, 12, "12-bit"),
        (sof + 9, 2, "2-channel"),
    ] {
        assert!(with(at, byte).contains(word), "{}", with(at, byte));
    }
    assert!(decode(b"GIF89a").unwrap_err().to_string().contains("a GIF picture and no JPEG"));
}

#[test]
fn lenient_takes_what_is_there_and_says_so() {
    for jpeg in [baseline(70, 50), progressive()] {
        let (start, end) = (scan(&jpeg), jpeg.len());
        let half = &jpeg[..(start + end) / 2];
        let rules = Rules { lenient: true, ..RULES };
        let mut pixels = Vec::new();
        let decoded = decode_into(half, &rules, &mut pixels).unwrap();
        assert!(decoded.damage.is_some() && pixels.len() as u32 == decoded.width * decoded.height * 3);
        let decoded = decode_into(&jpeg, &rules, &mut pixels).unwrap();
        assert!(decoded.damage.is_none() && pixels == decode(&jpeg).unwrap().1);
    }
}

/// Any byte may be anything: an error or a picture, no panic.
#[test]
fn damaged_bytes_do_not_panic() {
    for jpeg in [baseline(24, 24), progressive()] {
        for at in 2..jpeg.len() {
            for byte in [0, 1, 0x7f, 0xd9, 0xff] {
                let mut jpeg = jpeg.clone();
                jpeg[at] = byte;
                let mut pixels = Vec::new();
                let _ = decode_into(&jpeg, &RULES, &mut pixels);
                let _ = decode_into(&jpeg, &Rules { lenient: true, ..RULES }, &mut pixels);
            }
        }
    }
}
