//! What the sums of a product start from.

/// What sums start from. `B` is a bias: a value for each column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Init<B> {
    /// What is in their place: a later part of `K` is added to an earlier one.
    Accumulate,
    Zero,
    Bias(B),
}

impl<B> Init<B> {
    /// The bias, or zeros where a layer has none.
    pub(crate) fn bias(bias: Option<B>) -> Self {
        bias.map_or(Self::Zero, Self::Bias)
    }

    /// The same with another kind of bias.
    pub(crate) fn map<C>(self, bias: impl FnOnce(B) -> C) -> Init<C> {
        match self {
            Self::Accumulate => Init::Accumulate,
            Self::Zero => Init::Zero,
            Self::Bias(values) => Init::Bias(bias(values)),
        }
    }
}
