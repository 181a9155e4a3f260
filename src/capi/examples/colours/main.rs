//! `cargo run -p frcnn-capi --example colours -- FILE.frcnn [SHORT_SIDE [diverged]]`: writes a detector of red, green and
//! blue things, to try the C interface and the camera daemon without a trained model. SHORT_SIDE (default 240) is the
//! length in pixels that an image's short side is scaled to. With `diverged` no box that it predicts is finite.

mod bundle;

use bundle::Variant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which file is to be written?")?;
    let short_side = arguments.next().map_or(Ok(240), |side| side.parse())?;
    let variant = match arguments.next().as_deref() {
        None => Variant::PLAIN,
        Some("diverged") => Variant { deltas: f32::MAX, ..Variant::PLAIN },
        Some(other) => return Err(format!("{other}: `diverged` or nothing").into()),
    };
    bundle::colours(short_side, &variant)?.write(path)?;
    Ok(())
}
