//! One scene: where its objects lie, and its picture.

use frcnn_core::BBox;
use image::RgbImage;
use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::paint::{Paint, Rgb, mix};
use super::shape::Kind;

/// Pixels of a picture.
pub(crate) const WIDTH: u32 = 640;
/// Pixels of a picture.
pub(crate) const HEIGHT: u32 = 480;

const OBJECTS: std::ops::RangeInclusive<u32> = 3..=8;
/// Pixels from an object's centre to its farthest point.
const RADII: std::ops::Range<f32> = 30.0..105.0;
/// Boxes of neighbours overlap by less: beyond 0.3, non-maximum suppression would take two of a kind for one.
const MAX_IOU: f32 = 0.25;
/// An object shows at least this share of itself.
const MIN_VISIBLE: f32 = 0.6;

/// An object of a scene.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) kind: Kind,
    /// Of the whole outline, hidden parts included; inclusive pixels inside the picture.
    pub(crate) bbox: BBox,
    outline: Outline,
    paint: Paint,
}

/// An outline somewhere in the picture.
#[derive(Clone, Copy, Debug)]
struct Outline {
    kind: Kind,
    centre: [f32; 2],
    radius: f32,
    /// Sine and cosine of the rotation.
    rotation: [f32; 2],
    /// Height over width before the rotation.
    stretch: f32,
}

impl Outline {
    fn random(rng: &mut ChaCha8Rng) -> Outline {
        let radius = RADII.start * (RADII.end / RADII.start).powf(rng.random());
        let within =
            |rng: &mut ChaCha8Rng, extent: u32| rng.random_range(0.7 * radius..extent as f32 - 0.7 * radius);
        let centre = [within(rng, WIDTH), within(rng, HEIGHT)];
        let (sin, cos) = rng.random_range(0.0..std::f32::consts::TAU).sin_cos();
        Outline {
            kind: Kind::ALL[rng.random_range(0..Kind::ALL.len())],
            centre,
            radius,
            rotation: [sin, cos],
            stretch: rng.random_range(0.75..1.0),
        }
    }

    /// A point of the picture in the outline's own coordinates.
    fn local(&self, x: f32, y: f32) -> [f32; 2] {
        let (dx, dy) = ((x - self.centre[0]) / self.radius, (y - self.centre[1]) / self.radius);
        let [sin, cos] = self.rotation;
        [dx * cos + dy * sin, (dy * cos - dx * sin) / self.stretch]
    }

    /// How much of a pixel the outline covers, 0 to 1: a fade over one pixel at its edge.
    fn coverage(&self, x: u32, y: u32) -> f32 {
        let [u, v] = self.local(x as f32, y as f32);
        (0.5 - self.kind.distance(u, v) * self.radius).clamp(0.0, 1.0)
    }

    /// Pixels that the outline may touch: columns and rows.
    fn reach(&self) -> [std::ops::Range<u32>; 2] {
        let axis = |centre: f32, extent: u32| {
            let first = (centre - self.radius - 1.0).max(0.0) as u32;
            first..((centre + self.radius + 2.0).max(0.0) as u32).min(extent)
        };
        [axis(self.centre[0], WIDTH), axis(self.centre[1], HEIGHT)]
    }

    /// The pixels that it covers by half or more.
    fn pixels(&self) -> impl Iterator<Item = [u32; 2]> + '_ {
        let [columns, rows] = self.reach();
        rows.flat_map(move |y| columns.clone().map(move |x| [x, y]))
            .filter(|&[x, y]| self.coverage(x, y) >= 0.5)
    }

    fn bbox(&self) -> BBox {
        let empty = BBox::new(f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY);
        self.pixels().fold(empty, |b, [x, y]| {
            let (x, y) = (x as f32, y as f32);
            BBox::new(b.x1.min(x), b.y1.min(y), b.x2.max(x), b.y2.max(y))
        })
    }
}

/// A scene with its picture.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) objects: Vec<Placed>,
    pub(crate) image: RgbImage,
}

impl Scene {
    /// Scene `number` of a seed.
    pub(crate) fn new(seed: u64, number: u64) -> Scene {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let objects = place(&mut rng);
        let image = draw(&objects, &mut rng);
        Scene { objects, image }
    }
}

/// Objects back to front.
fn place(rng: &mut ChaCha8Rng) -> Vec<Placed> {
    let wanted = rng.random_range(OBJECTS) as usize;
    let mut placed: Vec<Placed> = Vec::new();
    // A crowded scene may have no room left: it then gets fewer.
    for _ in 0..20 * wanted {
        if placed.len() == wanted {
            break;
        }
        let outline = Outline::random(rng);
        let object = Placed { kind: outline.kind, bbox: outline.bbox(), outline, paint: Paint::object(rng) };
        if placed.iter().any(|other| other.bbox.iou(&object.bbox, 1.0) > MAX_IOU) {
            continue;
        }
        placed.push(object);
        if !all_visible(&placed) {
            placed.pop();
        }
    }
    placed
}

fn all_visible(placed: &[Placed]) -> bool {
    placed.iter().enumerate().all(|(i, object)| {
        let above = &placed[i + 1..];
        let (mut seen, mut all) = (0u32, 0u32);
        for [x, y] in object.outline.pixels() {
            all += 1;
            seen += u32::from(above.iter().all(|other| other.outline.coverage(x, y) < 0.5));
        }
        seen as f32 >= MIN_VISIBLE * all as f32
    })
}

fn draw(objects: &[Placed], rng: &mut ChaCha8Rng) -> RgbImage {
    let (width, height) = (WIDTH as usize, HEIGHT as usize);
    let ground = Paint::ground(rng);
    let mut pixels: Vec<Rgb> =
        (0..width * height).map(|i| ground.at((i % width) as f32, (i / width) as f32)).collect();
    // Where the light comes from: objects are shaded by it, and each throws a soft dark rim on what lies below.
    let (light_y, light_x) = rng.random_range(0.0..std::f32::consts::TAU).sin_cos();
    for object in objects {
        let outline = &object.outline;
        let [columns, rows] = outline.reach();
        for y in rows {
            for x in columns.clone() {
                let share = outline.coverage(x, y);
                if share > 0.0 {
                    let [u, v] = outline.local(x as f32, y as f32);
                    let (dx, dy) = (x as f32 - outline.centre[0], y as f32 - outline.centre[1]);
                    let shade = 1.0 + 0.25 * (dx * light_x + dy * light_y) / outline.radius;
                    let colour = object.paint.at(u, v).map(|c| c * shade);
                    let pixel = &mut pixels[y as usize * width + x as usize];
                    *pixel = mix(*pixel, colour, share);
                }
            }
        }
    }
    // Brightness falls off across the picture.
    let (brightness, slope) = (rng.random_range(0.65..1.15), rng.random_range(0.0..0.4));
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = ((i % width) as f32 / WIDTH as f32 - 0.5, (i / width) as f32 / HEIGHT as f32 - 0.5);
        let gain = brightness * (1.0 + slope * (x * light_x + y * light_y));
        *pixel = pixel.map(|c| c * gain);
    }
    let blurred = image::imageops::blur(&to_image(&pixels), rng.random_range(0.4..1.6));
    let noise = rng.random_range(1.0..9.0f32);
    let mut picture = blurred;
    for value in picture.iter_mut() {
        // The sum of three uniforms is near enough to a normal distribution; its deviation is 1/2.
        let bell = rng.random::<f32>() + rng.random::<f32>() + rng.random::<f32>() - 1.5;
        *value = (f32::from(*value) + 2.0 * noise * bell).round().clamp(0.0, 255.0) as u8;
    }
    picture
}

fn to_image(pixels: &[Rgb]) -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let pixel = pixels[(y * WIDTH + x) as usize];
        image::Rgb(pixel.map(|c| (c * 255.0).round().clamp(0.0, 255.0) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_depends_on_its_seed_and_number() {
        let (a, b) = (Scene::new(1, 0), Scene::new(1, 0));
        assert!(a.image == b.image && a.objects.len() == b.objects.len());
        assert!(a.image != Scene::new(1, 1).image && a.image != Scene::new(2, 0).image);
    }

    #[test]
    fn boxes_are_tight_and_inside() {
        for number in 0..10 {
            let scene = Scene::new(3, number);
            assert!(!scene.objects.is_empty() && scene.objects.len() <= *OBJECTS.end() as usize);
            for object in &scene.objects {
                let b = object.bbox;
                assert!(b.is_valid() && b == b.clip(WIDTH, HEIGHT), "{b:?}");
                let touched = |x: f32, y: f32| object.outline.coverage(x as u32, y as u32) >= 0.5;
                assert!((b.x1 as u32..=b.x2 as u32).any(|x| touched(x as f32, b.y1)), "{object:?}");
                assert!((b.y1 as u32..=b.y2 as u32).any(|y| touched(b.x2, y as f32)), "{object:?}");
            }
        }
    }
}
