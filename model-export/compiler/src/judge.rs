//! The cascade's judge, read off a network's weights: its head with hidden fully connected layers of a low rank.
//!
//! The first singular values of a layer's weights carry what tells objects from background: rank 16 of 512 drops as much
//! as the head's own scores would, for the same loss of mAP (`benches/cascade`). Nothing is learned, and no photo is wanted.
//!
//! ```text
//! fc6 [K, N] ── SVD ──► judge_fc6_L [K, r], judge_fc6_U [r, N]     fc7 likewise
//! fc6_L [K, t], fc6_U [t, N] (factored already) ──► their first r columns and rows
//! biases, cls_score ──► shared with the head
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use frcnn_bundle::{
    Bundle, BundleWriter, Cascade, Gemm, Graph, Layer, Op, Regions, Rewrite, Scores, SectionId,
};

use crate::error::Problem;
use crate::network::output_layers;
use crate::svd::{Factors, Spectrum};

/// The same network with a judge before its head, of each of these ranks. It drops regions below `keep`.
pub(crate) fn with_cascades(bundle: &Bundle, ranks: &[usize], keep: f32) -> Result<Vec<Bundle>, Problem> {
    let contents = bundle.contents();
    check_keep(contents.manifest.scores, keep)?;
    let mut spectra = HashMap::new();
    let with_cascade = |&rank: &usize| {
        let mut making = Making::new(bundle, rank, &mut spectra)?;
        let judge = making.judge()?;
        let mut contents = contents.clone();
        contents.cascade = Some(Cascade { judge, keep, rank: rank as u32, chosen: None });
        Ok(making.writer.finish(contents)?)
    };
    ranks.iter().map(with_cascade).collect()
}

/// Whether `keep` is a threshold that leaves something: the probabilities of objects add up to 1 at most.
pub(crate) fn check_keep(scores: Scores, keep: f32) -> Result<(), Problem> {
    if scores == Scores::Probabilities && keep == 1.0 {
        return Err(Problem::Cascade(
            "keep is 1, and drops every region that is not certainly an object, so that nothing would be found; 0 drops none, and 0.02 \
             what is plainly background"
                .to_string(),
        ));
    }
    let wrong = |range| Problem::Cascade(format!("keep is {keep}, and must be {range}"));
    Cascade::check_keep(scores, keep).map_err(wrong)
}

/// The ranks that [`with_cascades`] can give a network, at most; none where it can have no judge.
pub(crate) fn largest_rank(bundle: &Bundle) -> Result<usize, Problem> {
    Ok(Making::new(bundle, 1, &mut HashMap::new())?.largest_rank())
}

struct Making<'a, 'b> {
    bundle: &'a Bundle,
    head: &'a Graph,
    /// Whether each layer is one that the scores come from.
    needed: Vec<bool>,
    rank: usize,
    writer: BundleWriter,
    /// Of layers' weights, which take longest.
    spectra: &'b mut HashMap<SectionId, Spectrum>,
}

/// What a fully connected layer becomes.
enum Hidden {
    /// A layer that was not factored.
    Whole(Gemm),
    /// The left factor of a layer that was factored; the right one follows.
    Left(Gemm),
    /// The right factor.
    Right(Gemm),
}

impl<'a, 'b> Making<'a, 'b> {
    fn new(
        bundle: &'a Bundle,
        rank: usize,
        spectra: &'b mut HashMap<SectionId, Spectrum>,
    ) -> Result<Making<'a, 'b>, Problem> {
        let contents = bundle.contents();
        let refused = |problem: String| Err(Problem::Cascade(problem));
        if let Regions::Warp(_) = contents.regions {
            return refused(
                "R-CNN runs its trunk on each region, and that is what its time goes into: a judge of what the trunk \
                 gives would save none of it"
                    .to_string(),
            );
        }
        let head = &contents.head;
        let needed = needed(head);
        let layers =
            || head.layers.iter().zip(&needed).filter(|(_, needed)| **needed).map(|(layer, _)| layer);
        if let Some(layer) = layers().find(|layer| layer.op.is_on_maps()) {
            return refused(format!(
                "the head has `{}` ({}), and a judge can be made of fully connected layers alone",
                layer.name,
                layer.op.name()
            ));
        }
        let making = Making { bundle, head, needed, rank, writer: BundleWriter::of(bundle), spectra };
        match making.largest_rank() {
            0 => refused(
                "the head has no hidden fully connected layer that a judge could be made of".to_string(),
            ),
            largest if rank == 0 || rank > largest => refused(format!(
                "rank {rank}: the head's hidden fully connected layers have up to {}, so a judge's rank is 1 to {largest}",
                largest + 1
            )),
            _ => Ok(making),
        }
    }

    /// Below the rank of the layer that has the largest.
    fn largest_rank(&self) -> usize {
        let limits =
            (0..self.head.layers.len()).filter_map(|position| Some(self.limit(&self.hidden(position)?)));
        limits.max().unwrap_or(0).saturating_sub(1)
    }

    /// The largest rank of a layer.
    fn limit(&self, hidden: &Hidden) -> usize {
        match hidden {
            Hidden::Whole(gemm) => gemm.in_features.min(gemm.out_features) as usize,
            Hidden::Left(gemm) => gemm.out_features as usize,
            Hidden::Right(gemm) => gemm.in_features as usize,
        }
    }

    /// The layer at `position`, if it is a hidden fully connected one that the scores come from.
    fn hidden(&self, position: usize) -> Option<Hidden> {
        let layer = self.head.layers.get(position).filter(|_| self.needed.get(position) == Some(&true))?;
        let Op::Gemm(gemm) = &layer.op else { return None };
        if output_layers(self.head).contains(&Some(position)) {
            return None;
        }
        let factored = &self.bundle.contents().factored;
        let [left, right] =
            [0, 1].map(|side| factored.iter().any(|factored| factored.factors()[side] == layer.name));
        Some(match (left, right) {
            (true, _) => Hidden::Left(gemm.clone()),
            (_, true) => Hidden::Right(gemm.clone()),
            _ => Hidden::Whole(gemm.clone()),
        })
    }

    fn judge(&mut self) -> Result<Graph, Problem> {
        let mut judge = Rewrite::default();
        judge.set(0, 0);
        for (position, layer) in self.head.layers.iter().enumerate() {
            if self.needed.get(position) != Some(&true) {
                continue;
            }
            let hidden = self.hidden(position).filter(|hidden| self.rank < self.limit(hidden));
            let named = |op, suffix| Layer {
                name: format!("judge_{}{suffix}", layer.name),
                op,
                inputs: layer.inputs.clone(),
            };
            let made = match hidden {
                None => judge.keep(position, named(layer.op.clone(), "")),
                Some(Hidden::Left(gemm)) => {
                    let weight = self.columns(&gemm, &layer.name);
                    let gemm = Gemm { out_features: self.rank as u32, weight, ..gemm };
                    judge.keep(position, named(Op::Gemm(gemm), ""))
                }
                Some(Hidden::Right(gemm)) => {
                    let weight = self.rows(&gemm, &layer.name);
                    let gemm = Gemm { in_features: self.rank as u32, weight, ..gemm };
                    judge.keep(position, named(Op::Gemm(gemm), ""))
                }
                // Two layers would be no smaller than the one.
                Some(Hidden::Whole(gemm)) if !self.is_smaller(&gemm) => {
                    judge.keep(position, named(layer.op.clone(), ""))
                }
                Some(Hidden::Whole(gemm)) => {
                    let [left, right] = self.factors(&gemm, &layer.name)?;
                    let between =
                        judge.keep(position, named(Op::Gemm(left), "_L")).ok_or_else(out_of_order)?;
                    let right = Layer { inputs: vec![between], ..named(Op::Gemm(right), "_U") };
                    let made = judge.push(right);
                    judge.set(position as u32 + 1, made);
                    Some(made)
                }
            };
            made.ok_or_else(out_of_order)?;
        }
        judge.finish(self.head.outputs.get(..1).unwrap_or_default()).ok_or_else(out_of_order)
    }

    fn is_smaller(&self, gemm: &Gemm) -> bool {
        let [rows, columns] = [gemm.in_features, gemm.out_features].map(|features| features as usize);
        self.rank.saturating_mul(rows + columns) < rows * columns
    }

    fn factors(&mut self, gemm: &Gemm, name: &str) -> Result<[Gemm; 2], Problem> {
        let [rows, columns] = [gemm.in_features, gemm.out_features].map(|features| features as usize);
        let rank = self.rank;
        let matrix = &self.bundle.weights_as_f32(gemm.weight);
        let spectrum = match self.spectra.entry(gemm.weight) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Spectrum::new(matrix, rows, columns).map_err(|_| {
                Problem::Cascade(format!("the weights of `{name}` have no SVD; are they finite?"))
            })?),
        };
        let Factors { left, right } = spectrum.factor(matrix, rows, columns, rank);
        let left = self.writer.add(format!("judge_{name}_L.weight"), &[rows, rank], left);
        let right = self.writer.add(format!("judge_{name}_U.weight"), &[rank, columns], right);
        let rank = rank as u32;
        Ok([
            Gemm { out_features: rank, weight: left, bias: None, ..gemm.clone() },
            Gemm { in_features: rank, weight: right, ..gemm.clone() },
        ])
    }

    /// The first columns of a left factor: those of its largest singular values.
    fn columns(&mut self, gemm: &Gemm, name: &str) -> SectionId {
        let all = self.bundle.weights_as_f32(gemm.weight);
        let rows = all.chunks_exact((gemm.out_features as usize).max(1));
        let first: Vec<f32> = rows.flat_map(|row| &row[..self.rank]).copied().collect();
        self.writer.add(format!("judge_{name}.weight"), &[gemm.in_features as usize, self.rank], first)
    }

    /// The first rows of a right factor.
    fn rows(&mut self, gemm: &Gemm, name: &str) -> SectionId {
        let all = self.bundle.weights_as_f32(gemm.weight);
        let columns = gemm.out_features as usize;
        let first = all[..self.rank * columns].to_vec();
        self.writer.add(format!("judge_{name}.weight"), &[self.rank, columns], first)
    }
}

/// Of each layer whether the first output comes from it.
fn needed(head: &Graph) -> Vec<bool> {
    let mut values = vec![false; head.layers.len() + 1];
    let mut wanted: Vec<u32> = head.outputs.first().copied().into_iter().collect();
    while let Some(value) = wanted.pop() {
        let Some(seen) = values.get_mut(value as usize) else { continue };
        if !std::mem::replace(seen, true)
            && let Some(layer) =
                (value as usize).checked_sub(1).and_then(|position| head.layers.get(position))
        {
            wanted.extend(&layer.inputs);
        }
    }
    values.split_off(1)
}

/// A bundle's layers are validated to be in order.
fn out_of_order() -> Problem {
    Problem::Cascade("a layer reads one that comes after it".to_string())
}
