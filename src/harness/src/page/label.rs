//! Where the labels of boxes are written, so that they can be read.

use frcnn_core::Printable;

use super::overlay::Mark;

/// Labels of one picture at most: more would hide it, and each is held against all before it.
const MOST: usize = 150;
/// Characters of a label at most; all of it is shown at the pointer.
const LONGEST: usize = 28;
/// Height of a label over that of its letters.
const LINE: f64 = 1.3;

/// A label on a picture, in the picture's pixels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Of the letters: left end and baseline.
    pub(super) text_x: f64,
    pub(super) text_y: f64,
    /// Their width; a browser's own font is fitted to it.
    pub(super) text_width: f64,
    pub(super) text: String,
    /// Height of the letters.
    pub(super) font: f64,
}

impl Place {
    fn overlap(&self, other: &Place) -> f64 {
        let along = |a: f64, a_size: f64, b: f64, b_size: f64| (a + a_size).min(b + b_size) - a.max(b);
        let width = along(self.x, self.width, other.x, other.width);
        let height = along(self.y, self.height, other.y, other.height);
        width.max(0.0) * height.max(0.0)
    }
}

/// Gives each box a place for its label, in a picture of `size` whose letters are `font` high: at one of its corners, where the
/// label covers least of those before it. Labels stay within the picture.
pub(super) fn place(marks: &mut [Mark], size: (u32, u32), font: f64) {
    let (width, height) = (f64::from(size.0), f64::from(size.1));
    let mut placed: Vec<Place> = Vec::new();
    for mark in marks.iter_mut().take(MOST) {
        let text = shortened(&mark.label);
        let (text_width, margin) = (text_width(&text) * font, font * 0.25);
        let (label_width, label_height) = (text_width + 2.0 * margin, font * LINE);
        let (left, right) = (mark.x, mark.x + mark.width - label_width);
        let (above, top) = (mark.y - label_height, mark.y);
        let (below, bottom) = (mark.y + mark.height, mark.y + mark.height - label_height);
        let corners = [
            (left, above),
            (left, top),
            (left, below),
            (left, bottom),
            (right, above),
            (right, top),
            (right, below),
            (right, bottom),
        ];
        let at = |(x, y): (f64, f64)| {
            let x = x.min(width - label_width).max(0.0);
            let y = y.min(height - label_height).max(0.0);
            let (text_x, text_y) = (x + margin, y + font);
            let (width, height) = (label_width, label_height);
            Place { x, y, width, height, text_x, text_y, text_width, text: text.clone(), font }
        };
        let covered = |place: &Place| placed.iter().map(|other| place.overlap(other)).sum::<f64>();
        let places = corners.map(at).map(|place| (covered(&place), place));
        // Of equal ones the first.
        let best = places.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, place)| place);
        placed.extend(best.clone());
        mark.place = best;
    }
}

fn shortened(label: &str) -> String {
    let label = Printable(label).to_string();
    if label.chars().count() <= LONGEST {
        return label;
    }
    // The score is at the end.
    let (name, score) = label.rsplit_once(' ').filter(|(_, score)| score.len() < 8).unwrap_or((&label, ""));
    let name: String = name.chars().take(LONGEST - score.len() - 2).collect();
    format!("{name}… {score}").trim_end().to_string()
}

/// In heights of the letters, of a sans-serif font such as browsers have.
fn text_width(text: &str) -> f64 {
    let width = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | 'f' | 't' | 'r' | '('
        | ')' => 0.33,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.88,
        'A'..='Z' => 0.68,
        c if c.is_ascii() => 0.57,
        // Combining marks, joiners and the choice of an emoji's looks.
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0.0,
        '\u{1100}'.. => 1.1,
        _ => 0.62,
    };
    text.chars().map(width).sum::<f64>().max(0.3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(x: f64, y: f64, label: &str) -> Mark {
        Mark { x, y, width: 60.0, height: 40.0, label: label.to_string(), style: "found", place: None }
    }

    fn placed(mut marks: Vec<Mark>, size: (u32, u32)) -> Vec<Place> {
        place(&mut marks, size, 10.0);
        marks.into_iter().filter_map(|mark| mark.place).collect()
    }

    #[test]
    fn labels_of_one_place_do_not_hide_each_other() {
        let places = placed((0..8).map(|_| mark(100.0, 100.0, "RBC 0.98")).collect(), (640, 480));
        assert_eq!((places[0].x, places[0].y), (100.0, 87.0));
        // Above, in and below the box, on its left; its own width holds no two.
        for (position, place) in places[..4].iter().enumerate() {
            assert!(places[..position].iter().all(|other| place.overlap(other) == 0.0), "{places:?}");
        }
    }

    #[test]
    fn labels_stay_in_the_picture() {
        for (x, y) in [(0.0, 0.0), (-50.0, -50.0), (630.0, 470.0), (1e9, -1e9), (f64::NAN, f64::INFINITY)] {
            let places = placed(vec![mark(x, y, "platelets 0.50")], (640, 480));
            let Place { x, y, width, height, .. } = places[0];
            assert!(x >= 0.0 && y >= 0.0 && x + width <= 640.0 && y + height <= 480.0, "{places:?}");
        }
        // One that is wider than the picture begins at its left.
        assert_eq!(placed(vec![mark(5.0, 5.0, &"W".repeat(30))], (20, 20))[0].x, 0.0);
    }

    #[test]
    fn long_names_are_cut_and_keep_their_score() {
        let long = format!("{} 0.98", "<script>".repeat(40));
        assert_eq!(shortened(&long), "<script><script><scrip… 0.98");
        assert!(shortened(&long).chars().count() <= LONGEST + 2);
        assert_eq!(shortened("RBC 0.98"), "RBC 0.98");
        assert_eq!(shortened(&"é".repeat(99)).chars().count(), LONGEST - 1);
        assert_eq!(shortened("\u{202e}x"), "\\u{202e}x");
    }

    #[test]
    fn so_many_boxes_are_not_all_labelled() {
        let places = placed(
            (0..5000).map(|n| mark(f64::from(n % 640), f64::from(n % 480), "x 0.1")).collect(),
            (640, 480),
        );
        assert_eq!(places.len(), MOST);
    }
}
