//! Where a label goes, and how it is drawn.

use image::{Rgb, RgbImage};

use super::colour;
use super::font::Font;
use super::rect::Rect;

/// Text and where it stands.
pub(super) struct Label {
    text: String,
    rect: Rect,
}

impl Label {
    /// The place near `target` that covers least of the labels `before`, preferring the top left corner's outside.
    /// The label lies wholly inside an image of `size`; where the image is too narrow, the text is cut.
    pub(super) fn place(text: &str, target: &Rect, size: (u32, u32), font: Font, before: &[Label]) -> Label {
        let (image_width, image_height) = (size.0 as i32, size.1 as i32);
        let fitting = (image_width - 2 * margin(font)).max(0) / font.advance();
        let text: String = text.chars().take(fitting as usize).collect();
        let width = (text.chars().count() as i32 * font.advance() + 2 * margin(font)).min(image_width);
        let height = font.height().min(image_height);

        let inside_image = |(left, top): (i32, i32)| {
            let (left, top) = (left.clamp(0, image_width - width), top.clamp(0, image_height - height));
            Rect { left, top, right: left + width, bottom: top + height }
        };
        let covered = |place: &Rect| before.iter().map(|label| label.rect.overlap(place)).sum::<i64>();
        // `min_by_key` gives the first of equals: the order is the preference.
        let best = places(target, width, height).map(inside_image).into_iter().min_by_key(covered);
        Label { text, rect: best.unwrap_or_else(|| inside_image((target.left, target.top))) }
    }

    /// A label with its left upper corner there, cut nowhere.
    pub(super) fn at(text: &str, left: i32, top: i32, font: Font) -> Label {
        let width = text.chars().count() as i32 * font.advance() + 2 * margin(font);
        let rect = Rect { left, top, right: left + width, bottom: top + font.height() };
        Label { text: text.to_string(), rect }
    }

    pub(super) fn draw(&self, image: &mut RgbImage, font: Font, ground: Rgb<u8>) {
        self.rect.fill(image, ground);
        let ink = colour::of_text_on(ground);
        let (top, bottom) = (self.rect.top, self.rect.bottom);
        let mut left = self.rect.left + margin(font);
        for character in self.text.chars() {
            let cell = Rect { left, top, right: left + font.advance(), bottom };
            let coverage = font.coverage(character);
            cell.paint(image, |x, y| colour::mix(ground, ink, coverage(x, y)));
            left = cell.right;
        }
    }
}

/// Left corners of the places for a label of `width` x `height`, best first: outside and inside at the four corners.
fn places(target: &Rect, width: i32, height: i32) -> [(i32, i32); 8] {
    let (left, right) = (target.left, target.right - width);
    let (above, top) = (target.top - height, target.top);
    let (bottom, below) = (target.bottom - height, target.bottom);
    [
        (left, above),
        (left, top),
        (right, above),
        (right, top),
        (left, below),
        (left, bottom),
        (right, below),
        (right, bottom),
    ]
}

/// Ground left and right of the text.
fn margin(font: Font) -> i32 {
    font.advance() / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (200, 100);

    fn font() -> Font {
        Font::for_image(SIZE.1)
    }

    fn inside(rect: &Rect, (width, height): (u32, u32)) -> bool {
        rect.left >= 0 && rect.top >= 0 && rect.right <= width as i32 && rect.bottom <= height as i32
    }

    #[test]
    fn a_label_stands_on_its_box() {
        let target = Rect { left: 20, top: 50, right: 60, bottom: 90 };
        let label = Label::place("cat 0.97", &target, SIZE, font(), &[]);
        assert_eq!((label.rect.left, label.rect.bottom, label.text.as_str()), (20, 50, "cat 0.97"));
    }

    #[test]
    fn a_label_stays_inside_the_image() {
        for left in [-30, 0, 90, 150, 199, 260] {
            for top in [-30, 0, 5, 50, 99, 130] {
                let target = Rect { left, top, right: left + 40, bottom: top + 30 };
                for text in ["x", "cat 0.97", "a name much longer than the image is wide 0.97"] {
                    for size in [SIZE, (40, 100), (5, 5), (1, 1)] {
                        let label = Label::place(text, &target, size, font(), &[]);
                        assert!(inside(&label.rect, size), "{:?} in {size:?}", label.rect);
                    }
                }
            }
        }
    }

    #[test]
    fn a_label_makes_way_for_a_better_one() {
        let target = Rect { left: 20, top: 30, right: 120, bottom: 90 };
        let mut labels = vec![Label::place("cat 0.97", &target, SIZE, font(), &[])];
        for text in ["dog 0.90", "cow 0.80"] {
            let label = Label::place(text, &target, SIZE, font(), &labels);
            assert!(labels.iter().all(|before| before.rect.overlap(&label.rect) == 0), "{:?}", label.rect);
            labels.push(label);
        }
    }

    #[test]
    fn text_that_does_not_fit_is_cut() {
        let target = Rect { left: 0, top: 0, right: 40, bottom: 40 };
        let label = Label::place("aeroplane 0.97", &target, (60, 40), font(), &[]);
        assert!(label.text.len() < 10 && "aeroplane".starts_with(&label.text), "{}", label.text);
    }
}
