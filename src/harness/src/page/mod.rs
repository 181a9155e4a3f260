//! HTML pages that need nothing but themselves: pictures, plots and styles are inside.

mod comparison;
mod confusions;
mod evaluation;
mod label;
mod overlay;

pub use comparison::comparison;
pub use evaluation::{Evaluation, evaluation};

use askama::Template;
use frcnn_core::PrintableLines;

use crate::Error;

/// The page's text. Names come from files: what acts on the text around it is shown, in what HTML has escaped, too.
fn rendered(page: &impl Template) -> Result<String, Error> {
    let text = page.render().map_err(|error| Error::Draw(error.to_string()))?;
    Ok(PrintableLines(text).to_string())
}

/// A share of 1 with three digits, or a dash where there is none.
fn score(value: Option<f64>) -> String {
    value.map_or("–".to_string(), |value| format!("{value:.4}"))
}

/// A difference: `0`, `3.1e-6`, `0.0280`.
fn small(value: f64) -> String {
    match value {
        0.0 => "0".to_string(),
        _ if !value.is_finite() => "∞".to_string(),
        _ if value.abs() < 1e-3 => format!("{value:.1e}"),
        _ => format!("{value:.4}"),
    }
}
