//! Y, U, V formats to RGB, by the `yuv` crate: BT.601 or BT.709, limited or full range; each chroma sample serves all
//! its pixels.

use yuv::{
    BufferStoreMut, YuvBiPlanarImage, YuvChromaSubsampling, YuvConversionMode, YuvError, YuvPackedImage,
    YuvPlanarImage, YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
};

use super::{Colour, Format, Image};

/// Writes the `width * height` RGB pixels of `image`, which is in one of the Y, U, V formats, to `rgb`.
pub(super) fn to_rgb(image: &Image<&[u8]>, rgb: &mut [u8]) -> Result<(), YuvError> {
    match image.format {
        Format::Yuyv | Format::Uyvy => packed_to_rgb(image, rgb),
        _ => planes_to_rgb(image, rgb),
    }
}

/// Four bytes for two pixels.
///
/// Some rows at a time through planes. The crate's direct way has six bits of fraction, up to 3 levels off, and other
/// values on other machines; planes are within 1.
fn packed_to_rgb(image: &Image<&[u8]>, rgb: &mut [u8]) -> Result<(), YuvError> {
    /// So few that their planes stay in the first-level cache or near it.
    const ROWS: usize = 8;
    let split = match image.format {
        Format::Yuyv => yuv::yuyv422_to_yuv422,
        _ => yuv::uyvy422_to_yuv422,
    };
    let (range, matrix) = standard(image.colour);
    let width = image.width;
    let (half, rgb_stride) = (width.div_ceil(2), width * 3);
    let mut planes = YuvPlanarImageMut::alloc(width, ROWS as u32, YuvChromaSubsampling::Yuv422);
    for (block, rgb) in rgb.chunks_mut(ROWS * rgb_stride as usize).enumerate() {
        let rows = rgb.len() / rgb_stride as usize;
        for row in 0..rows {
            let packed = &image.planes[0][(block * ROWS + row) * image.strides[0]..][..4 * half as usize];
            let packed = YuvPackedImage { yuy: packed, yuy_stride: 4 * half, width, height: 1 };
            let (y, c) = (row * width as usize, row * half as usize);
            let mut row = YuvPlanarImageMut {
                y_plane: BufferStoreMut::Borrowed(&mut planes.y_plane.borrow_mut()[y..][..width as usize]),
                y_stride: width,
                u_plane: BufferStoreMut::Borrowed(&mut planes.u_plane.borrow_mut()[c..][..half as usize]),
                u_stride: half,
                v_plane: BufferStoreMut::Borrowed(&mut planes.v_plane.borrow_mut()[c..][..half as usize]),
                v_stride: half,
                width,
                height: 1,
            };
            split(&mut row, &packed)?;
        }
        let mut part = planes.to_fixed();
        part.height = rows as u32;
        yuv::yuv422_to_rgb(&part, rgb, rgb_stride, range, matrix)?;
    }
    Ok(())
}

/// Chroma of half the width in half the rows.
///
/// Planes may end with the last byte that is used, but of NV12 the crate passes over rows of which it does not have a
/// whole stride. So it gets the rows that have all of it, and those that share the last row of chroma one by one
/// without padding.
fn planes_to_rgb(image: &Image<&[u8]>, rgb: &mut [u8]) -> Result<(), YuvError> {
    let height = image.height as usize;
    let upper_rows = (height - 1) / 2 * 2;
    let (upper, lower) = rgb.split_at_mut(upper_rows * image.width as usize * 3);
    if upper_rows > 0 {
        let mut part = image.clone();
        part.height = upper_rows as u32;
        let rows = [upper_rows, upper_rows / 2, upper_rows / 2];
        for ((plane, stride), rows) in part.planes.iter_mut().zip(part.strides).zip(rows) {
            *plane = &plane[..rows * stride];
        }
        convert(&part, upper)?;
    }
    for (row, rgb) in (upper_rows..height).zip(lower.chunks_exact_mut(image.width as usize * 3)) {
        let mut part = image.clone();
        part.height = 1;
        let rows = [row, row / 2, row / 2];
        for (i, needs) in image.format.planes(image.width, 1).into_iter().enumerate() {
            let Some((bytes, _)) = needs else { continue };
            part.planes[i] = &image.planes[i][rows[i] * image.strides[i]..][..bytes];
            part.strides[i] = bytes;
        }
        convert(&part, rgb)?;
    }
    Ok(())
}

fn standard(colour: Colour) -> (YuvRange, YuvStandardMatrix) {
    match colour {
        Colour::Bt601Limited => (YuvRange::Limited, YuvStandardMatrix::Bt601),
        Colour::Bt601Full => (YuvRange::Full, YuvStandardMatrix::Bt601),
        Colour::Bt709Limited => (YuvRange::Limited, YuvStandardMatrix::Bt709),
        Colour::Bt709Full => (YuvRange::Full, YuvStandardMatrix::Bt709),
    }
}

/// `image` has `strides` bytes for every row.
fn convert(image: &Image<&[u8]>, rgb: &mut [u8]) -> Result<(), YuvError> {
    let (range, matrix) = standard(image.colour);
    let Image { width, height, planes: [y_plane, u_plane, v_plane], .. } = *image;
    // Strides were seen to fit into 32 bits when the image was made.
    let [y_stride, u_stride, v_stride] = image.strides.map(|stride| stride as u32);
    let rgb_stride = width * 3;
    let nv = YuvBiPlanarImage { y_plane, y_stride, uv_plane: u_plane, uv_stride: u_stride, width, height };
    let mode = YuvConversionMode::Balanced;
    match image.format {
        Format::Nv12 => yuv::yuv_nv12_to_rgb(&nv, rgb, rgb_stride, range, matrix, mode),
        Format::Nv21 => yuv::yuv_nv21_to_rgb(&nv, rgb, rgb_stride, range, matrix, mode),
        _ => {
            let planes =
                YuvPlanarImage { y_plane, y_stride, u_plane, u_stride, v_plane, v_stride, width, height };
            yuv::yuv420_to_rgb(&planes, rgb, rgb_stride, range, matrix)
        }
    }
}
