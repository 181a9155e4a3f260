//! `--max-cost`: what a bundle may ask for on one image.

use frcnn::Limits;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct CostArgs {
    /// Let the bundle ask for this many times the default limits: 4 GiB of memory, 4e12 operations and 1000 layers
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    max_cost: f64,
}

impl CostArgs {
    pub(crate) fn limits(self) -> Limits {
        Limits::times(self.max_cost)
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: Option<f64> = text.parse().ok().filter(|&factor| factor > 0.0);
    factor.ok_or_else(|| "not a number above 0 such as 0.5 or 2".to_string())
}
