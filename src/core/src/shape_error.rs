//! The one error of the arithmetic crates: a slice or a size is not what the shapes around it ask for.
//!
//! ```
//! use frcnn_core::ShapeError;
//! let error = ShapeError::check("rois", 3, 2).unwrap_err();
//! assert_eq!(error.to_string(), "rois: expected 3, found 2");
//! ```

use core::fmt;

/// `what` should be `expected` and is `found`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// The argument or dimension at fault, named as in the function's signature.
    pub what: &'static str,
    /// The length or size that the other arguments ask for; `usize::MAX` when that overflows.
    pub expected: usize,
    /// The length or size that was given.
    pub found: usize,
}

impl ShapeError {
    /// `Ok` when `found == expected`.
    ///
    /// # Errors
    /// The three arguments as a [`ShapeError`] when they differ.
    pub fn check(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found { Ok(()) } else { Err(Self { what, expected, found }) }
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.what, self.expected, self.found)
    }
}

impl core::error::Error for ShapeError {}
