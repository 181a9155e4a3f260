//! Hierarchical grouping: the two most similar neighbours become one region, until one is left.

use std::collections::BinaryHeap;

use super::regions::{LANES, RegionFeatures};

/// Which similarities are added up; each lies in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Similarity {
    /// Intersection of the colour histograms.
    pub colour: bool,
    /// Intersection of the texture histograms.
    pub texture: bool,
    /// 1 - the share of the image that both take: small regions first.
    pub size: bool,
    /// 1 - the share of the image that lies in their common box but in neither: regions that fit into each other first.
    pub fill: bool,
}

/// A pair whose turn comes when no other is more similar; among equals that of the latest regions.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Bits of a float that is not negative: they sort as it does.
    similarity: u32,
    b: u32,
    a: u32,
}

/// The boxes x1, y1, x2, y2 of the regions that grouping makes, corners inclusive, in that order: the last is the whole
/// image's.
#[must_use]
pub fn group(initial: &RegionFeatures, similarity: Similarity) -> Vec<[u16; 4]> {
    let count = initial.sizes.len();
    let mut groups = Groups::new(initial);
    let mut neighbours: Vec<Vec<u32>> = vec![Vec::new(); count];
    let mut heap = BinaryHeap::with_capacity(initial.pairs.len() * 2);
    for &(a, b) in &initial.pairs {
        neighbours[a as usize].push(b);
        neighbours[b as usize].push(a);
        heap.push(Candidate { similarity: groups.similarity(a, b, similarity).to_bits(), a, b });
    }
    // By region: it has become part of another.
    let mut gone = vec![false; 2 * count];
    // By region: the last one that was found to touch it.
    let mut touched_by = vec![u32::MAX; 2 * count];
    while let Some(Candidate { a, b, .. }) = heap.pop() {
        if gone[a as usize] || gone[b as usize] {
            continue;
        }
        let joined = groups.join(a, b);
        gone[a as usize] = true;
        gone[b as usize] = true;
        let mut around = std::mem::take(&mut neighbours[a as usize]);
        around.append(&mut neighbours[b as usize]);
        around.retain(|&other| {
            !gone[other as usize] && std::mem::replace(&mut touched_by[other as usize], joined) != joined
        });
        for &other in &around {
            let s = groups.similarity(other, joined, similarity).to_bits();
            heap.push(Candidate { similarity: s, a: other, b: joined });
            neighbours[other as usize].push(joined);
        }
        neighbours.push(around);
    }
    groups.boxes.split_off(count)
}

/// Regions, and those made of them.
struct Groups {
    sizes: Vec<f32>,
    boxes: Vec<[u16; 4]>,
    histograms: Vec<f32>,
    texture_len: usize,
    histogram_len: usize,
    area: f32,
    arch: pulp::Arch,
}

impl Groups {
    fn new(initial: &RegionFeatures) -> Groups {
        let mut groups = Groups {
            sizes: initial.sizes.clone(),
            boxes: initial.boxes.clone(),
            histograms: Vec::with_capacity(initial.histograms.len() * 2),
            texture_len: initial.texture_len,
            histogram_len: initial.histogram_len,
            area: initial.area,
            arch: pulp::Arch::new(),
        };
        groups.histograms.extend_from_slice(&initial.histograms);
        groups
    }

    fn histogram(&self, region: u32) -> &[f32] {
        &self.histograms[region as usize * self.histogram_len..][..self.histogram_len]
    }

    fn similarity(&self, a: u32, b: u32, which: Similarity) -> f32 {
        let range = match (which.texture, which.colour) {
            (true, true) => 0..self.histogram_len,
            (true, false) => 0..self.texture_len,
            (false, true) => self.texture_len..self.histogram_len,
            (false, false) => 0..0,
        };
        let (ha, hb) = (self.histogram(a), self.histogram(b));
        let (ha, hb) = (&ha[range.clone()], &hb[range]);
        let mut sum = self.arch.dispatch(|| intersection(ha, hb));
        let size = self.sizes[a as usize] + self.sizes[b as usize];
        if which.size {
            sum += 1.0 - size / self.area;
        }
        if which.fill {
            let [x1, y1, x2, y2] = cover(self.boxes[a as usize], self.boxes[b as usize]).map(f32::from);
            sum += 1.0 - ((x2 - x1 + 1.0) * (y2 - y1 + 1.0) - size) / self.area;
        }
        // Rounding must not make it negative: its bits are compared.
        sum.max(0.0)
    }

    /// Adds the region made of two.
    fn join(&mut self, a: u32, b: u32) -> u32 {
        let (size_a, size_b) = (self.sizes[a as usize], self.sizes[b as usize]);
        let size = size_a + size_b;
        let (share_a, share_b) = (size_a / size, size_b / size);
        let (start_a, start_b) = (a as usize * self.histogram_len, b as usize * self.histogram_len);
        let end = self.histograms.len();
        self.histograms.resize(end + self.histogram_len, 0.0);
        let (old, new) = self.histograms.split_at_mut(end);
        let (ha, hb) = (&old[start_a..][..self.histogram_len], &old[start_b..][..self.histogram_len]);
        self.arch.dispatch(|| {
            for ((out, a), b) in new.iter_mut().zip(ha).zip(hb) {
                *out = share_a * a + share_b * b;
            }
        });
        self.boxes.push(cover(self.boxes[a as usize], self.boxes[b as usize]));
        self.sizes.push(size);
        self.sizes.len() as u32 - 1
    }
}

/// The smallest box around two.
fn cover(a: [u16; 4], b: [u16; 4]) -> [u16; 4] {
    [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]
}

/// The sum of the smaller of each pair of values.
#[inline(always)]
fn intersection(a: &[f32], b: &[f32]) -> f32 {
    let (a, _) = a.as_chunks::<LANES>();
    let (b, _) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += if a < b { *a } else { *b };
        }
    }
    sums.iter().sum()
}
