//! Where a bundle is read from.

use std::fs::File;
use std::io::{self, Read};

use crate::{Precision, Weights};

/// The bytes of a bundle, one after the other.
pub(crate) trait Source: Read {
    /// The weights in the next `bytes` bytes, which are a whole number of values.
    fn weights(&mut self, precision: Precision, bytes: usize) -> io::Result<Weights>
    where
        Self: Sized,
    {
        Weights::read(self, precision, bytes)
    }
}

impl Source for File {}

impl Source for &[u8] {}

/// A bundle in the program itself, whose weights stay where they are.
pub(crate) struct InPlace(pub(crate) &'static [u8]);

impl Read for InPlace {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Source for InPlace {
    fn weights(&mut self, precision: Precision, bytes: usize) -> io::Result<Weights> {
        let (mut here, rest) = self.0.split_at_checked(bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        match Weights::in_place(here, precision) {
            Some(weights) => Ok(weights),
            None => Weights::read(&mut here, precision, bytes),
        }
    }
}
