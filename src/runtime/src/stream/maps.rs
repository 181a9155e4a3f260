//! The maps of the trunk, and of the RPN, for blobs of one size, kept from frame to frame, of which a frame changes some areas.

mod draft;
mod values;

use std::sync::Arc;

use tract_core::internal::*;

use crate::Error;
use crate::area::{Area, merge};
use crate::model::Model;
use crate::ops::{Recycled, Resources, cut, paste};
use crate::plan::Plan;
use crate::trunk::FeatureMap;
use draft::{Draft, keep};
use values::{Need, Value, Work};

/// Cells by which the union of two areas may be larger than both: what one more run of a layer takes.
const SLACK: usize = 16;
/// Share of a graph's work from which the whole of it is run: windows overlap, and each is copied in and out.
const MOST: f64 = 0.7;

/// What is kept of a graph for an input of one size.
#[derive(Debug)]
pub(super) struct Maps {
    stage: &'static str,
    size: [usize; 2],
    values: Vec<Value>,
    input: usize,
    /// Whether the input is kept, too, and not somebody else's.
    keeps_input: bool,
    outputs: Vec<usize>,
    plan: Plan,
    /// The values that the plan gives, which are kept.
    given: Vec<usize>,
    recycled: Arc<Recycled>,
    kept: Vec<Option<TValue>>,
    resources: Resources,
    tract: Resources,
}

/// What is kept of the frames of one size.
#[derive(Debug, Default)]
pub(super) struct FrameMaps {
    /// Of the trunk, for each scale of the image.
    pub(super) trunk: Vec<Maps>,
    /// Of the RPN, for each of the trunk's maps.
    pub(super) rpn: Vec<Maps>,
}

/// What a frame has taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Updated {
    /// Of each map that the graph gives: cells whose values may have changed.
    pub(super) areas: Vec<Vec<Area>>,
    /// Share of the graph's work.
    pub(super) share: f64,
}

impl FrameMaps {
    /// For blobs of `sizes`, with at most `mib` MiB of maps.
    pub(super) fn new(model: &Model, sizes: &[[usize; 2]], mib: u32) -> Result<FrameMaps, Error> {
        let (resources, contents) = (&model.resources, model.contents());
        let mut drafts = Vec::with_capacity(sizes.len());
        for &[height, width] in sizes {
            model.trunk.check([height, width])?;
            drafts.push(Draft::new(resources, ("trunk", &contents.trunk), [height, width, 3])?);
        }
        if let Some(rpn) = &model.rpn {
            let maps: Vec<[usize; 3]> = drafts.iter().flat_map(Draft::given).collect();
            for map in maps {
                rpn.check(map)?;
                let mut draft = Draft::new(resources, ("rpn", &rpn.rpn().graph), map)?;
                draft.keeps_input = false;
                drafts.push(draft);
            }
        }
        let keep = keep(&drafts, u64::from(mib) << 20);
        let maps = drafts.into_iter().zip(&keep).map(|(draft, keep)| draft.finish(resources, keep));
        let mut trunk: Vec<Maps> = maps.collect::<Result<_, Error>>()?;
        let rpn = trunk.split_off(sizes.len());
        Ok(FrameMaps { trunk, rpn })
    }

    /// Whether they are those of such blobs.
    pub(super) fn are_of(&self, sizes: &[[usize; 2]]) -> bool {
        self.trunk.iter().map(Maps::size).eq(sizes.iter().copied())
    }

    /// Bytes of the maps that are to be kept.
    pub(super) fn bytes(&self) -> usize {
        self.trunk.iter().chain(&self.rpn).flat_map(Maps::values_to_keep).map(|(value, _)| value.bytes).sum()
    }

    /// Bytes of those that are: a graph that has not run has none.
    pub(super) fn kept_bytes(&self) -> usize {
        let values = self.trunk.iter().chain(&self.rpn).flat_map(Maps::values_to_keep);
        values.filter(|(_, is_kept)| *is_kept).map(|(value, _)| value.bytes).sum()
    }
}

impl Maps {
    pub(super) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The maps that are to be kept, and whether each is.
    fn values_to_keep(&self) -> impl Iterator<Item = (&Value, bool)> {
        let input = self.keeps_input.then_some(&self.input);
        let is_kept = |value: usize| self.kept.get(value).is_some_and(Option::is_some);
        let values = input.into_iter().chain(&self.given);
        values.filter_map(move |&value| Some((self.values.get(value)?, is_kept(value))))
    }

    /// All maps of a new input, which `fill` writes.
    pub(super) fn run(&mut self, fill: impl FnOnce(&mut [f32]) -> TractResult<()>) -> Result<Updated, Error> {
        let error = Error::graph(self.stage);
        let [height, width] = self.size;
        let input = match self.start_anew() {
            Some(mut tensor) => {
                let mut plain = tensor.try_as_plain_ram_mut().map_err(&error)?;
                fill(plain.as_slice_mut::<f32>().map_err(&error)?).map_err(&error)?;
                tensor.into_tvalue()
            }
            None => self.tract.make(&[1, height, width, 3], fill).map_err(&error)?,
        };
        self.run_plan(input)
    }

    /// All maps of an input that somebody else keeps.
    pub(super) fn run_on(&mut self, input: &FeatureMap) -> Result<Updated, Error> {
        self.start_anew();
        let updated = self.run_plan(input.tensor().clone());
        self.let_go_of_input();
        updated
    }

    /// So that who keeps it can write to it. A graph might give it as it is.
    fn let_go_of_input(&mut self) {
        if !self.outputs.contains(&self.input) {
            self.kept[self.input] = None;
        }
    }

    /// Lets go what was kept, so that what fails leaves nothing that is half of a frame. Gives the input.
    fn start_anew(&mut self) -> Option<Tensor> {
        let old = std::mem::take(&mut self.kept);
        self.kept = self.values.iter().map(|_| None).collect();
        let mut input = None;
        for (value, tensor) in old.into_iter().enumerate() {
            let Some(tensor) = tensor.map(IntoTensor::into_tensor) else { continue };
            if value == self.input { input = Some(tensor) } else { self.recycled.give(tensor) }
        }
        input
    }

    fn run_plan(&mut self, input: TValue) -> Result<Updated, Error> {
        let outputs = self.plan.run(input.clone())?;
        self.kept[self.input] = Some(input);
        for (&value, tensor) in self.given.iter().zip(outputs) {
            self.kept[value] = Some(tensor);
        }
        let outputs = self.outputs.iter().filter_map(|&value| self.values.get(value));
        Ok(Updated { areas: outputs.map(|value| vec![Area::whole(value.size)]).collect(), share: 1.0 })
    }

    /// Whether a frame has gone through.
    pub(super) fn is_ready(&self) -> bool {
        self.outputs.iter().all(|&value| self.kept.get(value).is_some_and(Option::is_some))
    }

    /// What the graph gives.
    pub(super) fn maps(&self) -> Result<Vec<FeatureMap>, Error> {
        let map = |&value: &usize| {
            let kept = self.kept.get(value).cloned().flatten();
            FeatureMap::of(kept.unwrap_or_else(|| Tensor::default().into_tvalue()))
        };
        self.outputs.iter().map(map).collect()
    }

    /// The share of the graph's work that is done anew if these areas of its input change, halos of what is not kept included.
    pub(super) fn share(&self, areas: &[Area]) -> TractResult<f64> {
        let mut areas_of: Vec<Vec<Area>> = Vec::with_capacity(self.values.len());
        let (mut work, mut all) = (0.0, 0.0);
        for (position, value) in self.values.iter().enumerate() {
            let changed = match value.work {
                Work::Input => areas.to_vec(),
                _ => value.changed(&areas_of)?,
            };
            all += value.work_of_cell * (value.size[0] * value.size[1]) as f64;
            if self.is_kept(position) && value.is_computed() {
                for area in &changed {
                    for (value, need) in self.values.iter().zip(self.needs(position, area)?) {
                        work += need.map_or(0.0, |need| value.work_of_cell * need.area.cells() as f64);
                    }
                }
            }
            areas_of.push(changed);
        }
        Ok(if all > 0.0 { work / all } else { 0.0 })
    }

    /// Brings all maps up to date after `areas` of the input have changed, which `fill` writes anew, one at a time. `None` where
    /// running the whole graph takes less.
    pub(super) fn update(
        &mut self,
        areas: &[Area],
        mut fill: impl FnMut(&Area, &mut [f32]) -> TractResult<()>,
    ) -> Result<Option<Updated>, Error> {
        let error = Error::graph(self.stage);
        self.update_with(areas, |input| {
            let mut tensor = input.context("an input")?.into_tensor();
            let mut plain = tensor.try_as_plain_ram_mut()?;
            for area in areas {
                fill(area, plain.as_slice_mut::<f32>()?)?;
            }
            Ok(tensor.into_tvalue())
        })
        .map_err(error)
    }

    /// The same after `areas` of an input have changed that somebody else keeps.
    pub(super) fn update_on(&mut self, input: &FeatureMap, areas: &[Area]) -> Result<Option<Updated>, Error> {
        let updated = self.update_with(areas, |_| Ok(input.tensor().clone()));
        self.let_go_of_input();
        updated.map_err(Error::graph(self.stage))
    }

    /// The same; `renew` makes the new input of the old one.
    fn update_with(
        &mut self,
        areas: &[Area],
        renew: impl FnOnce(Option<TValue>) -> TractResult<TValue>,
    ) -> TractResult<Option<Updated>> {
        let share = self.share(areas)?;
        if !self.is_ready() || share > MOST {
            return Ok(None);
        }
        let mut kept = std::mem::take(&mut self.kept);
        self.kept = self.values.iter().map(|_| None).collect();
        kept[self.input] = Some(renew(kept[self.input].take())?);
        let areas = self.bring_up_to_date(&mut kept, areas)?;
        self.kept = kept;
        Ok(Some(Updated { areas, share }))
    }

    /// Gives what has changed of each output.
    fn bring_up_to_date(&self, kept: &mut [Option<TValue>], areas: &[Area]) -> TractResult<Vec<Vec<Area>>> {
        let mut areas_of: Vec<Vec<Area>> = Vec::with_capacity(self.values.len());
        for (position, value) in self.values.iter().enumerate() {
            let mut changed = match value.work {
                Work::Input => areas.to_vec(),
                _ => value.changed(&areas_of)?,
            };
            if value.is_computed() && self.is_kept(position) {
                let mut new = Vec::with_capacity(changed.len());
                for area in &changed {
                    let piece = self.make(kept, position, area)?;
                    let mut whole = kept[position].take().context("a kept map")?.into_tensor();
                    new.push(paste(&piece.tensor, &piece.area, &mut whole)?);
                    kept[position] = Some(whole.into_tvalue());
                }
                merge(&mut new, SLACK);
                changed = new;
            }
            areas_of.push(changed);
        }
        let of_output = |&value: &usize| areas_of.get(value).cloned().unwrap_or_default();
        Ok(self.outputs.iter().map(of_output).collect())
    }

    /// Whether the whole of a value is there from frame to frame.
    fn is_kept(&self, position: usize) -> bool {
        let always = self.values.get(position).is_some_and(|value| !value.is_computed());
        always || self.given.contains(&position)
    }

    /// What has to be made for `area` of the value at `position`: of this one, and of those before it that are not kept, each once
    /// for all that read it.
    fn needs(&self, position: usize, area: &Area) -> TractResult<Vec<Option<Need>>> {
        let mut wanted: Vec<Option<Area>> = vec![None; position + 1];
        let mut needs: Vec<Option<Need>> = wanted.iter().map(|_| None).collect();
        wanted[position] = Some(area.clone());
        for at in (0..=position).rev() {
            let (Some(area), Some(value)) = (wanted[at].take(), self.values.get(at)) else { continue };
            let need = value.need(area)?;
            for (&input, read) in value.inputs.iter().zip(&need.reads) {
                if !self.is_kept(input) {
                    let wanted = wanted.get_mut(input).context("a value of a later one")?;
                    *wanted = Some(wanted.take().map_or_else(|| read.clone(), |known| known.union(read)));
                }
            }
            needs[at] = Some(need);
        }
        Ok(needs)
    }

    /// Makes some cells of a value, at least those asked for.
    fn make(&self, kept: &[Option<TValue>], position: usize, area: &Area) -> TractResult<Piece> {
        let mut pieces: Vec<Option<Piece>> = Vec::with_capacity(position + 1);
        for (at, need) in self.needs(position, area)?.into_iter().enumerate() {
            let piece = need.map(|need| self.make_one(kept, &pieces, at, need)).transpose()?;
            pieces.push(piece);
        }
        pieces.pop().flatten().context("what was asked for")
    }

    /// Makes what is needed of one value. `pieces` are those of the values before it that are not kept.
    fn make_one(
        &self,
        kept: &[Option<TValue>],
        pieces: &[Option<Piece>],
        position: usize,
        Need { area, reads }: Need,
    ) -> TractResult<Piece> {
        let value = self.values.get(position).context("no such value")?;
        let resources = match value.work {
            Work::Windows(_) => &self.resources,
            _ => &self.tract,
        };
        let mut inputs = Vec::with_capacity(reads.len());
        for (&input, read) in value.inputs.iter().zip(&reads) {
            let of = self.values.get(input).context("no such value")?;
            let whole = Area::whole(of.size);
            let (place, tensor) = match (&of.work, kept.get(input), pieces.get(input)) {
                (Work::Constant(tensor), ..) | (_, Some(Some(tensor)), _) => (&whole, tensor),
                (_, _, Some(Some(piece))) => (&piece.area, &piece.tensor),
                _ => bail!("a value that is neither kept nor made"),
            };
            inputs.push(cut(resources, (place, tensor), read)?);
        }
        let tensor = match &value.work {
            Work::Windows(op) => op.give(&value.sizes, &area, &inputs)?,
            Work::Cells(op) | Work::Whole(op) => {
                let given = op.eval_out_of_plan(inputs.into())?;
                given.and_then(|mut given| given.pop()).context("an operator that runs in plans alone")?
            }
            Work::Input | Work::Constant(_) => bail!("a value that is always kept"),
        };
        Ok(Piece { area, tensor })
    }
}

/// Some cells of a value.
struct Piece {
    area: Area,
    tensor: TValue,
}
