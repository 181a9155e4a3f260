//! scratch: images -> OUT/stem.txt with boxes, times on stderr
use frcnn_proposals::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let threads: usize = args[1].parse().unwrap();
    let out = &args[2];
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let mode = if std::env::var_os("QUALITY").is_some() { Mode::Quality } else { Mode::Fast };
    let reps: usize = std::env::var("REPS").map_or(1, |v| v.parse().unwrap());
    let mut total = 0.0;
    for p in &args[3..] {
        let img = image::open(p).unwrap().to_rgb8();
        let frame = frcnn_core::Frame::rgb8(img.as_raw(), img.width(), img.height()).unwrap();
        let mut ss = SelectiveSearch { mode, seed: 0, threads };
        let mut best = f64::MAX;
        let mut r = None;
        for _ in 0..reps {
            let b = ss.propose(&frame, usize::MAX);
            best = best.min(b.elapsed.as_secs_f64() * 1e3);
            r = Some(b);
        }
        let r = r.unwrap();
        total += best;
        if reps > 1 || args.len() < 10 { eprintln!("{p} {}x{}: {} boxes {best:.2} ms", img.width(), img.height(), r.boxes.len()); }
        if out != "-" {
            let stem = std::path::Path::new(p).file_stem().unwrap().to_str().unwrap();
            let text: String = r.boxes.iter().map(|b| format!("{} {} {} {}\n", b.x1, b.y1, b.x2, b.y2)).collect();
            std::fs::write(format!("{out}/{stem}.txt"), text).unwrap();
        }
    }
    eprintln!("mean {:.2} ms", total / (args.len() - 3) as f64);
}
