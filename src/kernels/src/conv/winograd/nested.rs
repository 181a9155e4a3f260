//! A transform of one axis, nested into one of two: `B d B^T`, first down the columns, then along the rows.

use core::mem::MaybeUninit;

use crate::{Pointwise, simd::Vector};

/// A linear map of `A` values to `B`, on every lane.
pub(super) trait Transform<const A: usize, const B: usize> {
    /// # Safety
    /// The CPU has the instruction set of `V`.
    unsafe fn apply<V: Vector>(values: [V; A]) -> [V; B];
}

/// Where a square of vectors lies: vector (i, j) begins at `data + i * row + j * column`.
#[derive(Clone, Copy)]
pub(super) struct Square<P> {
    pub(super) data: P,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl Square<*mut f32> {
    /// The same, to be read.
    pub(super) fn as_const(self) -> Square<*const f32> {
        Square { data: self.data.cast_const(), row: self.row, column: self.column }
    }
}

/// What is done to each value on its way out: the bias of its channel is added, then ReLU or another function.
#[derive(Clone, Copy)]
pub(super) struct Finish<V> {
    pub(super) bias: V,
    pub(super) relu: bool,
    pub(super) then: Option<Pointwise>,
}

/// Transforms `A x A` vectors of `from` into `B x B` of `to`.
///
/// # Safety
/// The CPU has the instruction set of `V`; every vector of `from` is readable, and every one of `to` writable.
#[inline(always)]
pub(super) unsafe fn transform<F: Transform<A, B>, V: Vector, const A: usize, const B: usize>(
    from: Square<*const f32>,
    to: Square<*mut f32>,
    finish: Option<Finish<V>>,
) {
    // SAFETY: the caller's promises; `columns` is written as a whole before it is read.
    unsafe {
        let mut columns = [[MaybeUninit::<V>::uninit(); A]; B];
        for j in 0..A {
            let mut column = [V::splat(0.0); A];
            for (i, value) in column.iter_mut().enumerate() {
                *value = V::load(from.data.add(i * from.row + j * from.column));
            }
            for (row, value) in columns.iter_mut().zip(F::apply(column)) {
                row[j].write(value);
            }
        }
        for (i, columns) in columns.iter().enumerate() {
            let mut row = [V::splat(0.0); A];
            for (value, column) in row.iter_mut().zip(columns) {
                *value = column.assume_init();
            }
            for (j, mut value) in F::apply(row).into_iter().enumerate() {
                if let Some(Finish { bias, relu, then }) = finish {
                    value = value.add(bias);
                    if relu {
                        value = value.positive();
                    }
                    if let Some(function) = then {
                        value = function.of_vector(value);
                    }
                }
                value.store(to.data.add(i * to.row + j * to.column));
            }
        }
    }
}
