//! Fully connected layers whose weights were packed once.
//!
//! ```text
//!   out[R, N] = x[R, K] w[K, N] + bias, then ReLU
//! ```
//!
//! 1. Weights lie as `product` reads them, from the first to the last, and nothing is packed while a frame waits:
//!    blocks of `K`, and in each the panels. With few rows a layer costs one pass over them, as fast as memory gives them.
//! 2. With many rows, a block of them stays in L2 with the part of a panel that it meets.
//! 3. The `K` of a layer that reads RoI-pooled features may be taken slab by slab of channels, the order in which
//!    `roi_pool` makes them. See [`KOrder`].
//! 4. Where the CPU has AMX, f32 products may be three bf16 ones: see [`F32Products`] and `bf16`.
//! 5. Where the CPU computes in f16, layers of f16 weights do: see `f16`.
//!
//! A sum is one chain of additions in the order of `K`: neither threads nor other rows change a bit. With bf16x3 the number of
//! rows may, for few of them are multiplied otherwise.

mod f32;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use frcnn_core::ShapeError;

use crate::{
    Bf16Isa, CacheInfo, F16Isa, Half, Isa,
    bf16::{Bf16Weights, PANEL},
    blocking::{BF16_LINEAR_ROWS, LINEAR_K, bf16_linear_lines, int8_rows_bytes},
    f16::F16Linear,
    gemm::check_bias,
    init::Init,
    int8::{End, Int8Isa, Int8Linear, Int8Weights, Quantization},
    k_order::{KOrder, KPart},
    len_of,
    linear_units::{LinearRun, Units, row_block},
    packed::Weights,
    product::MAX_PANEL,
    products::Products,
    sync_ptr::SyncPtr,
    tasks,
};
use f32::F32Weights;

/// How a product of f32 weights and f32 features is computed, where many are added up: in fully connected layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum F32Products {
    /// In f32 on every CPU.
    Exact,
    /// Where the CPU has AMX-BF16, as three products of bf16 values, which leave out up to 2^-16 of it; elsewhere as
    /// [`F32Products::Exact`].
    ///
    /// The default: errors even out over a layer's sums, which miss the exact ones by no more than f32's own (2.3e-6 of
    /// the largest instead of 2.6e-6 in VGG16's `fc6`), in 0.5 to 0.85 of the time. But an infinite value may become NaN,
    /// and up to 12 rows are multiplied in f32, so that the last bits of a row depend on how many there are.
    #[default]
    Bf16x3,
}

/// A fully connected layer with its weights pre-packed for this CPU.
#[derive(Clone, Debug)]
pub struct PreparedLinear {
    isa: Isa,
    in_features: usize,
    out_features: usize,
    order: KOrder,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    F32(F32Weights),
    /// Of bf16 weights, or of f32 weights split into two.
    Bf16(Bf16Weights),
    F16(F16Linear),
    Int8(Int8Linear),
}

impl PreparedLinear {
    /// Packs `weights`, `[in_features, out_features]`.
    ///
    /// # Errors
    /// The weights, or the bins and channels of `order`, do not match the features.
    pub fn new(
        weights: &[f32],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        products: F32Products,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        if products == F32Products::Bf16x3
            && Bf16Isa::detect() == Some(Bf16Isa::Amx)
            && let Some(layer) = Self::bf16x3(weights, in_features, out_features, order, threads)?
        {
            return Ok(layer);
        }
        Self::with(Isa::detect(), weights, in_features, out_features, order, threads)
    }

    /// [`PreparedLinear::new`] with [`F32Products::Bf16x3`] whatever `FRCNN_ISA` says; `None` where the CPU has no AMX. For
    /// tests and benches.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn bf16x3(
        weights: &[f32],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Option<Self>, ShapeError> {
        order.check(in_features, out_features, weights.len())?;
        let blocks = order.blocks(in_features);
        let split = Bf16Weights::new(Bf16Isa::Amx, weights, out_features, &blocks, threads);
        let isa = Isa::detect();
        Ok(split.map(|split| Self { isa, in_features, out_features, order, form: Form::Bf16(split) }))
    }

    /// [`PreparedLinear::new`] with [`F32Products::Exact`] for a chosen instruction set, for tests and benches. One that the CPU lacks is run as
    /// [`Isa::Scalar`].
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn with(
        isa: Isa,
        weights: &[f32],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::multiplied_in_f32(isa, Weights::F32(weights), [in_features, out_features], order, threads)
    }

    /// [`PreparedLinear::with`] of weights in `half`, given as their bits. They stay so in memory and are widened as they are
    /// read: the same bits as f32 weights of the same values give, and half the memory.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn from_half(
        isa: Isa,
        half: Half,
        weights: &[u16],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::multiplied_in_f32(
            isa,
            Weights::Half(half, weights),
            [in_features, out_features],
            order,
            threads,
        )
    }

    fn multiplied_in_f32(
        isa: Isa,
        weights: Weights<'_>,
        [in_features, out_features]: [usize; 2],
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        order.check(in_features, out_features, weights.len())?;
        let blocks = order.blocks(in_features);
        let form = Form::F32(F32Weights::new(isa, weights, [in_features, out_features], &blocks, threads));
        Ok(Self { isa, in_features, out_features, order, form })
    }

    /// [`PreparedLinear::new`] of bf16 weights, given as their bits: input features are rounded to bf16, too, and products
    /// added up in f32. On a CPU without instructions for it (see [`Bf16Isa`]) it is [`PreparedLinear::from_half`], and
    /// nothing is rounded.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn from_bf16(
        weights: &[u16],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::from_bf16_with(Bf16Isa::detect(), weights, in_features, out_features, order, threads)
    }

    /// [`PreparedLinear::from_bf16`] on chosen instructions, for tests and benches.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn from_bf16_with(
        isa: Option<Bf16Isa>,
        weights: &[u16],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        order.check(in_features, out_features, weights.len())?;
        let blocks = order.blocks(in_features);
        let packed = isa.and_then(|isa| Bf16Weights::new(isa, weights, out_features, &blocks, threads));
        match packed {
            Some(packed) => {
                Ok(Self { isa: Isa::detect(), in_features, out_features, order, form: Form::Bf16(packed) })
            }
            None => {
                Self::from_half(Isa::detect(), Half::Bf16, weights, in_features, out_features, order, threads)
            }
        }
    }

    /// [`PreparedLinear::new`] of f16 weights, given as their bits: input features are rounded to f16, too, and products added
    /// up in f16 over short runs of `K`, in f32 from run to run. On a CPU without instructions for it (see [`F16Isa`]) nothing
    /// is rounded: it gives the bits of f32 weights of these values, and is [`PreparedLinear::from_half`] where products are
    /// exact. AMX, where it may split products, takes less time than either and is given f32 weights of these values.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn from_f16(
        weights: &[u16],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        products: F32Products,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        if products == F32Products::Bf16x3 && Bf16Isa::detect() == Some(Bf16Isa::Amx) {
            // As many bits as f32 weights take, and half their time.
            let widened: Vec<f32> = weights.iter().map(|&bits| Half::F16.widen(bits)).collect();
            return Self::new(&widened, in_features, out_features, order, products, threads);
        }
        if let Some(isa) = F16Isa::detect()
            && let Some(layer) = Self::from_f16_with(isa, weights, in_features, out_features, order, threads)?
        {
            return Ok(layer);
        }
        Self::from_half(Isa::detect(), Half::F16, weights, in_features, out_features, order, threads)
    }

    /// [`PreparedLinear::from_f16`] on chosen instructions, for tests and benches; `None` where the CPU lacks them.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn from_f16_with(
        isa: F16Isa,
        weights: &[u16],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Option<Self>, ShapeError> {
        order.check(in_features, out_features, weights.len())?;
        let packed = F16Linear::new(isa, weights, out_features, &order.blocks(in_features), threads);
        let isa = Isa::detect();
        Ok(packed.map(|packed| Self { isa, in_features, out_features, order, form: Form::F16(packed) }))
    }

    /// [`PreparedLinear::new`] of int8 weights: input features are quantised, and sums are exact. Whatever the CPU, the number of
    /// threads or of rows, a row's output has the same bits.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`]; scales have another length, weights are not from -127 to 127, the input's scale is not a
    /// positive number, or a sum has more than [`INT8_MAX_K`](crate::INT8_MAX_K) products.
    pub fn from_int8(
        weights: Int8Weights<'_>,
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::from_int8_with(Int8Isa::detect(), weights, in_features, out_features, order, threads)
    }

    /// [`PreparedLinear::from_int8`] on chosen instructions, for tests and benches. Those that the CPU lacks are run as
    /// [`Int8Isa::Scalar`].
    ///
    /// # Errors
    /// As [`PreparedLinear::from_int8`].
    pub fn from_int8_with(
        isa: Int8Isa,
        weights: Int8Weights<'_>,
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        order.check(in_features, out_features, weights.values.len())?;
        weights.check(in_features, out_features)?;
        let layer = Int8Linear::new(isa.or_scalar(), weights, [in_features, out_features], order, threads);
        Ok(Self { isa: Isa::detect(), in_features, out_features, order, form: Form::Int8(layer) })
    }

    /// How an int8 layer's input is quantised; `None` of any other layer.
    pub fn quantization(&self) -> Option<Quantization> {
        match &self.form {
            Form::Int8(layer) => Some(layer.input()),
            Form::F32(_) | Form::Bf16(_) | Form::F16(_) => None,
        }
    }

    /// `K`.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// `N`.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// The order in which input features are summed.
    pub fn order(&self) -> KOrder {
        self.order
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// How its products are computed.
    pub fn products(&self) -> Products {
        match &self.form {
            Form::F32(_) => Products::Exact(self.isa),
            Form::Bf16(weights) => weights.products(),
            Form::F16(layer) => Products::F16(layer.weights().isa()),
            Form::Int8(layer) => Products::Int8(layer.isa()),
        }
    }

    /// Bytes of packed weights of a layer that is not made yet, at most; saturates.
    #[must_use]
    pub fn max_weight_bytes(in_features: usize, out_features: usize) -> usize {
        // In f32, or split into two bf16 values each, whose panels are the wider ones. f16 takes whole steps of 16 features.
        len_of(&[size_of::<f32>(), in_features.max(8), out_features.next_multiple_of(PANEL)])
    }

    /// Bytes that each task of a layer of `in_features` takes for itself, at most: packed rows of a block, and a panel of weights, of
    /// a part of `K`.
    #[must_use]
    pub fn max_task_bytes(in_features: usize, rows: usize) -> usize {
        let caches = CacheInfo::detect();
        let (rows, k) = (row_block(rows), in_features.min(LINEAR_K));
        let of = |bytes: usize, rows: usize| len_of(&[bytes, rows, k]);
        let of_int8 = int8_rows_bytes(caches).min(len_of(&[2, rows, in_features])).max(of(2, rows));
        let of_bf16 = match Bf16Isa::detect() {
            Some(_) => (64 * bf16_linear_lines(caches)).max(of(4, BF16_LINEAR_ROWS)),
            None => 0,
        };
        let panel = len_of(&[size_of::<f32>(), MAX_PANEL, k + rows]);
        of(4, rows).max(of_int8).max(of_bf16) + panel
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        match &self.form {
            Form::F32(weights) => weights.weight_bytes(),
            Form::Bf16(weights) => weights.weight_bytes(),
            Form::F16(layer) => layer.weights().bytes(),
            Form::Int8(layer) => layer.weight_bytes(),
        }
    }

    /// `out[rows, N] = x[rows, K] w + bias`, then ReLU if `relu`.
    ///
    /// # Errors
    /// A slice does not have the length that its dimensions give.
    pub fn run(
        &self,
        x: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        rows: usize,
        threads: usize,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        ShapeError::check("x", len_of(&[rows, self.in_features]), x.len())?;
        ShapeError::check("out", len_of(&[rows, self.out_features]), out.len())?;
        check_bias(bias, self.out_features)?;
        if let Form::Int8(layer) = &self.form {
            layer.run(x, End { bias, relu }, rows, threads, out);
            return Ok(());
        }
        let blocks = self.order.blocks(self.in_features);
        let parts: Vec<KPart<'_>> =
            blocks.iter().map(|block| KPart { data: x, stride: self.in_features, block }).collect();
        self.accumulate(&parts, Init::bias(bias), relu, rows, threads, out);
        Ok(())
    }

    /// Adds the products of an int8 layer's `parts`, which are quantised and follow one another in `K`: see
    /// [`Int8Linear::accumulate`]. Lengths were checked. Nothing of any other layer.
    pub(crate) fn accumulate_bytes(
        &self,
        parts: &[KPart<'_, u8>],
        first: bool,
        end: Option<End<'_>>,
        rows: usize,
        threads: usize,
        out: &mut [f32],
    ) {
        if let Form::Int8(layer) = &self.form {
            layer.accumulate(parts, first, end, rows, threads, out);
        }
    }

    /// `out = init` plus the products of `parts`, which follow one another in `K`; then ReLU if `relu`. Lengths were
    /// checked. Not of an int8 layer, whose sums are integers until the last part.
    pub(crate) fn accumulate(
        &self,
        parts: &[KPart<'_>],
        init: Init<&[f32]>,
        relu: bool,
        rows: usize,
        threads: usize,
        out: &mut [f32],
    ) {
        let n = self.out_features;
        let bias_len = if let Init::Bias(bias) = init { bias.len() } else { n };
        assert!(len_of(&[rows, n]) <= out.len() && bias_len == n);
        let tasks = tasks::task_count(threads);
        let run = LinearRun { parts, init, relu, out: SyncPtr::new(out) };
        let row_block = row_block(rows);
        match &self.form {
            Form::F32(weights) => {
                let units = Units::new(rows, row_block, weights.panels(), tasks, 4);
                units.share_out(tasks, |scratch, unit| {
                    // SAFETY: `out` has all rows, as seen above; units have different rows or panels.
                    unsafe { weights.multiply(&run, unit, scratch) };
                });
            }
            Form::Bf16(weights) => {
                let units = Units::new(rows, rows.min(BF16_LINEAR_ROWS), n.div_ceil(PANEL), tasks, 2);
                units.share_out(tasks, |packed, unit| {
                    // SAFETY: as above.
                    unsafe { weights.multiply(&run, unit, packed) };
                });
            }
            Form::F16(layer) => {
                let units = Units::new(rows, row_block, layer.weights().count(), tasks, 4);
                units.share_out(tasks, |scratch, unit| {
                    // SAFETY: as above.
                    unsafe { layer.multiply(&run, unit, scratch) };
                });
            }
            Form::Int8(_) => debug_assert!(false, "int8 layers are run as a whole"),
        }
    }
}
