use alloc::{vec, vec::Vec};

use super::interleave;

fn check<const M: usize>() {
    for k in 0..14 {
        let stride = k + 3;
        let rows: Vec<f32> = (0..M * stride).map(|i| i as f32).collect();
        let mut packed = vec![-1.0; k * M + 1];
        // SAFETY: the CPU has what it is compiled for; `rows` and `packed` are long enough.
        let taken = unsafe { interleave::<M>(rows.as_ptr(), stride, k, packed.as_mut_ptr()) };
        let has_instructions =
            cfg!(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")));
        assert_eq!(taken, if has_instructions { k / 4 * 4 } else { 0 });
        for (i, &value) in packed.iter().enumerate() {
            let expected = if i < taken * M { (i % M * stride + i / M) as f32 } else { -1.0 };
            assert_eq!(value, expected, "{M} rows, {k} values, {i}");
        }
    }
}

#[test]
fn values_lie_in_their_places() {
    check::<1>();
    check::<2>();
    check::<3>();
    check::<4>();
    check::<5>();
    check::<6>();
}
