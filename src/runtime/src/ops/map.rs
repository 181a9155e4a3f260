//! What operators give: a tensor in a buffer of the pool where kernels read it, or one of tract's own.

use std::hash::Hasher;
use std::sync::{Arc, Mutex, PoisonError};

use frcnn_files::{NoMemory, try_reserve};
use tract_core::internal::*;

use super::buffer_pool::{Buffer, BufferPool};
use super::{Resources, nhwc};
use crate::area::Area;

/// f32 of a cache line, where values begin.
const LINE: usize = 16;

/// Who reads what an operator gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Operators on kernels alone.
    Kernels,
    /// An operator of tract's among others: they know only tensors of its own.
    Tract,
    /// Whoever runs the plan, until the frame ends; kernels may read it, too.
    Frame,
    /// A stream, which keeps it from frame to frame and writes to it; all operators may read it, too.
    Stream,
}

/// Tensors of a stream's frames before, whose memory serves for the same values of the next.
#[derive(Debug, Default)]
pub(crate) struct Recycled(Mutex<Vec<Tensor>>);

impl Recycled {
    pub(crate) fn give(&self, tensor: Tensor) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tensor);
    }

    fn take(&self, datum: DatumType, shape: &[usize]) -> Option<Tensor> {
        let mut tensors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |tensor: &Tensor| tensor.datum_type() == datum && tensor.shape() == shape;
        let position = tensors.iter().position(same)?;
        Some(tensors.swap_remove(position))
    }
}

/// A number that tensors are made of.
pub(crate) trait Value: Datum + bytemuck::Pod {}

impl<T: Datum + bytemuck::Pod> Value for T {}

/// Values in a buffer of the pool. To tract it is no plain memory, for the buffer is longer than a tensor's shape says.
struct Pooled {
    /// Shared only for a moment: tract lends what a tensor holds to be read, and [`rewrite`] takes it from a tensor that goes.
    buffer: Arc<Buffer>,
    /// Bytes that are values, from the first cache line on.
    bytes: usize,
}

/// Values of a buffer that come before its first cache line.
fn skip(buffer: &Buffer) -> usize {
    buffer.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE)
}

impl Pooled {
    /// With values that `fill` writes.
    fn filled<T: Value>(
        pool: &Arc<BufferPool>,
        bytes: usize,
        lasting: bool,
        fill: impl FnOnce(&mut [T]) -> TractResult<()>,
    ) -> TractResult<Pooled> {
        let mut buffer = pool.take(buffer_len(bytes), lasting).map_err(|_| NoMemory { bytes })?;
        fill(values_mut(&mut buffer, bytes))?;
        Ok(Pooled { buffer: Arc::new(buffer), bytes })
    }

    fn values<T: Value>(&self) -> &[T] {
        let values: &[T] = bytemuck::cast_slice(&self.buffer[skip(&self.buffer)..]);
        &values[..self.bytes / size_of::<T>()]
    }

    /// To write over, if no tensor holds them any more.
    fn own_values<T: Value>(&mut self) -> Option<&mut [T]> {
        Arc::get_mut(&mut self.buffer).map(|buffer| values_mut(buffer, self.bytes))
    }
}

fn values_mut<T: Value>(buffer: &mut Buffer, bytes: usize) -> &mut [T] {
    let skip = skip(buffer);
    let values: &mut [T] = bytemuck::cast_slice_mut(&mut buffer[skip..]);
    &mut values[..bytes / size_of::<T>()]
}

impl PartialEq for Pooled {
    fn eq(&self, other: &Pooled) -> bool {
        self.values::<u8>() == other.values::<u8>()
    }
}

impl Eq for Pooled {}

impl std::fmt::Debug for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pooled({} bytes)", self.bytes)
    }
}

impl std::fmt::Display for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl TensorStorage for Pooled {
    fn byte_len(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn deep_clone(&self) -> Box<dyn TensorStorage> {
        // There is no way to say that there is no memory.
        #[expect(clippy::expect_used, reason = "as tract's own allocations end")]
        let clone = Pooled::filled(&Arc::default(), self.bytes, true, |values: &mut [u8]| {
            values.copy_from_slice(self.values());
            Ok(())
        })
        .expect("memory for a tensor");
        Box::new(clone)
    }

    fn as_plain_ram(&self) -> Option<&PlainStorage> {
        None
    }

    fn as_plain_ram_mut(&mut self) -> Option<&mut PlainStorage> {
        None
    }

    fn into_plain_ram(self: Box<Self>) -> Option<PlainStorage> {
        None
    }

    fn dyn_hash(&self, state: &mut dyn Hasher) {
        state.write(self.values::<u8>());
    }

    fn exotic_fact(&self, _: &[usize]) -> TractResult<Option<Box<dyn ExoticFact>>> {
        Ok(None)
    }

    fn is_exotic(&self) -> bool {
        false
    }
}

/// Length of the buffer that holds a tensor of so many bytes.
pub(crate) fn buffer_len(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<f32>()).saturating_add(LINE)
}

/// A tensor of `shape` for `readers`, which `fill` writes; it may hold anything before.
pub(super) fn make<T: Value>(
    (pool, recycled): (&Arc<BufferPool>, &Recycled),
    readers: Readers,
    shape: &[usize],
    fill: impl FnOnce(&mut [T]) -> TractResult<()>,
) -> TractResult<TValue> {
    let len = shape.iter().fold(1usize, |len, &side| len.saturating_mul(side));
    if matches!(readers, Readers::Tract | Readers::Stream) {
        let old = (readers == Readers::Stream).then(|| recycled.take(T::datum_type(), shape)).flatten();
        let mut tensor = match old {
            Some(tensor) => tensor,
            None => {
                // tract's own allocation ends the process where there is no memory.
                try_reserve(&mut Vec::<T>::new(), len)?;
                Tensor::zero_dt(T::datum_type(), shape)?
            }
        };
        fill(tensor.try_as_plain_ram_mut()?.as_slice_mut::<T>()?)?;
        return Ok(tensor.into_tvalue());
    }
    let bytes = len.saturating_mul(size_of::<T>());
    let pooled = Pooled::filled(pool, bytes, readers == Readers::Frame, fill)?;
    Ok(Tensor::from_storage(T::datum_type(), shape, pooled).into_tvalue())
}

/// A tensor for `readers` that is `value` after `change`: in the memory of `value` where nobody else holds that, and otherwise in
/// its own.
pub(super) fn rewrite(
    kept: (&Arc<BufferPool>, &Recycled),
    readers: Readers,
    mut value: TValue,
    change: impl FnOnce(&mut [f32]) -> TractResult<()>,
) -> TractResult<TValue> {
    let shape: TVec<usize> = value.shape().into();
    ensure!(value.datum_type() == f32::datum_type(), "values of another type");
    let pooled = value.storage_as::<Pooled>();
    let pooled = pooled.map(|pooled| Pooled { buffer: pooled.buffer.clone(), bytes: pooled.bytes });
    match (pooled, readers) {
        (Some(mut pooled), Readers::Kernels) => {
            // If this was the last tensor that held the buffer, it now is free to be written to.
            drop(value);
            if let Some(values) = pooled.own_values() {
                change(values)?;
                return Ok(Tensor::from_storage(f32::datum_type(), &shape, pooled).into_tvalue());
            }
            value = Tensor::from_storage(f32::datum_type(), &shape, pooled).into_tvalue();
        }
        (None, Readers::Kernels | Readers::Tract) if value.is_exclusive() => {
            let mut tensor = value.into_tensor();
            change(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?)?;
            return Ok(tensor.into_tvalue());
        }
        _ => {}
    }
    make(kept, readers, &shape, |values| {
        values.copy_from_slice(self::values(&value)?);
        change(values)
    })
}

/// The values of a tensor that an operator has given.
pub(crate) fn values<T: Value>(tensor: &Tensor) -> TractResult<&[T]> {
    ensure!(tensor.datum_type() == T::datum_type(), "values of another type");
    match tensor.storage_as::<Pooled>() {
        Some(pooled) => Ok(pooled.values()),
        None => tensor.try_as_plain_ram()?.as_slice::<T>(),
    }
}

/// The cells of `area` of a piece of a map, `[1, H, W, C]`, of which `of` are the cells: a copy, or the piece if it has no other.
pub(crate) fn cut(resources: &Resources, (of, piece): (&Area, &TValue), area: &Area) -> TractResult<TValue> {
    if of == area {
        return Ok(piece.clone());
    }
    match piece.datum_type() == u16::datum_type() {
        true => cut_values::<u16>(resources, of, piece, area),
        false => cut_values::<f32>(resources, of, piece, area),
    }
}

fn cut_values<T: Value>(
    resources: &Resources,
    of: &Area,
    piece: &Tensor,
    area: &Area,
) -> TractResult<TValue> {
    let [_, height, width, channels] = nhwc(piece.shape())?;
    ensure!([height, width] == [of.rows.len(), of.columns.len()], "a piece of another size");
    let (first_row, first_column) = (area.rows.start - of.rows.start, area.columns.start - of.columns.start);
    let len = area.columns.len() * channels;
    let shape = [1, area.rows.len(), area.columns.len(), channels];
    resources.make(&shape, |output: &mut [T]| {
        let rows = values::<T>(piece)?.chunks((width * channels).max(1)).skip(first_row);
        for (to, from) in output.chunks_mut(len.max(1)).zip(rows) {
            to.copy_from_slice(&from[first_column * channels..][..len]);
        }
        Ok(())
    })
}

/// Writes a piece of a map, which has the cells of `area`, into the whole map. Gives the cells that have other bits than before.
pub(crate) fn paste(piece: &Tensor, area: &Area, whole: &mut Tensor) -> TractResult<Area> {
    match piece.datum_type() == u16::datum_type() {
        true => paste_values::<u16>(piece, area, whole),
        false => paste_values::<f32>(piece, area, whole),
    }
}

fn paste_values<T: Value>(piece: &Tensor, area: &Area, whole: &mut Tensor) -> TractResult<Area> {
    let [_, _, width, channels] = nhwc(whole.shape())?;
    ensure!(area.columns.end <= width, "a piece that hangs over its map");
    let len = (area.columns.len() * channels).max(1);
    let mut plain = whole.try_as_plain_ram_mut()?;
    let rows = plain.as_slice_mut::<T>()?.chunks_mut((width * channels).max(1));
    let mut changed = Area::new(0..0, 0..0);
    for (y, (from, to)) in
        area.rows.clone().zip(values::<T>(piece)?.chunks(len).zip(rows.skip(area.rows.start)))
    {
        let to = &mut to[area.columns.start * channels..][..len];
        let (from_bytes, to_bytes): (&[u8], &[u8]) = (bytemuck::cast_slice(from), bytemuck::cast_slice(to));
        if from_bytes == to_bytes {
            continue;
        }
        let cell = (channels * size_of::<T>()).max(1);
        let differs = |(a, b): (&[u8], &[u8])| a != b;
        let mut cells = from_bytes.chunks(cell).zip(to_bytes.chunks(cell));
        let first = cells.position(differs).unwrap_or(0);
        let last = from_bytes.chunks(cell).zip(to_bytes.chunks(cell)).rposition(differs).unwrap_or(first);
        let columns = area.columns.start + first..area.columns.start + last + 1;
        changed = changed.union(&Area::new(y..y + 1, columns));
        to.copy_from_slice(from);
    }
    Ok(changed)
}
