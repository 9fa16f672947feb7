//! The tasks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use celeriac_guest::{Bytes, Failure, info, task};
use image::{DynamicImage, imageops::FilterType};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::picture::{Format, MAX_SIDE, Picture};

/// The longest side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: u32 = 256;

/// What most programs use for photographs: artefacts stay invisible at a fifth of the size.
const QUALITY: u8 = 85;

/// A picture and the size to give it.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Resize {
    /// A PNG or JPEG file in base64.
    #[schemars(extend("contentEncoding" = "base64"))]
    image: String,
    /// In pixels. Without it, it follows from the height.
    #[schemars(range(min = 1, max = 16_384))]
    width: Option<u32>,
    /// In pixels. Without it, it follows from the width.
    #[schemars(range(min = 1, max = 16_384))]
    height: Option<u32>,
    /// What to do when the shape differs from the picture's.
    #[serde(default)]
    fit: Fit,
    /// What to encode the result as; the picture's own format when left out.
    format: Option<Format>,
    /// For JPEG: 1 is smallest, 100 is best.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
}

fn default_quality() -> u8 {
    QUALITY
}

/// What to do when the wanted shape differs from the picture's.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Fit {
    /// Keep the whole picture: it becomes smaller than asked for on one side.
    #[default]
    Contain,
    /// Fill the size and crop what hangs over, equally on both ends.
    Cover,
    /// Fill the size and distort the picture.
    Stretch,
}

/// Resizes a picture. The input is JSON with the picture in base64; the output is a PNG or JPEG
/// file as raw bytes. `thumbnail` and `convert` take a file as it is.
#[task(timeout = "30s", memory = "512MiB")]
pub fn resize(input: Resize) -> Result<Bytes, Failure> {
    let file = STANDARD.decode(&input.image).map_err(|error| {
        Failure::new("invalid-input", format!("`image` is not base64: {error}"))
            .details(json!({ "path": "image" }))
    })?;
    if !(1..=100).contains(&input.quality) {
        return Err(Failure::new(
            "invalid-input",
            "`quality` goes from 1 to 100",
        ));
    }
    let picture = Picture::decode(&file)?;
    let (width, height) = target(&picture.image, input.width, input.height)?;
    let image = scale(&picture.image, width, height, input.fit);
    info!(
        from = (picture.image.width(), picture.image.height()),
        to = (image.width(), image.height()),
        "resized"
    );
    let format = input.format.unwrap_or(picture.format);
    Picture { image, format }.encode(format, input.quality)
}

/// Makes a JPEG of at most 256 by 256 pixels from a PNG or JPEG file. Raw bytes in, raw bytes out.
/// Smaller pictures keep their size.
#[task(timeout = "30s", memory = "512MiB")]
pub fn thumbnail(input: Bytes) -> Result<Bytes, Failure> {
    let Picture { image, format } = Picture::decode(&input.data)?;
    let is_small = image.width().max(image.height()) <= THUMBNAIL_SIDE;
    let image = if is_small {
        image
    } else {
        image.thumbnail(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    };
    Picture { image, format }.encode(Format::Jpeg, QUALITY)
}

/// Converts PNG to JPEG and JPEG to PNG. Raw bytes in, raw bytes out.
#[task(timeout = "30s", memory = "512MiB")]
pub fn convert(input: Bytes) -> Result<Bytes, Failure> {
    let picture = Picture::decode(&input.data)?;
    picture.encode(picture.format.other(), QUALITY)
}

/// The wanted size; a side that is not given keeps the picture's shape.
fn target(
    image: &DynamicImage,
    width: Option<u32>,
    height: Option<u32>,
) -> Result<(u32, u32), Failure> {
    let follow = |side: u32, of: u32, to: u32| {
        let scaled = f64::from(side) * f64::from(to) / f64::from(of.max(1));
        scaled.round().clamp(1.0, f64::from(u32::MAX)) as u32
    };
    let (own_width, own_height) = (image.width(), image.height());
    let (width, height) = match (width, height) {
        (Some(width), Some(height)) => (width, height),
        (Some(width), None) => (width, follow(own_height, own_width, width)),
        (None, Some(height)) => (follow(own_width, own_height, height), height),
        (None, None) => {
            return Err(Failure::new(
                "invalid-input",
                "give `width`, `height`, or both",
            ));
        }
    };
    let is_possible = |side: u32| (1..=MAX_SIDE).contains(&side);
    if is_possible(width) && is_possible(height) {
        return Ok((width, height));
    }
    let message = format!("{width}x{height} pixels: a side goes from 1 to {MAX_SIDE}");
    Err(Failure::new("invalid-input", message))
}

fn scale(image: &DynamicImage, width: u32, height: u32, fit: Fit) -> DynamicImage {
    // The slowest filter and the best: photographs stay sharp, edges do not ring much.
    let filter = FilterType::Lanczos3;
    match fit {
        Fit::Contain => image.resize(width, height, filter),
        Fit::Cover => image.resize_to_fill(width, height, filter),
        Fit::Stretch => image.resize_exact(width, height, filter),
    }
}

#[cfg(test)]
mod tests {
    use celeriac_guest::{Payload, testing};

    use super::*;

    const ROCKET: &[u8] = include_bytes!("../../inputs/rocket.jpg");
    const CHELSEA: &[u8] = include_bytes!("../../inputs/chelsea.png");

    fn run(task: &str, input: impl celeriac_guest::IntoPayload) -> Result<Bytes, Failure> {
        testing::run(task, input)?.read()
    }

    fn size(bytes: &Bytes) -> (u32, u32) {
        let image = Picture::decode(&bytes.data).unwrap().image;
        (image.width(), image.height())
    }

    fn resized(parameters: serde_json::Value) -> Result<Bytes, Failure> {
        let mut input = parameters;
        input["image"] = json!(STANDARD.encode(ROCKET));
        run("resize", input)
    }

    #[test]
    fn keeps_the_shape_where_one_side_is_given() {
        let output = resized(json!({ "width": 320 })).unwrap();
        assert_eq!(output.content_type, "image/jpeg");
        // 640 by 427.
        assert_eq!(size(&output), (320, 214));
    }

    #[test]
    fn fits_as_asked() {
        let square =
            |fit: &str| size(&resized(json!({ "width": 100, "height": 100, "fit": fit })).unwrap());
        assert_eq!(square("contain"), (100, 67));
        assert_eq!(square("cover"), (100, 100));
        assert_eq!(square("stretch"), (100, 100));
    }

    #[test]
    fn refuses_sizes_before_it_scales() {
        for parameters in [
            json!({}),
            json!({ "width": 0 }),
            json!({ "width": 1, "height": 99999 }),
        ] {
            assert_eq!(resized(parameters).unwrap_err().kind, "invalid-input");
        }
    }

    #[test]
    fn says_where_the_input_is_wrong() {
        let failure = resized(json!({ "width": "wide" })).unwrap_err();
        assert_eq!(
            failure.details.as_deref(),
            Some(&json!({ "path": "width" }))
        );
        let failure = run("resize", json!({ "image": "§", "width": 1 })).unwrap_err();
        assert_eq!(
            failure.details.as_deref(),
            Some(&json!({ "path": "image" }))
        );
    }

    #[test]
    fn makes_thumbnails_of_real_photographs() {
        for (photograph, expected) in [(ROCKET, (256, 171)), (CHELSEA, (256, 170))] {
            let thumbnail = run("thumbnail", Bytes::new("image/any", photograph)).unwrap();
            assert_eq!(thumbnail.content_type, "image/jpeg");
            assert_eq!(size(&thumbnail), expected);
            assert!(thumbnail.data.len() < 30_000);
        }
    }

    #[test]
    fn converts_both_ways() {
        let png = run("convert", Bytes::new("image/jpeg", ROCKET)).unwrap();
        assert_eq!(
            (png.content_type.as_str(), size(&png)),
            ("image/png", (640, 427))
        );
        let jpeg = run("convert", png).unwrap();
        assert_eq!(
            (jpeg.content_type.as_str(), size(&jpeg)),
            ("image/jpeg", (640, 427))
        );
    }

    #[test]
    fn shows_transparency_as_white() {
        let clear = DynamicImage::from(image::RgbaImage::new(8, 8));
        let picture = Picture {
            image: clear,
            format: Format::Png,
        };
        let jpeg = run("convert", picture.encode(Format::Png, QUALITY).unwrap()).unwrap();
        let pixel = *Picture::decode(&jpeg.data)
            .unwrap()
            .image
            .to_rgb8()
            .get_pixel(3, 3);
        assert!(pixel.0.iter().all(|c| *c > 250), "{pixel:?}");
    }

    #[test]
    fn refuses_a_bomb_before_it_decodes() {
        // A PNG header that claims 60,000 by 60,000 pixels.
        let mut bomb =
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x06\0\0\0".to_vec();
        let crc = crc32(bomb.get(12..).unwrap());
        bomb.extend(crc.to_be_bytes());
        bomb.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
        let failure = run("thumbnail", Bytes::new("image/png", bomb)).unwrap_err();
        assert_eq!(failure.kind, "image-too-large", "{failure}");
    }

    fn crc32(data: &[u8]) -> u32 {
        !data.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }

    #[test]
    fn refuses_what_is_no_picture() {
        let failure = testing::run("thumbnail", Bytes::new("image/png", "hello")).unwrap_err();
        assert_eq!(failure.kind, "unsupported-image");
        let cut = CHELSEA.get(..1000).unwrap();
        let failure = testing::run("convert", Bytes::new("image/png", cut)).unwrap_err();
        assert_eq!(failure.kind, "broken-image");
        let failure = testing::run("convert", Payload::Json("{}".into())).unwrap_err();
        assert_eq!(failure.kind, "invalid-input");
    }
}
