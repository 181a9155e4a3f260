//! Errors of the crates below for Python: the same texts, under a class of exceptions for each kind.

use std::fmt::Display;
use std::path::Path;

use frcnn_core::Printable;

/// Which of the classes in `python/frcnn/_errors.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `Error` itself.
    Any,
    /// A bundle cannot be read, or is not a valid one.
    Bundle,
    /// A picture cannot be read, or does not go through the network.
    Image,
    /// An argument is out of its range, or does not go with the bundle.
    Option,
    /// More is asked for than the limits allow, or than there is.
    Limit,
    /// A model cannot be compiled.
    Compile,
}

impl Kind {
    /// The class's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Any => "Error",
            Kind::Bundle => "BundleError",
            Kind::Image => "ImageError",
            Kind::Option => "OptionError",
            Kind::Limit => "LimitError",
            Kind::Compile => "CompileError",
        }
    }
}

/// An error on its way to Python.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(kind: Kind, text: impl Display) -> Failure {
        Failure { kind, text: text.to_string() }
    }

    /// Something is wrong with a file.
    pub(crate) fn file(kind: Kind, path: &Path, problem: impl Display) -> Failure {
        Failure::new(kind, format_args!("{}: {problem}", Printable(path.display())))
    }

    /// The same error, of that file.
    pub(crate) fn of(self, path: &Path) -> Failure {
        Failure::file(self.kind, path, self.text)
    }
}

impl From<frcnn::Error> for Failure {
    fn from(error: frcnn::Error) -> Failure {
        let kind = match &error {
            frcnn::Error::Bundle(_) => Kind::Bundle,
            frcnn::Error::Frame(_) | frcnn::Error::BlobSize { .. } => Kind::Image,
            frcnn::Error::Options(_) | frcnn::Error::Stage { .. } => Kind::Option,
            frcnn::Error::Limit(_) | frcnn::Error::Memory { .. } => Kind::Limit,
            _ => Kind::Any,
        };
        Failure::new(kind, error)
    }
}

impl From<frcnn_harness::Error> for Failure {
    fn from(error: frcnn_harness::Error) -> Failure {
        match error {
            frcnn_harness::Error::Runtime(error) => error.into(),
            frcnn_harness::Error::Compile(error) => error.into(),
            other => Failure::new(Kind::Any, other),
        }
    }
}

impl From<frcnn_compiler::Error> for Failure {
    fn from(error: frcnn_compiler::Error) -> Failure {
        let kind = match &error {
            frcnn_compiler::Error::Ranks(_) => Kind::Option,
            _ => Kind::Compile,
        };
        Failure::new(kind, error)
    }
}

impl From<frcnn_eval::Error> for Failure {
    fn from(error: frcnn_eval::Error) -> Failure {
        Failure::new(Kind::Any, error)
    }
}
