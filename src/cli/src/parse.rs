//! Values of options that several commands have.

/// Points of mAP, 0 to 100.
pub(crate) fn points(text: &str) -> Result<f64, String> {
    let points = text.parse().map_err(|_| "not a number")?;
    if (0.0..=100.0).contains(&points) { Ok(points) } else { Err("must be 0 to 100".to_string()) }
}

/// A share of the squared singular values, above 0 and at most 1.
pub(crate) fn energy(text: &str) -> Result<f64, String> {
    let share = text.parse().map_err(|_| "not a number")?;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("must be above 0 and at most 1".to_string()) }
}
