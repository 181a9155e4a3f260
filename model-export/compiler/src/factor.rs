//! Replaces fully connected layers by two thinner ones.

use frcnn_bundle::{Bundle, Contents, Factored, Gemm, Graph, Layer, Op, Rewrite, SectionId};

use crate::error::Error;
use crate::error::Problem;
use crate::network::output_layers;
use crate::options::Svd;
use crate::report::FactoredLayer;
use crate::svd::{Factors, Spectrum, relative_error};
use crate::weights::{WeightStore, name_sections};

/// A network with factored layers, and what became of each layer.
pub(crate) struct FactoredNetwork {
    pub(crate) bundle: Bundle,
    pub(crate) layers: Vec<FactoredLayer>,
    /// Why a layer was left whole.
    pub(crate) left_whole: Vec<String>,
}

/// A fully connected layer of the head.
struct Target<'a> {
    position: usize,
    layer: &'a Layer,
    gemm: &'a Gemm,
}

/// How far to compress one layer.
enum RankChoice {
    Rank(usize),
    Energy(f64),
}

/// Factors the layers that `svd` asks for. `aliases` are the names by which a user may mean each layer
/// of the head.
pub(crate) fn factor(
    bundle: &Bundle,
    aliases: &[Vec<String>],
    svd: &Svd,
    progress: &mut dyn FnMut(&str),
) -> Result<FactoredNetwork, Problem> {
    let head = &bundle.contents().head;
    let choices = choices(head, aliases, svd)?;
    let mut rebuilder = Rebuilder::new(bundle);
    let (mut layers, mut left_whole) = (Vec::new(), Vec::new());
    for (position, layer) in head.layers.iter().enumerate() {
        let choice = choices.iter().find(|(target, _)| target.position == position);
        let Some((Target { gemm, .. }, choice)) = choice else {
            rebuilder.keep(position, layer)?;
            continue;
        };
        let (rows, columns) = (gemm.in_features as usize, gemm.out_features as usize);
        progress(&format!("factoring {} ({rows} x {columns})", layer.name));
        let matrix = &bundle.weights_as_f32(gemm.weight);
        let spectrum = Spectrum::new(matrix, rows, columns).map_err(|_| {
            Problem::Svd(format!("the weights of `{}` have no SVD; are they finite?", layer.name))
        })?;
        let rank = match *choice {
            RankChoice::Rank(rank) => rank,
            RankChoice::Energy(energy) => {
                let rank = spectrum.rank_for(energy);
                if rank * (rows + columns) >= rows * columns {
                    left_whole.push(format!(
                        "{}: rank {rank} of {} is needed to keep {energy} of the energy, and two layers of that rank \
                         are no smaller than one",
                        layer.name,
                        rows.min(columns)
                    ));
                    rebuilder.keep(position, layer)?;
                    continue;
                }
                rank
            }
        };
        let factors = spectrum.factor(matrix, rows, columns, rank);
        let report = FactoredLayer {
            layer: layer.name.clone(),
            in_features: rows,
            out_features: columns,
            rank,
            energy: spectrum.energy_of(rank),
            relative_error: relative_error(matrix, rows, columns, &factors),
            parameters_before: (rows * columns) as u64,
            parameters_after: (rank * (rows + columns)) as u64,
        };
        rebuilder.split(position, layer, gemm, report.record(), factors)?;
        layers.push(report);
    }
    Ok(FactoredNetwork { bundle: rebuilder.finish()?, layers, left_whole })
}

/// Which layers to factor and how far; every name and rank is checked before work begins.
fn choices<'a>(
    head: &'a Graph,
    aliases: &[Vec<String>],
    svd: &Svd,
) -> Result<Vec<(Target<'a>, RankChoice)>, Problem> {
    let targets = || {
        head.layers.iter().enumerate().filter_map(|(position, layer)| match &layer.op {
            Op::Gemm(gemm) => Some(Target { position, layer, gemm }),
            _ => None,
        })
    };
    match svd {
        Svd::None => Ok(Vec::new()),
        Svd::Energy(energy) => {
            if !(*energy > 0.0 && *energy <= 1.0) {
                return Err(Problem::Svd(format!(
                    "the energy to keep must be above 0 and at most 1, not {energy}"
                )));
            }
            // The last layers, which the outputs come from, are small and stay whole, as in the paper.
            let last = output_layers(head);
            let hidden = targets().filter(|target| !last.contains(&Some(target.position)));
            Ok(hidden.map(|target| (target, RankChoice::Energy(*energy))).collect())
        }
        Svd::Ranks(ranks) => {
            let mut choices: Vec<(Target, RankChoice)> = Vec::new();
            for (name, rank) in ranks {
                let is_meant = |t: &Target| {
                    t.layer.name == *name || aliases.get(t.position).is_some_and(|names| names.contains(name))
                };
                let target = targets().find(is_meant).ok_or_else(|| {
                    let names: Vec<_> = targets().map(|t| t.layer.name.clone()).collect();
                    Problem::Svd(format!(
                        "there is no fully connected layer `{name}`; there are {}",
                        names.join(", ")
                    ))
                })?;
                let limit = target.gemm.in_features.min(target.gemm.out_features) as usize;
                if *rank == 0 || *rank > limit {
                    return Err(Problem::Svd(format!(
                        "rank {rank} for `{name}`: its matrix is {} x {}, so a rank is 1 to {limit}",
                        target.gemm.in_features, target.gemm.out_features
                    )));
                }
                if choices.iter().any(|(other, _)| other.position == target.position) {
                    return Err(Problem::Svd(format!("`{name}` is given twice")));
                }
                choices.push((target, RankChoice::Rank(*rank)));
            }
            Ok(choices)
        }
    }
}

/// Copies a network layer by layer; a layer that becomes two shifts the values behind it.
struct Rebuilder<'a> {
    bundle: &'a Bundle,
    contents: Contents,
    weights: WeightStore,
    head: Rewrite,
}

impl<'a> Rebuilder<'a> {
    fn new(bundle: &'a Bundle) -> Rebuilder<'a> {
        let mut contents = bundle.contents().clone();
        let mut weights = WeightStore::default();
        let proposing = contents.rpn.iter_mut().flat_map(|rpn| &mut rpn.graph.layers);
        for layer in contents.trunk.layers.iter_mut().chain(proposing) {
            layer.op = copy_weights(bundle, &layer.op, &mut weights);
        }
        contents.factored.clear();
        let mut head = Rewrite::default();
        head.set(0, 0);
        Rebuilder { bundle, contents, weights, head }
    }

    fn keep(&mut self, position: usize, layer: &Layer) -> Result<(), Problem> {
        let op = copy_weights(self.bundle, &layer.op, &mut self.weights);
        self.push(position, Layer { op, ..layer.clone() }).map(drop)
    }

    fn split(
        &mut self,
        position: usize,
        layer: &Layer,
        gemm: &Gemm,
        factored: Factored,
        factors: Factors,
    ) -> Result<(), Problem> {
        let (rows, columns) = (gemm.in_features as usize, gemm.out_features as usize);
        let (rank, [left_name, right_name]) = (factored.rank as usize, factored.factors());
        let weight = self.weights.add(String::new(), &[rows, rank], factors.left);
        let left = Gemm { out_features: rank as u32, weight, bias: None, ..gemm.clone() };
        let between =
            self.push(position, Layer { name: left_name, op: Op::Gemm(left), inputs: layer.inputs.clone() })?;
        let weight = self.weights.add(String::new(), &[rank, columns], factors.right);
        let bias = gemm.bias.map(|id| copy_section(self.bundle, id, &mut self.weights));
        let right = Gemm { in_features: rank as u32, weight, bias, ..gemm.clone() };
        let made = self.head.push(Layer { name: right_name, op: Op::Gemm(right), inputs: vec![between] });
        self.head.set(position as u32 + 1, made);
        self.contents.factored.push(factored);
        Ok(())
    }

    fn push(&mut self, position: usize, layer: Layer) -> Result<u32, Problem> {
        self.head.keep(position, layer).ok_or_else(out_of_order)
    }

    fn finish(mut self) -> Result<Bundle, Problem> {
        self.contents.head = self.head.finish(&self.contents.head.outputs).ok_or_else(out_of_order)?;
        let Contents { trunk, head, rpn, .. } = &self.contents;
        for graph in [trunk, head].into_iter().chain(rpn.iter().map(|rpn| &rpn.graph)) {
            name_sections(graph, &mut self.weights);
        }
        self.weights.into_bundle(self.contents)
    }
}

/// A bundle's layers are validated to be in order.
fn out_of_order() -> Problem {
    Problem::Svd("a layer reads one that comes after it".to_string())
}

fn copy_weights(bundle: &Bundle, op: &Op, weights: &mut WeightStore) -> Op {
    let mut op = op.clone();
    crate::weights::for_each_section(&mut op, |id| *id = copy_section(bundle, *id, weights));
    op
}

fn copy_section(bundle: &Bundle, id: SectionId, weights: &mut WeightStore) -> SectionId {
    let section = bundle.contents().sections.get(id as usize);
    let shape: Vec<usize> = section.map_or(&[][..], |s| &s.shape).iter().map(|&d| d as usize).collect();
    weights.add(String::new(), &shape, bundle.weights_as_f32(id).into_owned())
}

impl Svd {
    /// Reads `fc6=256,fc7=64`.
    ///
    /// # Errors
    /// What does not read as `NAME=RANK`.
    pub fn parse_ranks(text: &str) -> Result<Svd, Error> {
        let pair = |part: &str| {
            let (name, rank) = part.split_once('=')?;
            Some((name.trim().to_string(), rank.trim().parse().ok()?)).filter(|(name, _)| !name.is_empty())
        };
        text.split(',')
            .map(|part| pair(part).ok_or_else(|| Error::Ranks(part.trim().to_string())))
            .collect::<Result<_, _>>()
            .map(Svd::Ranks)
    }
}
