//! Shapes: what exporters write to turn a map into a row of features, and back into a map of one pixel.

use std::sync::Arc;

use frcnn_bundle::Op;
use tract_onnx::prelude::tensor1;

use super::layers::{computed, constant};
use super::{Computed, Input, Kind, Lowering, Order};
use crate::constants::integers;
use crate::error::Problem;
use crate::onnx::Attributes;

/// Axes of an ONNX map.
const MAP_RANK: usize = 4;

impl Kind {
    /// ONNX's dimensions behind the first; none where they depend on the image.
    fn dims(self) -> Option<Vec<usize>> {
        match self {
            Kind::Map { size, channels } => size.map(|[height, width]| vec![channels, height, width]),
            Kind::Upsampled { .. } => None,
            Kind::Line { channels, .. } => Some(vec![channels, 1]),
            Kind::Flat { features, .. } => Some(vec![features]),
            Kind::Level { map: [height, width, channels], rank, .. } => Some(match rank {
                MAP_RANK => vec![channels, height, width],
                3 => vec![channels, 1],
                _ => vec![height * width * channels],
            }),
        }
    }
}

impl<'a> Lowering<'a> {
    /// The shape of a computed value as a constant. Dimensions that are free are 0: in a `Reshape`, where
    /// exporters use them, 0 means "as in the input".
    pub(super) fn shape(&mut self, at: Attributes<'a>, inputs: &[Input]) -> Result<(), Problem> {
        let input = computed(at, inputs)?;
        let behind = input.kind.dims().unwrap_or_else(|| vec![input.kind.channels(), 0, 0]);
        let dims: Vec<i64> = [self.batch].into_iter().chain(behind.iter().map(|&d| d as i64)).collect();
        let rank = dims.len() as i64;
        let end = |name, default| -> Result<usize, Problem> {
            let position: i64 = at.int(name, default)?;
            let position = if position < 0 { position.saturating_add(rank) } else { position };
            Ok(position.clamp(0, rank) as usize)
        };
        let dims = dims.get(end("start", 0)?..end("end", rank)?).unwrap_or_default();
        if let Some(output) = at.0.output.first() {
            self.constants.insert(output, Arc::new(tensor1(dims)));
        }
        Ok(())
    }

    pub(super) fn flatten(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let rank = input.kind.dims().map_or(MAP_RANK, |dims| dims.len() + 1) as i64;
        let axis = at.int("axis", 1)?;
        if axis != 1 && axis != 1 - rank {
            return Err(at.problem(format!("axis {axis} is not supported, only 1")));
        }
        self.flattened(at, input)
    }

    pub(super) fn reshape(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let target = constant(at, inputs, 1, "shape")?;
        let target = integers(target).ok_or_else(|| at.problem("its shape is not integers"))?;
        let dims = input
            .kind
            .dims()
            .ok_or_else(|| at.problem("a map whose size depends on the image cannot be reshaped"))?;
        let zero_copies = !at.flag("allowzero", false)?;
        let wanted = resolve(&target, &dims, zero_copies);
        let wanted = wanted.as_deref().unwrap_or_default();
        let features = features(at, &dims)?;
        match wanted {
            _ if wanted == dims => Ok(input),
            &[columns] if columns == features => self.flattened(at, input),
            _ => self.with_dims(at, input, wanted).ok_or_else(|| {
                at.problem(format!(
                    "reshaping {dims:?} of each RoI to {target:?} is not supported, only to one row for each RoI, or a \
                     map of one pixel"
                ))
            }),
        }
    }

    pub(super) fn squeeze(&mut self, at: Attributes<'a>, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let unsupported =
            || at.problem("only the rows and columns (axes 2, 3) of a 1 x 1 map can be squeezed");
        let dims = input.kind.dims().ok_or_else(unsupported)?;
        let axes = match axes(at, inputs, dims.len() + 1)? {
            Some(axes) => axes,
            // All of 1, and the number of RoIs is another.
            None if self.batch == 0 => {
                (1..).zip(&dims).filter(|(_, size)| **size == 1).map(|(axis, _)| axis).collect()
            }
            None => return Err(unsupported()),
        };
        let is_one = |axis: &usize| axis.checked_sub(1).and_then(|place| dims.get(place)) == Some(&1);
        if !axes.iter().all(|axis| *axis >= 2 && is_one(axis)) {
            return Err(unsupported());
        }
        let left = (1..).zip(&dims).filter(|(axis, _)| !axes.contains(axis)).map(|(_, &size)| size);
        let left: Vec<usize> = left.collect();
        if let Some(output) = at.0.output.first() {
            self.squeezed.insert(output, left.clone());
        }
        match left[..] {
            _ if left == dims => Ok(input),
            [_] => self.flattened(at, input),
            _ => self.with_dims(at, input, &left).ok_or_else(unsupported),
        }
    }

    pub(super) fn unsqueeze(&mut self, at: Attributes, inputs: &[Input]) -> Result<Computed, Problem> {
        let input = computed(at, inputs)?;
        let unsupported = || {
            at.problem(
                "only a squeezed map of one pixel can get its rows and columns (axes 2, 3) back, and a row a third axis",
            )
        };
        let dims = input.kind.dims().ok_or_else(unsupported)?;
        let count = match at.ints("axes")? {
            Some(axes) => axes.len(),
            None => inputs.get(1).and_then(Input::constant).map_or(0, |axes| axes.len()),
        };
        let axes =
            axes(at, inputs, dims.len() + 1 + count)?.filter(|axes| axes.iter().all(|&axis| axis >= 2));
        let axes = axes.ok_or_else(unsupported)?;
        let wanted: Vec<usize> = dims.iter().copied().chain(axes.iter().map(|_| 1)).collect();
        // Behind the channels all are 1, so that it does not matter where the new ones stand.
        if dims.iter().skip(1).any(|&size| size != 1) {
            return Err(unsupported());
        }
        self.with_dims(at, input, &wanted).ok_or_else(unsupported)
    }

    /// A value of one pixel with other trailing axes of 1; none if it is another value or its device's form is.
    fn with_dims(&mut self, _at: Attributes, input: Computed, dims: &[usize]) -> Option<Computed> {
        let channels = input.kind.channels();
        let kind = match (input.kind, dims) {
            (Kind::Map { size: Some([1, 1]), .. }, [c, 1]) if *c == channels => {
                Kind::Line { channels, row: None }
            }
            (Kind::Flat { order, .. }, [c, 1]) if *c == channels => Kind::Line { channels, row: Some(order) },
            (Kind::Line { row: None, .. }, [c, 1, 1]) if *c == channels => {
                Kind::Map { size: Some([1, 1]), channels }
            }
            (Kind::Level { level, map: map @ [1, 1, _], .. }, [c, ones @ ..])
                if *c == channels && ones.iter().all(|&one| one == 1) && ones.len() <= 2 =>
            {
                Kind::Level { level, map, rank: dims.len() + 1 }
            }
            _ => return None,
        };
        Some(Computed { kind, ..input })
    }

    /// One row for each RoI.
    fn flattened(&mut self, at: Attributes, input: Computed) -> Result<Computed, Problem> {
        match input.kind {
            Kind::Flat { .. } => Ok(input),
            Kind::Line { channels, row: Some(order) } => {
                Ok(Computed { kind: Kind::Flat { features: channels, order }, ..input })
            }
            Kind::Line { row: None, .. } | Kind::Map { size: Some([1, 1]), .. } => {
                self.flatten_pixel(at, input)
            }
            Kind::Map { size: Some([height, width]), channels } => {
                let map = [height, width, channels];
                let kind = Kind::Flat { features: features(at, &map)?, order: Order::Map(map) };
                self.push(at, Op::Flatten, &[input], kind)
            }
            Kind::Level { level, map, .. } => {
                Ok(Computed { kind: Kind::Level { level, map, rank: 2 }, ..input })
            }
            Kind::Map { size: None, .. } | Kind::Upsampled { .. } => {
                Err(at.problem("a map whose size depends on the image cannot be flattened"))
            }
        }
    }

    /// A 1 x 1 map and the row of its channels are in the same order either way.
    pub(super) fn flatten_pixel(&mut self, at: Attributes, input: Computed) -> Result<Computed, Problem> {
        let features = input.kind.channels();
        self.push(at, Op::Flatten, &[input], Kind::Flat { features, order: Order::AsOnDevice })
    }
}

/// The axes that a node names, from the front, in order; none where it names none.
pub(super) fn axes(at: Attributes, inputs: &[Input], rank: usize) -> Result<Option<Vec<usize>>, Problem> {
    let axes = match (at.ints("axes")?, inputs.get(1)) {
        (Some(axes), _) => axes.to_vec(),
        (None, Some(Input::Constant(axes))) => {
            integers(axes).ok_or_else(|| at.problem("its axes are not integers"))?
        }
        (None, Some(Input::Computed(_))) => return Err(at.problem("its axes are not a constant")),
        (None, Some(Input::Missing) | None) => return Ok(None),
    };
    let place = |&axis: &i64| {
        let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < rank)
    };
    let mut places: Vec<usize> = axes.iter().filter_map(place).collect();
    places.sort_unstable();
    places.dedup();
    if places.len() == axes.len() {
        return Ok(Some(places));
    }
    Err(at.problem(format!("its axes {axes:?} are not axes of {rank} dimensions")))
}

/// What a `Reshape` to `target` makes of each RoI's `dims`: the first dimension, which is the number of RoIs, left out.
/// It may be -1, 0, or a number that the exporter saw.
fn resolve(target: &[i64], dims: &[usize], zero_copies: bool) -> Option<Vec<usize>> {
    let (rows, behind) = target.split_first()?;
    let total: usize = dims.iter().try_fold(1usize, |total, &size| total.checked_mul(size))?;
    let mut sizes = Vec::new();
    let mut free = None;
    for (place, &size) in behind.iter().enumerate() {
        match size {
            -1 if *rows != -1 && free.is_none() => {
                free = Some(place);
                sizes.push(1);
            }
            0 if zero_copies => sizes.push(*dims.get(place)?),
            _ => sizes.push(usize::try_from(size).ok()?),
        }
    }
    let known = sizes.iter().try_fold(1usize, |known, &size| known.checked_mul(size))?;
    if let Some(place) = free {
        *sizes.get_mut(place)? = total.checked_div(known)?;
    }
    (sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size)) == Some(total)).then_some(sizes)
}

fn features(at: Attributes, dims: &[usize]) -> Result<usize, Problem> {
    let features = dims.iter().try_fold(1usize, |features, &size| features.checked_mul(size));
    features.ok_or_else(|| at.problem(format!("{dims:?} are too many features")))
}
