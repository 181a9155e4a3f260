//! Each algorithm of one axis against the sliding product that it stands for, vector by vector of unit inputs.

use super::{f4, f4_sqrt, f5, f6, nested::Transform};
use crate::Isa;
use crate::simd::{Kernel, Vector, run_on};

/// `A^T [(G g) * (B^T d)]` for the `tap`-th unit filter and the `cell`-th unit input.
struct Axis<const K: usize, const T: usize, const M: usize, G, B, A> {
    tap: usize,
    cell: usize,
    transforms: core::marker::PhantomData<(G, B, A)>,
}

impl<const K: usize, const T: usize, const M: usize, G, B, A> Kernel for Axis<K, T, M, G, B, A>
where
    G: Transform<K, T>,
    B: Transform<T, T>,
    A: Transform<T, M>,
{
    type Output = [f32; M];

    #[inline(always)]
    unsafe fn run<V: Vector>(self) -> [f32; M] {
        // SAFETY: the instruction set is the caller's promise; each vector is stored to as many values as it has.
        unsafe {
            let (mut filter, mut input) = ([V::splat(0.0); K], [V::splat(0.0); T]);
            filter[self.tap] = V::splat(1.0);
            input[self.cell] = V::splat(1.0);
            let mut products = G::apply(filter);
            for (product, value) in products.iter_mut().zip(B::apply(input)) {
                *product = product.mul(value);
            }
            A::apply(products).map(|value| {
                let mut lanes = [0.0; crate::simd::MAX_LANES];
                value.store(lanes.as_mut_ptr());
                lanes[0]
            })
        }
    }
}

fn check<const K: usize, const T: usize, const M: usize, G, B, A>()
where
    G: Transform<K, T>,
    B: Transform<T, T>,
    A: Transform<T, M>,
{
    for isa in Isa::available() {
        for tap in 0..K {
            for cell in 0..T {
                let axis = Axis::<K, T, M, G, B, A> { tap, cell, transforms: core::marker::PhantomData };
                for (x, found) in run_on(isa, axis).into_iter().enumerate() {
                    // Output x sees input x + tap through that tap. Constants up to 32 cancel: 32 * 2^-23 is 4e-6.
                    let exact = if x + tap == cell { 1.0 } else { 0.0 };
                    assert!(
                        (found - exact).abs() < 1e-5,
                        "tap {tap}, cell {cell}: {found} at {x} on {isa:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn f4_is_the_sliding_product() {
    check::<3, 6, 4, f4::Weights, f4::Input, f4::Output>();
}

#[test]
fn f4_with_square_roots_is_the_sliding_product() {
    check::<3, 6, 4, f4_sqrt::Weights, f4_sqrt::Input, f4_sqrt::Output>();
}

#[test]
fn f6_is_the_sliding_product() {
    check::<3, 8, 6, f6::Weights, f6::Input, f6::Output>();
}

#[test]
fn f5_is_the_sliding_product() {
    check::<4, 8, 5, f5::Weights, f6::Input, f5::Output>();
}
