//! ONNX's messages, as every step reads and makes them: names, attributes, dimensions, and which node makes what.
//!
//! Below all steps but the errors: it knows neither how a graph is split nor what its nodes become.

mod attributes;
mod graph;
mod make;

pub(crate) use attributes::{Attributes, pads};
pub(crate) use graph::{Producers, check_real, dims, inputs, name, show};
pub(crate) use make::{
    f32_tensor, float, float_input, i64_tensor, int, ints, model_of, string, tensor, value,
};
