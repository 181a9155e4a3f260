//! `--max-cost` and `--memory`: what a bundle may ask for on one image, and what it gets.

use frcnn::Limits;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct CostArgs {
    /// Let the bundle ask for this many times the default limits: 3 GiB of memory, 4e12 operations and 1000 layers
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    max_cost: f64,
    /// Memory that a detector may take at its peak, such as 300M or 1.5G, in MiB or GiB: with one 4:3 photo and 2000 boxes, beside
    /// the program's own 20 to 30 MiB. Convolutions that lose least by it get algorithms with fewer weights
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
}

impl CostArgs {
    pub(crate) fn limits(self) -> Limits {
        Limits::times(self.max_cost)
    }

    /// The first of these options that says other than the default.
    pub(crate) fn given(self) -> Option<&'static str> {
        let options = [("--memory", self.memory.is_some()), ("--max-cost", self.max_cost != 1.0)];
        options.into_iter().find(|&(_, given)| given).map(|(name, _)| name)
    }

    pub(crate) fn memory(self) -> Option<u64> {
        self.memory
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: Option<f64> = text.parse().ok().filter(|&factor| factor > 0.0);
    factor.ok_or_else(|| "not a number above 0 such as 0.5 or 2".to_string())
}

fn size(text: &str) -> Result<u64, String> {
    let text = text.trim_end_matches("iB").trim_end_matches('B');
    let (number, unit) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1u64 << 20),
        None => (text.strip_suffix(['G', 'g']).unwrap_or_default(), 1 << 30),
    };
    let number: Option<f64> = number.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    // A float that is too large for an integer becomes the largest one.
    number.map(|number| (number * unit as f64) as u64).ok_or_else(|| {
        if text.parse().is_ok_and(|number: f64| number > 0.0) {
            format!("has no unit: {text}M are MiB, {text}G are GiB")
        } else {
            "not a size above 0 such as 300M or 1.5G".to_string()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("300M"), Ok(300 << 20));
        assert_eq!(size("1.5g"), Ok(3 << 29));
        assert_eq!(size("300MiB"), Ok(300 << 20));
        for wrong in ["", "M", "-1M", "-1", "nanG", "nan", "0M", "0", "1K"] {
            assert!(size(wrong).unwrap_err().contains("such as 300M"), "{wrong}");
        }
        assert_eq!(size("62"), Err("has no unit: 62M are MiB, 62G are GiB".to_string()));
    }
}
