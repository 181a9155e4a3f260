//! The initial segmentation: Felzenszwalb and Huttenlocher, "Efficient graph-based image segmentation", IJCV 2004.
//!
//! Components grow along edges of ascending weight. Two of them become one where the edge between them weighs no more
//! than either's greatest inner edge + k / its pixels; then those below the minimum size join a neighbour.

use super::edges::Edges;

/// Each pixel's region.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    /// By pixel, `0..count`, numbered in the order of their first pixels.
    pub labels: Vec<u32>,
    /// Regions.
    pub count: usize,
}

/// Edges that are looked at together.
const BATCH: usize = 256;
/// How often ways to roots are made shorter, while all edges have their turn.
const SHORTENED: usize = 4;

/// Segments with scale parameter `k` in grey levels; a region's least size in pixels is the same number.
///
/// Whether an edge joins two components cannot be foreseen, and a wrong guess of the CPU costs more than all else. So
/// edges are sorted out in batches without a branch, by what holds for good once it does: both ends have one parent, or
/// the edge weighs too much for one of the components, which then never joins another. Those left mostly do join.
#[must_use]
pub fn segment(edges: &Edges, k: f32) -> Segmentation {
    let min_size = k as u32;
    let mut forest = Forest::new(edges.width * edges.height, k);
    // Between two components when their turn came, one of which was too small to stay.
    let mut between = Vec::new();
    let reach = edges.reach();
    let ends = |edge: u32| {
        let pixel = edge >> 2;
        (pixel, pixel.wrapping_add(reach[edge as usize & 3] as u32))
    };
    let every = edges.len().div_ceil(SHORTENED);
    let mut until = every;
    let [mut apart, mut open, mut closed] = [[0u32; BATCH]; 3];
    for (weight, run) in edges.runs() {
        for batch in run.chunks(BATCH) {
            until = until.saturating_sub(batch.len());
            if until == 0 {
                forest.shorten();
                until = every;
            }
            let mut count = 0;
            for &edge in batch {
                let (a, b) = ends(edge);
                apart[count % BATCH] = edge;
                count += usize::from(forest.parent[a as usize] != forest.parent[b as usize]);
            }
            let (mut open_count, mut closed_count) = (0, 0);
            for &edge in &apart[..count] {
                let (a, b) = ends(edge);
                let (a, b) = (forest.at_parent(a), forest.at_parent(b));
                let too_heavy = (a.limit < weight) | (b.limit < weight);
                let small = (a.pixels < min_size) | (b.pixels < min_size);
                open[open_count % BATCH] = edge;
                open_count += usize::from(!too_heavy);
                closed[closed_count % BATCH] = edge;
                closed_count += usize::from(too_heavy & small);
            }
            between.extend_from_slice(&closed[..closed_count]);
            for &edge in &open[..open_count] {
                let (a, b) = ends(edge);
                let (a, b) = (forest.root(a), forest.root(b));
                if a == b {
                    continue;
                }
                if weight <= forest.limit(a) && weight <= forest.limit(b) {
                    forest.join(a, b, weight, k);
                } else {
                    between.push(edge);
                }
            }
        }
    }
    for edge in between {
        let (a, b) = ends(edge);
        let (a, b) = (forest.root(a), forest.root(b));
        if a != b && (forest.size(a) < min_size || forest.size(b) < min_size) {
            forest.join(a, b, 0.0, k);
        }
    }
    forest.into_segmentation()
}

/// Disjoint sets of pixels.
struct Forest {
    /// By pixel; a root is its own.
    parent: Vec<u32>,
    /// By root. Others have no limit any more, and at most as many pixels as their component.
    components: Vec<Component>,
}

#[derive(Clone, Copy)]
struct Component {
    pixels: u32,
    /// The weight up to which an edge joins it to another.
    limit: f32,
}

impl Forest {
    fn new(pixels: usize, k: f32) -> Forest {
        Forest {
            parent: (0..pixels as u32).collect(),
            components: vec![Component { pixels: 1, limit: k }; pixels],
        }
    }

    /// What is known at a pixel's parent, which need not be the root.
    #[inline(always)]
    fn at_parent(&self, pixel: u32) -> Component {
        self.components[self.parent[pixel as usize] as usize]
    }

    /// The root of a pixel; the way there becomes half as long for the next time.
    #[inline(always)]
    fn root(&mut self, mut pixel: u32) -> u32 {
        loop {
            let parent = self.parent[pixel as usize];
            let grandparent = self.parent[parent as usize];
            if grandparent == parent {
                return parent;
            }
            self.parent[pixel as usize] = grandparent;
            pixel = grandparent;
        }
    }

    /// Makes every pixel's way to its root about half as long.
    fn shorten(&mut self) {
        for pixel in 0..self.parent.len() {
            self.parent[pixel] = self.parent[self.parent[pixel] as usize];
        }
    }

    /// Pixels of a root's component.
    fn size(&self, root: u32) -> u32 {
        self.components[root as usize].pixels
    }

    fn limit(&self, root: u32) -> f32 {
        self.components[root as usize].limit
    }

    /// Makes two roots one, that of the larger component, by an edge of this weight.
    fn join(&mut self, a: u32, b: u32, weight: f32, k: f32) {
        let (size_a, size_b) = (self.size(a), self.size(b));
        let (root, child) = if size_a >= size_b { (a, b) } else { (b, a) };
        self.parent[child as usize] = root;
        let pixels = size_a + size_b;
        self.components[root as usize] = Component { pixels, limit: weight + k / pixels as f32 };
        // That of the component is now the root's.
        self.components[child as usize].limit = f32::INFINITY;
    }

    fn into_segmentation(mut self) -> Segmentation {
        const NONE: u32 = u32::MAX;
        let mut of_root = vec![NONE; self.parent.len()];
        let mut count = 0;
        let labels = (0..self.parent.len() as u32)
            .map(|pixel| {
                let label = &mut of_root[self.root(pixel) as usize];
                if *label == NONE {
                    *label = count;
                    count += 1;
                }
                *label
            })
            .collect();
        Segmentation { labels, count: count as usize }
    }
}
