//! torchvision's `MultiScaleRoIAlign` and detectron2's `ROIPooler`: which maps regions are sampled from, which of them a region
//! belongs to, and where it all comes together again.

use frcnn_bundle::{LevelRule, RoiAlign};
use tract_onnx::pb::{ModelProto, NodeProto};

use crate::constants::integers;
use crate::error::Problem;
use crate::onnx::{self, Attributes};
use crate::prepare::STANDARD;
use crate::view::{View, axis, input, not_understood, output};

/// Of an export that pools one map, and so has no rule.
const RULE: LevelRule = LevelRule { canonical_size: 224.0, canonical_level: 4, finest_level: 4 };
/// What torchvision adds to a level before it rounds down.
const EPSILON: f32 = 1e-6;
/// What detectron2 adds before it takes the logarithm, where in f32 it changes nothing near a level's bounds. A region whose side is
/// a millionth smaller than one gets the level above it on the device, as with torchvision.
const EPSILON_IN_LOG: f32 = 1e-8;

/// Nodes that may change a tensor's type and shape and nothing else, one behind the other.
const MOST_BETWEEN: usize = 16;

/// The first operator set in which a `RoiAlign` says what its corners are.
const SAYS_CORNERS: i64 = 16;

/// Has each `RoiAlign` of an older operator set say what it means there: its corners are not less half a cell.
pub(crate) fn state_corners(model: &mut ModelProto) {
    const NAME: &str = "coordinate_transformation_mode";
    let sets = model.opset_import.iter().filter(|set| ["", STANDARD].contains(&&*set.domain));
    if sets.map(|set| set.version).max().is_none_or(|version| version >= SAYS_CORNERS) {
        return;
    }
    let nodes = model.graph.iter_mut().flat_map(|graph| &mut graph.node);
    for node in nodes.filter(|node| node.op_type == "RoiAlign") {
        if !node.attribute.iter().any(|attribute| attribute.name == NAME) {
            node.attribute.push(onnx::string(NAME, "output_half_pixel"));
        }
    }
}

/// How an export pools regions.
pub(crate) struct Pooling<'a> {
    pub(crate) align: RoiAlign,
    /// The maps that regions are sampled from, the finest first.
    pub(crate) maps: Vec<&'a str>,
    /// What the head reads.
    pub(crate) pooled: &'a str,
    /// All regions, `[R, 4]` in blob pixels or `[R, 5]` behind a batch index.
    pub(crate) rois: &'a str,
}

/// Reads `nodes`, the `RoiAlign` nodes of a graph in order, of which there is one or more.
pub(crate) fn pooling<'a>(view: &View<'a>, nodes: &[&'a NodeProto]) -> Result<Pooling<'a>, Problem> {
    match nodes {
        [] => Err(Problem::NoRoiPool),
        [one] => {
            let pooled = forward(view, output(one));
            let rois = all_columns(view, input(one, 1));
            Ok(Pooling { align: align(nodes, RULE)?, maps: vec![input(one, 0)], pooled, rois })
        }
        _ => {
            let mut levels = Vec::new();
            for &node in nodes {
                levels.push(Level::of(view, node)?);
            }
            levels.sort_by_key(|level| level.number);
            let Some(first) = levels.first() else { return Err(Problem::NoRoiPool) };
            let same = |level: &Level| level.levels == first.levels && level.rois == first.rois;
            if let Some((_, other)) =
                (0..).zip(&levels).find(|(number, level)| level.number != *number || !same(level))
            {
                return Err(not_understood(other.node, "it does not pool the regions of the next level"));
            }
            let (rule, count) = rule(view, first.levels)?;
            let count = count.min(levels.len());
            let used: Vec<&NodeProto> = levels.iter().take(count).map(|level| level.node).collect();
            let maps = used.iter().map(|node| input(node, 0)).collect();
            let pooled = merged(view, &levels)?;
            Ok(Pooling { align: align(&used, rule)?, maps, pooled, rois: first.rois })
        }
    }
}

/// One of several levels.
struct Level<'a> {
    node: &'a NodeProto,
    number: i64,
    /// Finds the places of its regions.
    places: &'a NodeProto,
    /// The level of each region.
    levels: &'a str,
    /// The regions of all levels.
    rois: &'a str,
}

impl<'a> Level<'a> {
    fn of(view: &View<'a>, node: &'a NodeProto) -> Result<Level<'a>, Problem> {
        let rois = all_columns(view, input(node, 1));
        let chosen = view.made_by(rois, &["Gather", "GatherND"], "the regions of one level")?;
        let places = view.behind(input(chosen, 1), &PLACES);
        let places = view.made_by(places, &["NonZero"], "the regions of one level")?;
        let equal = view.made_by(input(places, 0), &["Equal"], "the regions of one level")?;
        let number = view.whole(input(equal, 1));
        let number = number.ok_or_else(|| not_understood(equal, "it does not compare with a level"))?;
        Ok(Level { node, number, places, levels: input(equal, 0), rois: input(chosen, 0) })
    }
}

/// What stands between `NonZero` and who reads the places that it finds.
const PLACES: [&str; 8] =
    ["Squeeze", "Unsqueeze", "Split", "Slice", "Transpose", "Reshape", "Expand", "Cast"];

/// Regions before their last four columns were taken.
fn all_columns<'a>(view: &View<'a>, value: &'a str) -> &'a str {
    let integer = |node: &'a NodeProto, position| view.whole(input(node, position));
    match view.maker(value) {
        Some(node) if node.op_type == "Gather" && axis(node) == 1 => {
            let columns = view.constant(input(node, 1)).and_then(|tensor| integers(&tensor));
            if columns.is_some_and(|columns| columns == [1, 2, 3, 4]) { input(node, 0) } else { value }
        }
        Some(node) if node.op_type == "Slice" && integer(node, 3) == Some(1) => {
            let last_four = integer(node, 1) == Some(1) && integer(node, 2).is_some_and(|end| end >= 5);
            let each = input(node, 4).is_empty() || integer(node, 4) == Some(1);
            if last_four && each { input(node, 0) } else { value }
        }
        _ => value,
    }
}

/// What `value` is called behind casts.
fn forward<'a>(view: &View<'a>, mut value: &'a str) -> &'a str {
    for _ in 0..MOST_BETWEEN {
        match view.readers(value) {
            [node] if ["Cast", "Identity"].contains(&&*node.op_type) => value = output(node),
            _ => break,
        }
    }
    value
}

/// Where regions of all levels stand in their order again: behind one `ScatterElements`, or `ScatterND`, for each.
fn merged<'a>(view: &View<'a>, levels: &[Level<'a>]) -> Result<&'a str, Problem> {
    let mut made: Option<&str> = None;
    for level in levels {
        let scatter = scattered(view, output(level.node));
        let (scatter, pooled) = scatter
            .ok_or_else(|| not_understood(level.node, "its regions are not put in their order again"))?;
        let places = view.maker(view.behind(input(scatter, 1), &PLACES));
        let adds = Attributes(scatter).string("reduction")?.is_some_and(|reduction| reduction != "none");
        if axis(scatter) != 0
            || adds
            || input(scatter, 2) != pooled
            || places.is_none_or(|places| !std::ptr::eq(places, level.places))
            || made.is_some_and(|made| made != input(scatter, 0))
        {
            return Err(not_understood(scatter, "it does not add one level's regions to those before"));
        }
        made = Some(output(scatter));
    }
    Ok(made.unwrap_or_default())
}

/// The node that puts `pooled`, or what it is called behind casts and shapes, among others; with the name that it reads.
fn scattered<'a>(view: &View<'a>, pooled: &'a str) -> Option<(&'a NodeProto, &'a str)> {
    let mut value = pooled;
    for _ in 0..MOST_BETWEEN {
        let readers = view.readers(value);
        let scatter = readers.iter().find(|node| ["ScatterElements", "ScatterND"].contains(&&*node.op_type));
        if let Some(scatter) = scatter {
            return Some((scatter, value));
        }
        // `index_put_` writes out which shape its values have.
        let [node] = readers else { return None };
        if !["Cast", "Identity", "Reshape"].contains(&&*node.op_type) || input(node, 0) != value {
            return None;
        }
        value = output(node);
    }
    None
}

fn align(nodes: &[&NodeProto], level_rule: LevelRule) -> Result<RoiAlign, Problem> {
    let mut aligns = nodes.iter().map(|node| one(node, level_rule));
    let Some(first) = aligns.next() else { return Err(Problem::NoRoiPool) };
    let mut all = first?;
    for (other, node) in aligns.zip(nodes.iter().skip(1)) {
        let other = other?;
        all.spatial_scales.extend(&other.spatial_scales);
        let joined = RoiAlign { spatial_scales: all.spatial_scales.clone(), ..other };
        if joined != all {
            return Err(not_understood(node, "it samples in another way than that of the first level"));
        }
    }
    Ok(all)
}

/// What one node says.
fn one(node: &NodeProto, level_rule: LevelRule) -> Result<RoiAlign, Problem> {
    let at = Attributes(node);
    if at.string("mode")?.is_some_and(|mode| mode != "avg") {
        return Err(not_understood(node, "its points are not averaged"));
    }
    let size = |name| {
        let size = at.int(name, 1)?;
        u32::try_from(size)
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(|| at.problem(format!("`{name}` is {size}")))
    };
    let half_pixel = match at.string("coordinate_transformation_mode")? {
        // See also `state_corners`.
        None | Some("half_pixel") => true,
        Some("output_half_pixel") => false,
        Some(other) => return Err(at.problem(format!("its coordinate_transformation_mode is `{other}`"))),
    };
    let ratio = at.int("sampling_ratio", 0)?;
    Ok(RoiAlign {
        pooled: [size("output_height")?, size("output_width")?],
        sampling_ratio: u32::try_from(ratio)
            .map_err(|_| at.problem(format!("its sampling_ratio is {ratio}")))?,
        half_pixel,
        spatial_scales: vec![at.float("spatial_scale", 1.0)?],
        level_rule,
    })
}

/// `floor(k + log2(sqrt(area) / size) + 1e-6)`, or detectron2's `floor(k + log2(sqrt(area) / size + 1e-8))`, within two bounds, less
/// the lower one; and how many levels that are.
fn rule<'a>(view: &View<'a>, levels: &'a str) -> Result<(LevelRule, usize), Problem> {
    let unexpected =
        |node: &'a NodeProto| not_understood(node, "the rule of a region's level was expected there");
    let step = |value: &'a str, op: &str| -> Result<(&'a NodeProto, &'a str, f32), Problem> {
        let node = view.made_by(
            view.behind(value, &["Cast", "Identity", "Concat"]),
            &[op],
            "the rule of a region's level",
        )?;
        let (value, number) = view.with_number(node).ok_or_else(|| unexpected(node))?;
        Ok((node, value, number))
    };
    let (less, value, finest) = step(levels, "Sub")?;
    let clip =
        view.made_by(view.behind(value, &["Cast", "Identity"]), &["Clip"], "the bounds of a region's level")?;
    let (low, high) = (view.number(input(clip, 1)), view.number(input(clip, 2)));
    let (Some(low), Some(high)) = (low, high) else { return Err(unexpected(clip)) };
    if low != finest || high < low || high.fract() != 0.0 || low.fract() != 0.0 || low < 0.0 || high > 64.0 {
        return Err(unexpected(less));
    }
    let floor = view.made_by(input(clip, 0), &["Floor"], "the rule of a region's level")?;
    let (mut canonical, mut value, mut level) = step(input(floor, 0), "Add")?;
    let is_torchvisions = (level - EPSILON).abs() <= 1e-9;
    if is_torchvisions {
        (canonical, value, level) = step(value, "Add")?;
    }
    let (binary, value, ln2) = step(value, "Div")?;
    if (ln2 - std::f32::consts::LN_2).abs() > 1e-6 {
        return Err(unexpected(binary));
    }
    let log = view.made_by(value, &["Log"], "the rule of a region's level")?;
    let mut value = input(log, 0);
    if !is_torchvisions {
        let (epsilon, side, added) = step(value, "Add")?;
        if !(0.0..=EPSILON_IN_LOG).contains(&added) {
            return Err(unexpected(epsilon));
        }
        value = side;
    }
    let (_, value, size) = step(value, "Div")?;
    view.made_by(value, &["Sqrt"], "the side of a region's square")?;
    if level.fract() != 0.0 || !(0.0..=64.0).contains(&level) {
        return Err(unexpected(canonical));
    }
    let rule = LevelRule { canonical_size: size, canonical_level: level as u32, finest_level: low as u32 };
    Ok((rule, (high - low) as usize + 1))
}
