//! Scenes that a program draws: a data set that anybody can make anew from a seed.
//!
//! Six kinds of objects lie on a textured ground. Every kind comes in every colour, texture, size and rotation, objects
//! hide parts of each other, light falls unevenly, and a camera adds blur and noise: what tells a ring from a disc or a
//! star from a cross is its shape alone.
//!
//! ```text
//! ground ──► objects, back to front ──► light ──► blur ──► noise ──► image, boxes
//! ```
//!
//! Each image is drawn from a random stream of its own, so image 7 of a seed is the same however many there are.

mod paint;
mod scene;
mod shape;

pub(crate) use scene::{HEIGHT, Scene, WIDTH};
