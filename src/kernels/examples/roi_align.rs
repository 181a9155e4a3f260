//! `roi_align FOLDER THREADS RUNS`: aligns the RoIs of benches/peers/roi_align, and prints how many milliseconds each run took.
//!
//! FOLDER has `maps`, a line `H W C CELLS_TO_A_PIXEL` for each map; `map.I`, its values; and `rois`, level and corners of each;
//! values are little-endian f32. What 7 x 7 bins of 2 x 2 points are is written to `frcnn`, `[R, 7, 7, C]`.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use frcnn_core::BBox;
use frcnn_kernels::{AlignedRoi, FeatureMap, RoiAlign, ScaledMap, roi_align_into};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, threads, runs] = &arguments[..] else { return Err("roi_align FOLDER THREADS RUNS".into()) };
    let (folder, threads, runs) = (Path::new(folder), threads.parse()?, runs.parse::<usize>()?);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let lines = fs::read_to_string(folder.join("maps"))?;
    let values = (0..lines.lines().count()).map(|i| values(&folder.join(format!("map.{i}"))));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let mut maps = vec![];
    for (line, values) in lines.lines().zip(&values) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [height, width, channels, scale] = fields[..] else { return Err("maps: H W C SCALE".into()) };
        let map = FeatureMap::new(values, height.parse()?, width.parse()?, channels.parse()?)?;
        maps.push(ScaledMap { map, spatial_scale: scale.parse()? });
    }
    let rois = self::values(&folder.join("rois"))?;
    let roi = |&[level, x1, y1, x2, y2]: &[f32; 5]| AlignedRoi {
        level: level as u16,
        bbox: BBox::new(x1, y1, x2, y2),
    };
    let rois: Vec<AlignedRoi> = rois.as_chunks().0.iter().map(roi).collect();

    let align = RoiAlign { pooled: [7, 7], sampling_ratio: 2, half_pixel: false };
    let channels = maps.first().map_or(0, |first| first.map.channels());
    let len = rois.len() * align.bins() * channels;
    // Where a buffer of the runtime begins: on a cache line.
    let mut out = vec![0.0; len + 16];
    let skip = out.as_ptr().align_offset(64);
    let out = &mut out[skip..][..len];
    for _ in 0..runs {
        let begin = Instant::now();
        roi_align_into(&maps, &rois, &align, threads, out)?;
        println!("{}", begin.elapsed().as_secs_f64() * 1e3);
    }
    let bytes: Vec<u8> = out.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(fs::write(folder.join("frcnn"), bytes)?)
}

fn values(path: &Path) -> Result<Vec<f32>, std::io::Error> {
    Ok(fs::read(path)?.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}
