//! Tasks on pictures: resize, thumbnail, and conversion between PNG and JPEG.

pub mod picture;
pub mod resize;
