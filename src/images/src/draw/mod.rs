//! Draws detections into an image: a box, and a label with class and score.
//!
//! ```text
//! ┌──────────┐
//! │ cat 0.97 │        labels stand on their box, inside the image, and make way for better ones
//! ┢━━━━━━━━━━┷━━┓
//! ┃             ┃     lines and letters grow with the image
//! ┗━━━━━━━━━━━━━┛
//! ```
//!
//! Filled rectangles and letters from a bitmap font are all that is drawn. imageproc would bring nalgebra, num and
//! rand into the build for the former, and ab_glyph a font file into the binary for the latter.
//!
//! What has a higher score is drawn later, and all labels after all boxes, so no line crosses a label.

mod colour;
mod font;
mod label;
pub mod plot;
mod rect;

use frcnn_core::Detection;
use image::RgbImage;

use font::Font;
use label::Label;
use rect::Rect;

/// Draws `detections`, best first, with the names that `class_name` gives their classes.
pub fn draw<'a>(image: &mut RgbImage, detections: &[Detection], class_name: impl Fn(u16) -> &'a str) {
    let (width, height) = image.dimensions();
    let thickness = line_width(width.min(height));
    let font = Font::for_image(width.min(height));

    let boxes: Vec<Rect> = detections.iter().map(|found| Rect::of_box(&found.bbox)).collect();
    let mut labels: Vec<Label> = Vec::new();
    for (found, rect) in detections.iter().zip(&boxes) {
        let text = format!("{} {:.2}", class_name(found.class_id), found.score);
        let label = Label::place(&text, rect, (width, height), font, &labels);
        labels.push(label);
    }
    for (found, rect) in detections.iter().zip(&boxes).rev() {
        rect.outline(image, thickness, colour::of_class(found.class_id));
    }
    for (found, label) in detections.iter().zip(&labels).rev() {
        label.draw(image, font, colour::of_class(found.class_id));
    }
}

/// 2 pixels on a small image, 4 on Full HD.
fn line_width(short_side: u32) -> i32 {
    (short_side as i32 / 270).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use frcnn_core::BBox;
    use image::Rgb;

    fn found(class_id: u16, score: f32, bbox: BBox) -> Detection {
        Detection { class_id, score, bbox, proposal: 0 }
    }

    #[test]
    fn the_line_lies_on_the_inclusive_corners() {
        let mut image = RgbImage::new(100, 80);
        draw(&mut image, &[found(1, 0.5, BBox::new(10.0, 30.0, 59.0, 69.0))], |_| "x");
        let line = colour::of_class(1);
        for (x, y) in [(10, 45), (59, 45), (30, 69), (59, 69), (11, 45), (58, 45)] {
            assert_eq!(*image.get_pixel(x, y), line, "{x}, {y}");
        }
        for (x, y) in [(9, 45), (60, 45), (30, 70), (12, 45), (57, 45)] {
            assert_eq!(*image.get_pixel(x, y), Rgb([0; 3]), "{x}, {y}");
        }
    }

    #[test]
    fn the_better_detection_is_on_top() {
        let mut image = RgbImage::new(200, 200);
        let same = BBox::new(50.0, 50.0, 150.0, 150.0);
        draw(&mut image, &[found(1, 0.9, same), found(2, 0.6, same)], |_| "x");
        assert_eq!(*image.get_pixel(150, 100), colour::of_class(1));
    }

    #[test]
    fn any_box_can_be_drawn_into_any_image() {
        let boxes = [
            BBox::new(0.0, 0.0, 0.0, 0.0),
            BBox::new(-50.0, -50.0, 5000.0, 5000.0),
            BBox::new(30.0, 30.0, 10.0, 10.0),
            BBox::new(f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 3.0e38),
        ];
        let detections = boxes.map(|bbox| found(65535, f32::NAN, bbox));
        for (width, height) in [(1, 1), (3, 500), (500, 3), (64, 48)] {
            draw(&mut RgbImage::new(width, height), &detections, |_| "a rather long name ☃");
        }
    }
}
