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

/// Segments with scale parameter `k` in grey levels; a region's least size in pixels is the same number.
#[must_use]
pub fn segment(edges: &Edges, k: f32) -> Segmentation {
    let pixels = edges.width * edges.height;
    let mut forest = Forest::new(pixels);
    // By root: the weight up to which an edge joins the component to another.
    let mut limit = vec![k; pixels];
    // Between components when their turn came: all others lie within a component for good.
    let mut between = Vec::with_capacity(edges.len() / 4);
    let reach = edges.reach();
    let ends = |edge: u32| {
        let pixel = edge >> 2;
        (pixel, pixel.wrapping_add(reach[edge as usize & 3] as u32))
    };
    for (weight, run) in edges.runs() {
        for &edge in run {
            let (a, b) = ends(edge);
            if forest.are_siblings(a, b) {
                continue;
            }
            let (a, b) = (forest.root(a), forest.root(b));
            if a == b {
                continue;
            }
            if weight <= limit[a as usize] && weight <= limit[b as usize] {
                let root = forest.join(a, b);
                limit[root as usize] = weight + k / forest.size(root) as f32;
            } else {
                between.push(edge);
            }
        }
    }
    let min_size = k as u32;
    for edge in between {
        let (a, b) = ends(edge);
        let (a, b) = (forest.root(a), forest.root(b));
        if a != b && (forest.size(a) < min_size || forest.size(b) < min_size) {
            forest.join(a, b);
        }
    }
    forest.into_segmentation()
}

/// Disjoint sets of pixels.
struct Forest {
    /// By pixel: its parent, or for a root `!size`, which as a signed number is negative.
    parent: Vec<u32>,
}

const ROOT: u32 = 1 << 31;

impl Forest {
    fn new(pixels: usize) -> Forest {
        Forest { parent: vec![!1; pixels] }
    }

    /// Whether two pixels have one parent: most ends of an edge soon do, and then no root need be found.
    fn are_siblings(&self, a: u32, b: u32) -> bool {
        let parent = self.parent[a as usize];
        parent < ROOT && parent == self.parent[b as usize]
    }

    /// The root of a pixel; the way there becomes half as long for the next time.
    fn root(&mut self, mut pixel: u32) -> u32 {
        loop {
            let parent = self.parent[pixel as usize];
            if parent >= ROOT {
                return pixel;
            }
            let grandparent = self.parent[parent as usize];
            if grandparent >= ROOT {
                return parent;
            }
            self.parent[pixel as usize] = grandparent;
            pixel = grandparent;
        }
    }

    /// Pixels of a root's component.
    fn size(&self, root: u32) -> u32 {
        !self.parent[root as usize]
    }

    /// Makes two roots one: that of the larger component.
    fn join(&mut self, a: u32, b: u32) -> u32 {
        let (size_a, size_b) = (self.size(a), self.size(b));
        let (root, child) = if size_a >= size_b { (a, b) } else { (b, a) };
        self.parent[root as usize] = !(size_a + size_b);
        self.parent[child as usize] = root;
        root
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
