//! Letters: antialiased glyphs of one width, in sizes that follow the image's.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};

/// Shown for a character that the font does not have.
const UNKNOWN: char = '?';

/// A size of the font.
#[derive(Clone, Copy, Debug)]
pub(super) struct Font {
    raster: RasterHeight,
    /// Pixels per glyph pixel and side.
    zoom: u32,
}

impl Font {
    /// Letters of about a 27th of the image's short side, 16 pixels high at least.
    pub(super) fn for_image(short_side: u32) -> Font {
        let wanted = short_side / 27;
        let raster = match wanted {
            0..18 => RasterHeight::Size16,
            18..22 => RasterHeight::Size20,
            22..28 => RasterHeight::Size24,
            _ => RasterHeight::Size32,
        };
        // The font has no larger glyphs: beyond them, a glyph's pixels become squares of pixels.
        Font { raster, zoom: ((wanted + 16) / 32).max(1) }
    }

    /// Height of a line of text.
    pub(super) fn height(self) -> i32 {
        (self.raster.val() as u32 * self.zoom) as i32
    }

    /// Width of each character.
    pub(super) fn advance(self) -> i32 {
        (get_raster_width(FontWeight::Bold, self.raster) as u32 * self.zoom) as i32
    }

    /// How much of the pixel (x, y) of a character's cell is covered, 0 to 255.
    pub(super) fn coverage(self, character: char) -> impl Fn(i32, i32) -> u8 {
        let glyph = self.glyph(character).or_else(|| self.glyph(UNKNOWN));
        move |x, y| {
            let (column, row) = (x as u32 / self.zoom, y as u32 / self.zoom);
            glyph.as_ref().and_then(|glyph| glyph.pixel(column as usize, row as usize)).unwrap_or(0)
        }
    }

    fn glyph(self, character: char) -> Option<RasterizedChar> {
        get_raster(character, FontWeight::Bold, self.raster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_grow_with_the_image() {
        let heights = [1, 480, 600, 720, 1080, 2160, 4320].map(|side| Font::for_image(side).height());
        assert_eq!(heights, [16, 16, 24, 24, 32, 96, 160]);
    }

    #[test]
    fn characters_that_the_font_lacks_become_question_marks() {
        let font = Font::for_image(480);
        let ink = |character| {
            let coverage = font.coverage(character);
            let cells = (0..font.height()).flat_map(|y| (0..font.advance()).map(move |x| (x, y)));
            cells.map(|(x, y)| coverage(x, y)).collect::<Vec<u8>>()
        };
        assert_eq!(ink('☃'), ink('?'));
        assert_ne!(ink('é'), ink('?'));
        assert!(ink(' ').iter().all(|&c| c == 0));
    }
}
