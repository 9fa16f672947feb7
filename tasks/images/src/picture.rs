//! A picture on its way in or out: PNG or JPEG.

use std::io::Cursor;

use celeriac_guest::{Bytes, Failure};
use image::{
    DynamicImage, ImageEncoder as _, ImageError, ImageFormat, ImageReader, Limits,
    codecs::jpeg::JpegEncoder, codecs::png::PngEncoder,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest side of a picture, in or out: beyond any camera, below what a bomb claims.
pub const MAX_SIDE: u32 = 16_384;

/// Memory for one decoded picture: 32 megapixels of RGBA, and what a decoder needs beside them.
const MAX_DECODED_BYTES: u64 = 160 << 20;

/// What a picture is encoded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lossless, with transparency.
    Png,
    /// Lossy; transparency becomes white.
    Jpeg,
}

/// A decoded picture and what it was encoded as.
#[derive(Debug)]
pub struct Picture {
    /// The pixels.
    pub image: DynamicImage,
    /// What it was encoded as, or will be.
    pub format: Format,
}

impl Picture {
    /// Decodes PNG or JPEG; which of them, the bytes themselves say. Sizes are checked before
    /// anything is decoded.
    ///
    /// # Errors
    /// `unsupported-image` for other formats, `image-too-large`, `broken-image`.
    pub fn decode(data: &[u8]) -> Result<Self, Failure> {
        let mut reader = ImageReader::new(Cursor::new(data)).with_guessed_format()?;
        let format = match reader.format() {
            Some(ImageFormat::Png) => Format::Png,
            Some(ImageFormat::Jpeg) => Format::Jpeg,
            _ => {
                return Err(Failure::new(
                    "unsupported-image",
                    "this is neither PNG nor JPEG",
                ));
            }
        };
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_DECODED_BYTES);
        reader.limits(limits);
        let image = reader.decode().map_err(|error| refusal(&error))?;
        Ok(Self { image, format })
    }

    /// Encodes the picture.
    ///
    /// # Errors
    /// `broken-image` when the encoder refuses the pixels.
    pub fn encode(&self, format: Format, quality: u8) -> Result<Bytes, Failure> {
        let mut data = Vec::new();
        match format {
            Format::Png => {
                let (image, encoder) = (&self.image, PngEncoder::new(&mut data));
                let (width, height, color) = (image.width(), image.height(), image.color());
                encoder.write_image(image.as_bytes(), width, height, color.into())
            }
            Format::Jpeg => {
                let opaque = on_white(&self.image);
                JpegEncoder::new_with_quality(&mut data, quality).encode_image(&opaque)
            }
        }
        .map_err(|error| refusal(&error))?;
        Ok(Bytes::new(format.content_type(), data))
    }
}

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Png => Self::Jpeg,
            Self::Jpeg => Self::Png,
        }
    }
}

/// JPEG has no transparency: what shines through is white, as on a page.
fn on_white(image: &DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image.to_rgb8().into();
    }
    let mut pixels = image.to_rgba8();
    for pixel in pixels.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0;
        let over = |c: u8| {
            let (c, alpha) = (u32::from(c), u32::from(alpha));
            ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        pixel.0 = [over(red), over(green), over(blue), 255];
    }
    DynamicImage::from(pixels).to_rgb8().into()
}

fn refusal(error: &ImageError) -> Failure {
    match error {
        ImageError::Limits(_) => Failure::new(
            "image-too-large",
            format!(
                "{error}: a side may have {MAX_SIDE} pixels, and the decoded picture {} MiB",
                MAX_DECODED_BYTES >> 20
            ),
        ),
        _ => Failure::new("broken-image", error.to_string()),
    }
}
