//! Why a request gets no detections.

/// Why a request gets no detections. The text is for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What was sent cannot be answered: no picture, a field out of range.
    #[error("{0}")]
    Bad(String),
    /// It is larger than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// The key is missing or another.
    #[error("the api_key is missing or wrong")]
    Key,
    /// As many requests wait as may.
    #[error("too many requests wait; ask again later")]
    Busy,
    /// It waited too long for its turn.
    #[error("the request waited longer than it may; ask again later")]
    Late,
    /// The service ends.
    #[error("the service is ending")]
    Ending,
    /// It is not the asker's fault.
    #[error("{0}")]
    Failed(String),
}

impl Refusal {
    /// The status of HTTP that says so.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Refusal::Bad(_) => 400,
            Refusal::Key => 403,
            Refusal::TooLarge(_) => 413,
            Refusal::Busy | Refusal::Late | Refusal::Ending => 503,
            Refusal::Failed(_) => 500,
        }
    }

    /// A word for metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Refusal::Bad(_) => "bad",
            Refusal::TooLarge(_) => "too_large",
            Refusal::Key => "key",
            Refusal::Busy => "busy",
            Refusal::Late => "late",
            Refusal::Ending => "ending",
            Refusal::Failed(_) => "failed",
        }
    }
}
