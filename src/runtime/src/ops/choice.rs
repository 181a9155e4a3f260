//! Which algorithm each convolution gets: the fastest, within a bound of bytes.

use frcnn_kernels::{ConvAlgorithm, ConvCandidate};

use super::ConvPlan;
use crate::tuning::{Tuned, Tuning, cpu_name};

/// The algorithm that a layer gets, and how long it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) candidate: ConvCandidate,
    /// As measured, if it was.
    pub(crate) ms: Option<f64>,
}

/// A layer's algorithms by how many weights they hold, with the time of each.
struct Choices {
    candidates: Vec<Choice>,
    chosen: usize,
}

impl Choices {
    fn new(candidates: Vec<Choice>) -> Choices {
        let all: Vec<ConvCandidate> = candidates.iter().map(|choice| choice.candidate).collect();
        let time = |candidate: &ConvCandidate| {
            let choice = candidates.iter().find(|choice| choice.candidate == *candidate);
            choice.map_or(f64::INFINITY, Choice::time)
        };
        let chosen = ConvCandidate::choose(&all, time);
        let chosen = all.iter().position(|candidate| Some(*candidate) == chosen).unwrap_or(0);
        Choices { candidates, chosen }
    }

    fn get(&self) -> Option<Choice> {
        self.candidates.get(self.chosen).copied()
    }

    /// The one with fewer weights that costs least time for each byte it spares, and that time.
    fn cheapest_loss(&self) -> Option<(usize, f64)> {
        let now = self.get()?;
        let fewer = self.candidates.iter().enumerate().filter_map(|(position, other)| {
            let spared = now.candidate.weight_bytes.checked_sub(other.candidate.weight_bytes)?;
            (spared > 0).then(|| (position, (other.time() - now.time()) / spared as f64))
        });
        fewer.min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

impl Choice {
    /// In milliseconds or in FLOPs: in the same unit for all layers.
    fn time(&self) -> f64 {
        self.ms.unwrap_or(self.candidate.flops)
    }
}

/// Chooses for all layers: by what `tuning` says if it knows all of them, else by what is expected. Where that takes more than
/// `most_bytes`, by what `memory` says, layers get algorithms with fewer weights, those first that lose least by it.
///
/// # Errors
/// The bytes that it takes at least, if those are more than `most_bytes`.
pub(crate) fn choose(
    layers: &mut [ConvPlan],
    tuning: Option<&Tuning>,
    most_bytes: Option<u64>,
    memory: impl Fn(&[ConvPlan]) -> u64,
) -> Result<Tuned, u64> {
    let measured = tuning.map(|tuning| measured(layers, tuning));
    let mut choices: Vec<Choices> = match &measured {
        Some(Ok(measured)) => measured.iter().cloned().map(Choices::new).collect(),
        _ => layers.iter().map(|layer| Choices::new(expected(layer))).collect(),
    };
    let mut least = u64::MAX;
    loop {
        for (layer, choices) in layers.iter_mut().zip(&choices) {
            layer.choice = choices.get();
        }
        let Some(most) = most_bytes else { break };
        let taken = memory(layers);
        if taken <= most {
            break;
        }
        // Fewer weights may also mean larger maps, where a layer does no pooling then: the last is not always the least.
        least = least.min(taken);
        if !spare(&mut choices) {
            return Err(least);
        }
    }
    Ok(match measured {
        None => Tuned::No,
        Some(Ok(_)) => Tuned::Yes,
        Some(Err(why)) => Tuned::Misfit(why),
    })
}

/// Gives the layer that loses least by it an algorithm with fewer weights; whether there is one.
fn spare(choices: &mut [Choices]) -> bool {
    let losses = choices.iter().enumerate();
    let losses = losses.filter_map(|(layer, choices)| Some((layer, choices.cheapest_loss()?)));
    let Some((layer, (position, _))) = losses.min_by(|a, b| a.1.1.total_cmp(&b.1.1)) else { return false };
    choices[layer].chosen = position;
    true
}

fn expected(layer: &ConvPlan) -> Vec<Choice> {
    layer.candidates().into_iter().map(|candidate| Choice { candidate, ms: None }).collect()
}

/// The measured times of all layers; of those with one algorithm, nothing.
fn measured(layers: &[ConvPlan], tuning: &Tuning) -> Result<Vec<Vec<Choice>>, String> {
    let cpu = cpu_name();
    if tuning.cpu != cpu {
        return Err(format!("it was measured on another CPU, {}, and this is {cpu}", tuning.cpu));
    }
    let measured = layers.iter().map(|layer| {
        let mut choices = expected(layer);
        if choices.len() > 1 {
            let algorithms: Vec<ConvAlgorithm> =
                choices.iter().map(|choice| choice.candidate.algorithm).collect();
            let times = tuning.times(&layer.name, &layer.shape_name(), &algorithms)?;
            for (choice, ms) in choices.iter_mut().zip(times) {
                choice.ms = Some(ms);
            }
        }
        Ok(choices)
    });
    measured.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(of: &[(usize, f64)]) -> Choices {
        let algorithms = [ConvAlgorithm::Direct, ConvAlgorithm::Winograd4, ConvAlgorithm::Winograd6];
        let candidates = of.iter().zip(algorithms).map(|(&(weight_bytes, flops), algorithm)| Choice {
            candidate: ConvCandidate { algorithm, flops, weight_bytes },
            ms: None,
        });
        Choices::new(candidates.collect())
    }

    #[test]
    fn the_fastest_is_chosen_and_more_weights_must_be_worth_it() {
        assert_eq!(choices(&[(9, 100.0), (36, 40.0), (64, 30.0)]).chosen, 2);
        assert_eq!(choices(&[(9, 100.0), (36, 40.0), (64, 39.0)]).chosen, 1);
        assert_eq!(choices(&[(9, 100.0), (36, 120.0), (64, 130.0)]).chosen, 0);
        assert!(choices(&[]).get().is_none());
    }

    #[test]
    fn what_spares_bytes_at_the_least_cost_comes_first() {
        // 28 bytes for 10, or 55 bytes for 70.
        assert_eq!(choices(&[(9, 100.0), (36, 40.0), (64, 30.0)]).cheapest_loss(), Some((1, 10.0 / 28.0)));
        assert_eq!(choices(&[(9, 100.0)]).cheapest_loss(), None);
    }
}
