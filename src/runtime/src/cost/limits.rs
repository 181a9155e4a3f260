//! What one frame may cost, and whether it does.

use serde::Serialize;

use super::Demand;

/// What a bundle may ask for on one frame. Whoever opens a bundle of unknown origin is held harmless by these: what it asks
/// for is counted, and compared with them, before any of it is reserved or planned.
///
/// The defaults leave the published networks room: VGG16 as Fast R-CNN or SPPnet on a pyramid of five scales up to 1200 x 2000
/// pixels, and VGG16 as R-CNN, ask for four fifths of them at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes in memory at once: weights as they are laid out, maps, scratch and predictions. Default: 3 GiB.
    pub memory: u64,
    /// Operations, of which a core does about 1e11 a second, see [`Demand::operations`]. Default: 4e12.
    pub operations: u64,
    /// Layers of both graphs together, see [`Demand::layers`]. Default: 1000.
    pub layers: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: 3 << 30, operations: 4_000_000_000_000, layers: 1000 }
    }
}

impl Limits {
    /// Limits that nothing exceeds.
    pub const NONE: Limits = Limits { memory: u64::MAX, operations: u64::MAX, layers: u64::MAX };

    /// The default ones, each times `factor`.
    pub fn times(factor: f64) -> Limits {
        let Limits { memory, operations, layers } = Limits::default();
        // A float that is too large for an integer becomes the largest one.
        let [memory, operations, layers] =
            [memory, operations, layers].map(|limit| (limit as f64 * factor) as u64);
        Limits { memory, operations, layers }
    }

    /// Whether `demand` is within them.
    ///
    /// # Errors
    /// The first limit that is exceeded.
    pub fn check(&self, demand: &Demand) -> Result<(), Excess> {
        let within = |what, needed, limit| {
            if needed <= limit {
                Ok(())
            } else {
                Err(Excess { what, needed, limit, blobs: demand.blobs.clone(), threads: demand.threads })
            }
        };
        within(Resource::Layers, demand.layers, self.layers)?;
        within(Resource::Memory, demand.memory, self.memory)?;
        within(Resource::Operations, demand.operations, self.operations)
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::operations`].
    Operations,
    /// [`Limits::layers`].
    Layers,
}

/// A bundle asks for more than the limits allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Excess {
    /// Of what.
    pub what: Resource,
    /// How much it asks for; `u64::MAX` for what cannot be counted.
    pub needed: u64,
    /// How much it may have.
    pub limit: u64,
    /// Rows and columns of the blobs for which that was counted.
    pub blobs: Vec<[usize; 2]>,
    /// Threads for which that was counted: each has scratch of its own.
    pub threads: usize,
}

impl Excess {
    /// How many times the default limits would do, rounded up to a tenth: see [`Limits::times`].
    pub fn factor(&self) -> f64 {
        let Limits { memory, operations, layers } = Limits::default();
        let default = match self.what {
            Resource::Memory => memory,
            Resource::Operations => operations,
            Resource::Layers => layers,
        };
        (self.needed as f64 / default as f64 * 10.0).ceil() / 10.0
    }
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let amount = |n: u64| match self.what {
            Resource::Memory => format!("{:.2} GiB of memory", n as f64 / f64::from(1u32 << 30)),
            Resource::Operations => format!("{:.2e} operations", n as f64),
            Resource::Layers => format!("{n} layers"),
        };
        write!(f, "the network asks for {}", amount(self.needed))?;
        if self.what != Resource::Layers {
            let sizes: Vec<String> = self.blobs.iter().map(|[h, w]| format!("{h} x {w}")).collect();
            write!(f, " on an image scaled to {} pixels", sizes.join(", "))?;
        }
        if self.what == Resource::Memory {
            write!(f, " with {} thread{}", self.threads, if self.threads == 1 { "" } else { "s" })?;
        }
        let (limit, factor) = (amount(self.limit), self.factor());
        write!(f, ", and the limit is {limit}; if you trust it, raise the limits (--max-cost {factor})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excess_says_how_much_and_what_to_do() {
        let demand = Demand {
            memory: 11 << 30,
            operations: 10,
            layers: 3,
            threads: 4,
            blobs: vec![[600, 800]],
            ..Demand::default()
        };
        assert_eq!(Limits::default().check(&Demand { memory: 1, ..demand.clone() }), Ok(()));
        let excess = Limits::default().check(&demand).unwrap_err();
        assert_eq!((excess.what, excess.needed, excess.limit), (Resource::Memory, 11 << 30, 3 << 30));
        let text = excess.to_string();
        for word in ["11.00 GiB", "3.00 GiB", "600 x 800 pixels with 4 threads", "--max-cost 3.7"] {
            assert!(text.contains(word), "{text}");
        }
        let layers = Limits { layers: 2, ..Limits::default() }.check(&demand).unwrap_err().to_string();
        assert!(layers.contains("3 layers") && layers.contains("limit is 2 layers"), "{layers}");
        let slow = Limits { operations: 9, ..Limits::NONE }.check(&demand).unwrap_err();
        assert_eq!((slow.what, slow.needed), (Resource::Operations, 10));
        assert_eq!(Limits::NONE.check(&demand), Ok(()));
        assert_eq!(Limits::times(excess.factor()).check(&demand), Ok(()));
        assert_eq!((Limits::times(1.0), Limits::times(1e30)), (Limits::default(), Limits::NONE));
    }
}
