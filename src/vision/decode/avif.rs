//! AVIF: the container by `avif-parse`, AV1 by `rav1d`.

use avif_parse::AvifData;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage, RgbaImage};
use re_rav1d::pixel::{MatrixCoefficients, YUVRange};
use re_rav1d::{Decoder, PixelLayout, PlanarImageComponent, Settings};

use super::DecodeLimits;
use super::other::Picture;
use crate::types::ImageFormat;
use crate::vision::VisionError;
use crate::vision::error::FormatName;

/// Decodes the primary image, or the first frame, turned as its container says (AV1 Image File Format 1.1; MIAF).
pub(super) fn decode(
    bytes: &[u8],
    limits: &DecodeLimits,
    announce: impl FnOnce(u64),
) -> Result<Picture, VisionError> {
    let file = avif_parse::read_avif(&mut &*bytes).map_err(container)?;
    let header = file.primary_item_metadata().map_err(container)?;
    let (width, height) = (header.max_frame_width.get(), header.max_frame_height.get());
    limits.check(width, height)?;
    announce(u64::from(width) * u64::from(height));

    let colour = Planes::of(&file.primary_item, limits)?;
    let rgb = colour.rgb();
    let properties = Properties::of(bytes);
    let image = match opacity(&file, limits)? {
        Some(alpha) if (alpha.width, alpha.height) == (colour.width, colour.height) => {
            let alpha = alpha.luma();
            let mut rgba = Vec::with_capacity(alpha.len() * 4);
            for (&[r, g, b], &a) in rgb.as_chunks::<3>().0.iter().zip(&alpha) {
                rgba.extend([r, g, b].map(|c| {
                    if file.premultiplied_alpha {
                        divided(c, a)
                    } else {
                        c
                    }
                }));
                rgba.push(a);
            }
            RgbaImage::from_raw(colour.width, colour.height, rgba).map(DynamicImage::ImageRgba8)
        }
        Some(_) => return Err(damaged("its opacity has other sides than its colours")),
        None => RgbImage::from_raw(colour.width, colour.height, rgb).map(DynamicImage::ImageRgb8),
    };
    let mut image = image.ok_or_else(|| damaged("its sides do not fit its pixels"))?;
    for turn in properties.turns {
        image.apply_orientation(turn);
    }
    Ok(Picture {
        image,
        profile: properties.profile,
    })
}

fn opacity(file: &AvifData, limits: &DecodeLimits) -> Result<Option<Planes>, VisionError> {
    file.alpha_item
        .as_deref()
        .map(|item| Planes::of(item, limits))
        .transpose()
}

/// A colour that was multiplied by its opacity, without it.
fn divided(colour: u8, alpha: u8) -> u8 {
    let (colour, alpha) = (u32::from(colour), u32::from(alpha));
    (colour * 255 + alpha / 2)
        .checked_div(alpha)
        .unwrap_or(0)
        .min(255) as u8
}

/// A decoded frame in 8 bits a sample: luma, and two of chroma unless it is grey.
struct Planes {
    width: u32,
    height: u32,
    layout: PixelLayout,
    matrix: MatrixCoefficients,
    full_range: bool,
    /// Samples and the number of them in a line.
    planes: Vec<(Vec<u8>, u32)>,
}

impl Planes {
    fn of(item: &[u8], limits: &DecodeLimits) -> Result<Self, VisionError> {
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_frame_size_limit(u32::try_from(limits.max_pixels).unwrap_or(u32::MAX));
        let mut decoder = Decoder::with_settings(&settings).map_err(damaged)?;
        match decoder.send_data(item.to_vec(), None, None, None) {
            Err(error) if !error.is_again() => return Err(damaged(error)),
            _ => (),
        }
        let frame = loop {
            match decoder.get_picture() {
                Ok(frame) => break frame,
                Err(error) if error.is_again() => match decoder.send_pending_data() {
                    Ok(()) => return Err(damaged("it holds no whole frame")),
                    Err(error) if error.is_again() => (),
                    Err(error) => return Err(damaged(error)),
                },
                Err(error) => return Err(damaged(error)),
            }
        };
        let (width, height) = (frame.width(), frame.height());
        limits.check(width, height)?;
        let layout = frame.pixel_layout();
        let components = match layout {
            PixelLayout::I400 => &[PlanarImageComponent::Y][..],
            _ => &[
                PlanarImageComponent::Y,
                PlanarImageComponent::U,
                PlanarImageComponent::V,
            ],
        };
        // deeper samples stand in two bytes, strides are in bytes
        let excess = frame
            .bits_per_component()
            .map_or(0, |bits| bits.0.saturating_sub(8));
        let planes = components.iter().map(|&component| {
            let (plane, stride) = (frame.plane(component), frame.stride(component));
            if frame.bit_depth() == 8 {
                return (plane.to_vec(), stride);
            }
            let eight = |&pair: &[u8; 2]| (u16::from_ne_bytes(pair) >> excess).min(255) as u8;
            (plane.as_chunks().0.iter().map(eight).collect(), stride / 2)
        });
        Ok(Self {
            width,
            height,
            layout,
            matrix: frame.matrix_coefficients(),
            full_range: frame.color_range() == YUVRange::Full,
            planes: planes.collect(),
        })
    }

    /// Luma alone, lines without padding, in its full range.
    fn luma(&self) -> Vec<u8> {
        let (plane, stride) = &self.planes[0];
        let lines = plane.chunks(*stride as usize).take(self.height as usize);
        let luma = lines.flat_map(|line| line[..self.width as usize].iter().copied());
        if self.full_range {
            luma.collect()
        } else {
            luma.map(expand).collect()
        }
    }

    /// RGB, lines without padding; the nearest sample of chroma (ITU-T H.273, 8.3).
    fn rgb(&self) -> Vec<u8> {
        let (sub_x, sub_y) = match self.layout {
            PixelLayout::I420 => (1, 1),
            PixelLayout::I422 => (1, 0),
            PixelLayout::I400 | PixelLayout::I444 => (0, 0),
        };
        let line = |component: usize, y: usize| {
            let (plane, stride) = &self.planes[component];
            &plane[y * *stride as usize..]
        };
        let grey = self.layout == PixelLayout::I400;
        let convert = self.conversion();
        let (width, height) = (self.width as usize, self.height as usize);
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            let luma = &line(0, y)[..width];
            if grey {
                rgb.extend(luma.iter().flat_map(|&y| convert([y, 128, 128])));
                continue;
            }
            let (cb, cr) = (line(1, y >> sub_y), line(2, y >> sub_y));
            rgb.extend((0..width).flat_map(|x| convert([luma[x], cb[x >> sub_x], cr[x >> sub_x]])));
        }
        rgb
    }

    /// From luma and chroma to red, green and blue.
    fn conversion(&self) -> impl Fn([u8; 3]) -> [u8; 3] + use<> {
        let (kr, kb) = match self.matrix {
            MatrixCoefficients::BT709 => (0.2126, 0.0722),
            MatrixCoefficients::BT470M => (0.30, 0.11),
            MatrixCoefficients::ST240M => (0.212, 0.087),
            MatrixCoefficients::BT2020NonConstantLuminance | MatrixCoefficients::BT2020ConstantLuminance => {
                (0.2627, 0.0593)
            }
            // unspecified is BT.601 by the specification of the format
            _ => (0.299, 0.114),
        };
        let kg = 1.0 - kr - kb;
        let identity = self.matrix == MatrixCoefficients::Identity && self.layout == PixelLayout::I444;
        let (black, luma_gain, chroma_gain) = if self.full_range {
            (0.0, 1.0, 1.0)
        } else {
            (16.0, 255.0 / 219.0, 255.0 / 224.0)
        };
        move |samples| {
            let [first, second, third] = samples.map(f32::from);
            let luma = |sample: f32| (sample - black) * luma_gain;
            let colour = if identity {
                [luma(third), luma(first), luma(second)]
            } else {
                let (y, cb, cr) = (
                    luma(first),
                    (second - 128.0) * chroma_gain,
                    (third - 128.0) * chroma_gain,
                );
                let red = 2.0 * (1.0 - kr) * cr;
                let blue = 2.0 * (1.0 - kb) * cb;
                [y + red, y - (kr * red + kb * blue) / kg, y + blue]
            };
            // `as` keeps to 0 to 255
            colour.map(|c| (c + 0.5) as u8)
        }
    }
}

/// A sample of the limited range (16 to 235) in the full one.
fn expand(sample: u8) -> u8 {
    let above = u32::from(sample.clamp(16, 235)) - 16;
    #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
    let full = ((above * 255 + 109) / 219) as u8;
    full
}

/// What the container says of the picture beside its pixels.
#[derive(Default)]
struct Properties {
    /// ICC profile.
    profile: Option<Vec<u8>>,
    /// To be done one after the other.
    turns: Vec<Orientation>,
}

impl Properties {
    /// Reads `meta/iprp/ipco` (ISO/IEC 14496-12, 23008-12). The files in the wild hold one picture, so that its properties
    /// are all there are; what cannot be read says nothing.
    fn of(file: &[u8]) -> Self {
        let mut found = Self::default();
        let list = child(file, *b"meta")
            .and_then(|meta| child(meta.get(4..)?, *b"iprp"))
            .and_then(|properties| child(properties, *b"ipco"));
        for (kind, content) in list.into_iter().flat_map(boxes) {
            match (&kind, content) {
                (b"colr", [b'p', b'r' | b'I', b'o' | b'C', b'f' | b'C', profile @ ..]) => {
                    found.profile = Some(profile.to_vec());
                }
                (b"irot", [quarters, ..]) => found.turns.push(match quarters & 3 {
                    0 => Orientation::NoTransforms,
                    1 => Orientation::Rotate270,
                    2 => Orientation::Rotate180,
                    _ => Orientation::Rotate90,
                }),
                (b"imir", [axis, ..]) => found.turns.push(if axis & 1 == 0 {
                    Orientation::FlipVertical
                } else {
                    Orientation::FlipHorizontal
                }),
                _ => (),
            }
        }
        found
    }
}

fn child(bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    boxes(bytes).find_map(|(found, content)| (found == kind).then_some(content))
}

/// The boxes that follow each other in `bytes`, as far as they are whole: kind and content.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (&size, rest) = bytes.split_first_chunk::<4>()?;
        let (&kind, _) = rest.split_first_chunk::<4>()?;
        let size = match u32::from_be_bytes(size) {
            0 => bytes.len(),
            size => size as usize,
        };
        let content = bytes.get(8..size)?;
        bytes = &bytes[size..];
        Some((kind, content))
    })
}

fn container(error: avif_parse::Error) -> VisionError {
    let format = FormatName(ImageFormat::Avif);
    match error {
        avif_parse::Error::Unsupported(what) => VisionError::Unsupported {
            what: format!("this kind of {format} ({what})"),
        },
        avif_parse::Error::UnexpectedEOF => VisionError::Truncated {
            format,
            detail: error.to_string(),
        },
        _ => damaged(error),
    }
}

fn damaged(detail: impl ToString) -> VisionError {
    VisionError::Damaged {
        format: FormatName(ImageFormat::Avif),
        detail: detail.to_string(),
    }
}
