//! RoIAlign, pyramids and an RPN in ONNX, as the compiler reads them.
//!
//! ```text
//! rois ─ sides ─ level of each        of each level: NonZero ─ Gather ─ RoiAlign ─ ScatterND      torchvision's rule
//! p2 ─ rpn ─ rpn_logits.0, rpn_deltas.0                                                            the same weights on each map
//! ```

use frcnn_bundle::{RoiAlign, Rpn, Shape};
use frcnn_onnx::pb::tensor_proto::DataType;
use frcnn_onnx::writer::{Dim, attr, tensor};

use super::order::Order;
use super::{EmitError, Emitter, ROIS, Value};

/// What torchvision adds to a level before it rounds down.
const EPSILON: f32 = 1e-6;

impl Emitter<'_> {
    /// Adds RoIAlign of maps with so many channels; gives what the head reads.
    pub(super) fn roi_align(&mut self, align: &RoiAlign, maps: &[String], channels: usize) -> Value {
        let name = match (maps, &align.spatial_scales[..]) {
            ([map], &[scale]) => self.align_level("roi_align", align, map, scale, ROIS),
            _ => self.align_levels(align, maps, channels),
        };
        Value { name, order: Order::AsOnDevice }
    }

    fn align_levels(&mut self, align: &RoiAlign, maps: &[String], channels: usize) -> String {
        let levels = self.levels(align);
        let [height, width] = align.pooled.map(i64::from);
        let region = self.integers("region", &[channels as i64, height, width]);
        let shape = self.add("Shape", "rois_shape", &[ROIS]);
        let count = self.slice("rois_count", &shape, [0, 1], 0);
        let shape = self.add_with("Concat", "regions_shape", &[&count, &region], [attr::int("axis", 0)]);
        let mut merged = self.add("ConstantOfShape", "regions", &[&shape]);
        for (level, (map, &scale)) in maps.iter().zip(&align.spatial_scales).enumerate() {
            let number = self.integer("level", level as i64);
            let is = self.add("Equal", "is_of_level", &[&levels, &number]);
            let found = self.add("NonZero", "found", &[&is]);
            let zero = self.integers("zero", &[0]);
            let places = self.add("Squeeze", "places", &[&found, &zero]);
            let rois = self.add_with("Gather", "rois_of_level", &[ROIS, &places], [attr::int("axis", 0)]);
            let pooled = self.align_level("roi_align_of_level", align, map, scale, &rois);
            let one = self.integers("one", &[1]);
            let column = self.add("Unsqueeze", "places_column", &[&places, &one]);
            merged = self.add("ScatterND", "roi_align", &[&merged, &column, &pooled]);
        }
        merged
    }

    /// RoIAlign of `rois` `[R, 5]` from one map.
    fn align_level(&mut self, name: &str, align: &RoiAlign, map: &str, scale: f32, rois: &str) -> String {
        let boxes = self.slice("boxes", rois, [1, 5], 1);
        let column = self.slice("batch_column", rois, [0, 1], 1);
        let one = self.integers("one", &[1]);
        let batch = self.add("Squeeze", "batch", &[&column, &one]);
        let to = attr::int("to", DataType::Int64 as i64);
        let batch = self.add_with("Cast", "batch_indices", &[&batch], [to]);
        let mode = if align.half_pixel { "half_pixel" } else { "output_half_pixel" };
        let attributes = [
            attr::string("mode", "avg"),
            attr::string("coordinate_transformation_mode", mode),
            attr::int("output_height", align.pooled[0].into()),
            attr::int("output_width", align.pooled[1].into()),
            attr::int("sampling_ratio", align.sampling_ratio.into()),
            attr::float("spatial_scale", scale),
        ];
        self.add_with("RoiAlign", name, &[map, &boxes, &batch], attributes)
    }

    /// The position of the map that suits each RoI.
    fn levels(&mut self, align: &RoiAlign) -> String {
        let rule = align.level_rule;
        let far = self.slice("far", ROIS, [3, 5], 1);
        let near = self.slice("near", ROIS, [1, 3], 1);
        let sides = self.add("Sub", "sides", &[&far, &near]);
        let attributes = [attr::ints("axes", &[1]), attr::int("keepdims", 0)];
        let area = self.add_with("ReduceProd", "area", &[&sides], attributes);
        let mut value = self.add("Sqrt", "side", &[&area]);
        for (op_type, name, number) in [
            ("Div", "share", rule.canonical_size),
            ("Log", "logarithm", 0.0),
            ("Div", "binary_logarithm", std::f32::consts::LN_2),
            ("Add", "level_of_side", rule.canonical_level as f32),
            ("Add", "level_above", EPSILON),
            ("Floor", "whole_level", 0.0),
        ] {
            value = if ["Log", "Floor"].contains(&op_type) {
                self.add(op_type, name, &[&value])
            } else {
                let number = self.constant(name, "value", &[], &[number]);
                self.add(op_type, name, &[&value, &number])
            };
        }
        let (low, count) = (f64::from(rule.finest_level), align.spatial_scales.len());
        let bounds = [low, low + count.saturating_sub(1) as f64].map(|bound| bound as f32);
        let low = self.constant("bounded_level", "min", &[], &bounds[..1]);
        let high = self.constant("bounded_level", "max", &[], &bounds[1..]);
        let bounded = self.add("Clip", "bounded_level", &[&value, &low, &high]);
        let to = attr::int("to", DataType::Int64 as i64);
        let whole = self.add_with("Cast", "level_number", &[&bounded], [to]);
        let finest = self.integer("finest", rule.finest_level.into());
        self.add("Sub", "level_position", &[&whole, &finest])
    }

    /// Adds an RPN's head on each of these maps, with its outputs.
    pub(super) fn rpn(&mut self, rpn: &Rpn, maps: &[(String, Shape)]) -> Result<(), EmitError> {
        self.shared = Some(Default::default());
        let anchors = rpn.anchors_per_cell() as i64;
        for (level, (map, shape)) in maps.iter().enumerate() {
            let outputs = super::rpn_outputs(level);
            let map = Value { name: map.clone(), order: Order::AsOnDevice };
            self.graph(&rpn.graph, map, *shape, &outputs.each_ref().map(String::as_str))?;
            let (rows, columns) = (format!("H.{level}"), format!("W.{level}"));
            for (output, channels) in outputs.iter().zip([anchors, 4 * anchors]) {
                let dims = [Dim::Size(1), Dim::Size(channels), Dim::Symbol(&rows), Dim::Symbol(&columns)];
                self.onnx.output(output, &dims);
            }
        }
        self.shared = None;
        Ok(())
    }

    /// Adds what gives `small` the rows and columns of `large`.
    pub(super) fn upsample(&mut self, name: &str, small: &str, large: &str) {
        let shape = self.add("Shape", &format!("{name}.small"), &[small]);
        let first = self.slice(&format!("{name}.channels"), &shape, [0, 2], 0);
        let shape = self.add("Shape", &format!("{name}.large"), &[large]);
        let last = self.slice(&format!("{name}.sides"), &shape, [2, 4], 0);
        let sizes =
            self.add_with("Concat", &format!("{name}.sizes"), &[&first, &last], [attr::int("axis", 0)]);
        let attributes = [
            attr::string("mode", "nearest"),
            attr::string("coordinate_transformation_mode", "asymmetric"),
            attr::string("nearest_mode", "floor"),
        ];
        self.onnx.node("Resize", name, &[small, "", "", &sizes], attributes);
    }

    fn add(&mut self, op_type: &str, name: &str, inputs: &[&str]) -> String {
        self.add_with(op_type, name, inputs, [])
    }

    fn add_with<const N: usize>(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attributes: [frcnn_onnx::pb::AttributeProto; N],
    ) -> String {
        let name = self.names.unique(name);
        self.onnx.node(op_type, &name, inputs, attributes);
        name
    }

    fn slice(&mut self, name: &str, of: &str, [start, end]: [i64; 2], axis: i64) -> String {
        let bounds = [("start", start), ("end", end), ("axis", axis)];
        let [start, end, axis] =
            bounds.map(|(part, value)| self.integers(&format!("{name}.{part}"), &[value]));
        self.add("Slice", name, &[of, &start, &end, &axis])
    }

    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let name = self.names.unique(name);
        self.onnx.initializer(tensor::i64(&name, &[values.len() as i64], values));
        name
    }

    fn integer(&mut self, name: &str, value: i64) -> String {
        let name = self.names.unique(name);
        self.onnx.initializer(tensor::i64(&name, &[], &[value]));
        name
    }
}
