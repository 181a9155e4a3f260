//! The values of a graph, and which areas of each see what has changed.

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::binary::{OptBinByScalar, OptBinUnicast, TypedBinOp};
use tract_core::ops::element_wise::ElementWiseOp;

use super::SLACK;
use crate::area::{Area, merge};
use crate::ops::{BinaryOp, LrnOp, PointwiseOp, Windowed, windowed};

/// How a value is made.
#[derive(Debug)]
pub(super) enum Work {
    /// The graph's input.
    Input,
    /// Weights and the like.
    Constant(TValue),
    /// By an operator of ours, on windows.
    Windows(Box<dyn Windowed>),
    /// By an operator that makes each cell of cells of the same place, and of inputs of one cell.
    Cells(Box<dyn TypedOp>),
    /// By any other, which sees the whole of its inputs.
    Whole(Box<dyn TypedOp>),
}

/// A value of a graph.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) work: Work,
    /// Positions of the values that it is made of.
    pub(super) inputs: Vec<usize>,
    /// Rows and columns of those.
    pub(super) sizes: Vec<[usize; 2]>,
    /// Rows and columns; one of each where it is no map.
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    pub(super) bytes: usize,
    /// For each of its cells.
    pub(super) work_of_cell: f64,
}

/// What is made of a value, and what that reads of each of its inputs.
pub(super) struct Need {
    pub(super) area: Area,
    pub(super) reads: Vec<Area>,
}

impl Value {
    pub(super) fn is_computed(&self) -> bool {
        !matches!(self.work, Work::Input | Work::Constant(_))
    }

    /// What changes of it if so much of each value before it does.
    pub(super) fn changed(&self, areas_of: &[Vec<Area>]) -> TractResult<Vec<Area>> {
        let mut changed = Vec::new();
        for (i, &input) in self.inputs.iter().enumerate() {
            for area in areas_of.get(input).map_or(&[][..], Vec::as_slice) {
                changed.push(match &self.work {
                    Work::Windows(op) => op.seeing(i, &self.sizes, area)?,
                    Work::Cells(_) if self.sizes.get(i) == Some(&self.size) => area.clone(),
                    _ => Area::whole(self.size),
                });
            }
        }
        for area in &mut changed {
            *area = self.computed(area)?;
        }
        merge(&mut changed, SLACK);
        Ok(changed)
    }

    /// What making `area` of it takes; the area grown to what is computed together.
    pub(super) fn need(&self, area: Area) -> TractResult<Need> {
        let whole = || self.sizes.iter().map(|&size| Area::whole(size)).collect();
        let (area, reads) = match &self.work {
            Work::Windows(op) => op.window(&self.sizes, &area)?,
            Work::Cells(_) => {
                let read =
                    |&size: &[usize; 2]| if size == self.size { area.clone() } else { Area::whole(size) };
                let reads = self.sizes.iter().map(read).collect();
                (area, reads)
            }
            Work::Whole(_) => (Area::whole(self.size), whole()),
            Work::Input | Work::Constant(_) => bail!("a value that is always kept"),
        };
        Ok(Need { area, reads })
    }

    /// The area grown to what is computed together.
    fn computed(&self, area: &Area) -> TractResult<Area> {
        match &self.work {
            Work::Windows(op) if !area.is_empty() => Ok(op.window(&self.sizes, area)?.0),
            Work::Whole(_) => Ok(Area::whole(self.size)),
            _ => Ok(area.clone()),
        }
    }
}

/// The values of a model in an order in which each comes after those that it is made of, and their outlets.
pub(super) fn values_of(model: &TypedModel) -> TractResult<(Vec<Value>, Vec<OutletId>)> {
    let mut values: Vec<Value> = Vec::new();
    let mut outlets: Vec<OutletId> = Vec::new();
    for node in model.eval_order()? {
        let node = model.node(node);
        ensure!(node.outputs.len() == 1, "an operator of several outputs");
        let fact = model.outlet_fact(OutletId::new(node.id, 0))?;
        let shape = fact.shape.as_concrete().context("a value of no fixed size")?;
        let size_of = |shape: &[usize]| match shape {
            &[1, height, width, _] => [height, width],
            _ => [1, 1],
        };
        let size = size_of(shape);
        let mut inputs = Vec::new();
        let mut sizes = Vec::new();
        for input in &node.inputs {
            let position =
                outlets.iter().position(|known| known == input).context("a value of a later one")?;
            inputs.push(position);
            sizes.push(values[position].size);
        }
        let cells: usize = size[0] * size[1];
        let len: usize = shape.iter().product();
        let op = &*node.op;
        let (work, total) = if let Some(constant) = &fact.konst {
            (Work::Constant(constant.clone().into_tvalue()), 0.0)
        } else if node.inputs.is_empty() {
            (Work::Input, 0.0)
        } else if let Some(op) = windowed(op, &sizes)? {
            let total = op.work(&sizes);
            (Work::Windows(op), total)
        } else if is_of_cells(op, shape) {
            (Work::Cells(node.op.clone()), 4.0 * len as f64)
        } else {
            (Work::Whole(node.op.clone()), 16.0 * len as f64)
        };
        let bytes = len * fact.datum_type.size_of();
        let work_of_cell = total / cells.max(1) as f64;
        let channels = len / cells.max(1);
        values.push(Value { work, inputs, sizes, size, channels, bytes, work_of_cell });
        outlets.push(OutletId::new(node.id, 0));
    }
    Ok((values, outlets))
}

/// Whether an operator makes each cell of a map of cells of the same place.
fn is_of_cells(op: &dyn TypedOp, shape: &[usize]) -> bool {
    let rank = shape.len() == 4;
    rank && (op.is::<LrnOp>()
        || op.is::<PointwiseOp>()
        || op.is::<BinaryOp>()
        || op.is::<ElementWiseOp>()
        || op.is::<TypedBinOp>()
        || op.is::<OptBinByScalar>()
        || op.is::<OptBinUnicast>()
        || op.downcast_ref::<TypedConcat>().is_some_and(|concat| concat.axis == 3))
}
