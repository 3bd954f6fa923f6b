//! The kinds of edits and their strengths.

/// A kind of edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each variant is the edit it names; `describe` says more"
)]
pub enum Family {
    Resize,
    Jpeg,
    Recompress,
    Downscale,
    Aspect,
    Mirror,
    RotateRight,
    RotateSmall,
    RotateAny,
    Perspective,
    CropSlight,
    Crop,
    CropThin,
    Border,
    Padding,
    Blur,
    Noise,
    Tone,
    Colour,
    Grey,
    Text,
    Logo,
    Stickers,
    MemeBand,
    HalfReplaced,
    Stripes,
    Pixelate,
    Blend,
    Paste,
    Screenshot,
    Collage,
    Halftone,
    Wave,
    Fisheye,
    Moire,
    Cartoon,
    Watermark,
    Weather,
    MiddleCut,
}

/// How strong an edit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Strength {
    Mild,
    Medium,
    Strong,
}

/// One edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edit {
    /// What is done.
    pub family: Family,
    /// How much of it.
    pub strength: Strength,
}

/// A half of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Half {
    Left,
    Right,
}

impl Strength {
    /// All strengths.
    pub const ALL: [Self; 3] = [Self::Mild, Self::Medium, Self::Strong];

    /// The strength's name: `mild`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mild => "mild",
            Self::Medium => "medium",
            Self::Strong => "strong",
        }
    }

    /// The entry of this strength.
    pub(super) const fn of<T: Copy>(self, [mild, medium, strong]: [T; 3]) -> T {
        match self {
            Self::Mild => mild,
            Self::Medium => medium,
            Self::Strong => strong,
        }
    }
}

impl Family {
    /// All families.
    pub const ALL: [Self; 39] = [
        Self::Resize,
        Self::Jpeg,
        Self::Recompress,
        Self::Downscale,
        Self::Aspect,
        Self::Mirror,
        Self::RotateRight,
        Self::RotateSmall,
        Self::RotateAny,
        Self::Perspective,
        Self::CropSlight,
        Self::Crop,
        Self::CropThin,
        Self::Border,
        Self::Padding,
        Self::Blur,
        Self::Noise,
        Self::Tone,
        Self::Colour,
        Self::Grey,
        Self::Text,
        Self::Logo,
        Self::Stickers,
        Self::MemeBand,
        Self::HalfReplaced,
        Self::Stripes,
        Self::Pixelate,
        Self::Blend,
        Self::Paste,
        Self::Screenshot,
        Self::Collage,
        Self::Halftone,
        Self::Wave,
        Self::Fisheye,
        Self::Moire,
        Self::Cartoon,
        Self::Watermark,
        Self::Weather,
        Self::MiddleCut,
    ];

    /// Families that are combined in chains; all of them are trained on.
    pub(super) const CHAINED: [Self; 18] = [
        Self::Recompress,
        Self::Downscale,
        Self::Mirror,
        Self::RotateSmall,
        Self::Crop,
        Self::Padding,
        Self::Blur,
        Self::Noise,
        Self::Tone,
        Self::Colour,
        Self::Text,
        Self::Stickers,
        Self::MemeBand,
        Self::Stripes,
        Self::Paste,
        Self::Screenshot,
        Self::Aspect,
        Self::Perspective,
    ];

    /// The family's name: `rotate_small`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resize => "resize",
            Self::Jpeg => "jpeg",
            Self::Recompress => "recompress",
            Self::Downscale => "downscale",
            Self::Aspect => "aspect",
            Self::Mirror => "mirror",
            Self::RotateRight => "rotate90",
            Self::RotateSmall => "rotate_small",
            Self::RotateAny => "rotate_any",
            Self::Perspective => "perspective",
            Self::CropSlight => "crop_slight",
            Self::Crop => "crop",
            Self::CropThin => "crop_thin",
            Self::Border => "border",
            Self::Padding => "padding",
            Self::Blur => "blur",
            Self::Noise => "noise",
            Self::Tone => "tone",
            Self::Colour => "colour",
            Self::Grey => "grey_filter",
            Self::Text => "text",
            Self::Logo => "logo",
            Self::Stickers => "stickers",
            Self::MemeBand => "meme_band",
            Self::HalfReplaced => "half_replaced",
            Self::Stripes => "stripes",
            Self::Pixelate => "pixelate",
            Self::Blend => "blend",
            Self::Paste => "paste",
            Self::Screenshot => "screenshot",
            Self::Collage => "collage",
            Self::Halftone => "halftone",
            Self::Wave => "wave",
            Self::Fisheye => "fisheye",
            Self::Moire => "moire",
            Self::Cartoon => "cartoon",
            Self::Watermark => "watermark",
            Self::Weather => "weather",
            Self::MiddleCut => "middle_cut",
        }
    }

    /// What is done at the three strengths.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Resize => "resized to 80 / 60 / 40 %",
            Self::Jpeg => "JPEG of quality 80 / 55 / 30",
            Self::Recompress => "JPEG of quality 60 / 25 / 8",
            Self::Downscale => "long side 128 / 64 / 32 px, and back",
            Self::Aspect => "one side stretched by 1.15 / 1.4 / 1.9",
            Self::Mirror => "mirrored; JPEG of quality 90 / 60 / 30",
            Self::RotateRight => "turned by 90, 180, 270 degrees; JPEG of quality 90 / 60 / 30",
            Self::RotateSmall => "turned by 4 / 9 / 15 degrees",
            Self::RotateAny => "turned by about 25 / 60 / 120 degrees",
            Self::Perspective => "corners moved inwards by up to 8 / 16 / 26 %",
            Self::CropSlight => "crop keeping 95 / 90 / 81 % of the area",
            Self::Crop => "crop keeping 70 / 50 / 30 % of the area",
            Self::CropThin => "crop keeping 60 / 45 / 33 % of one side",
            Self::Border => "border of 2 / 4 / 8 % of the long side",
            Self::Padding => "border of 8 / 18 / 35 % a side, flat or blurred",
            Self::Blur => "blur of 1 / 2 / 4 % of the short side",
            Self::Noise => "noise of 12 / 28 / 55 grey levels",
            Self::Tone => "brightness, contrast, gamma",
            Self::Colour => "hue and saturation",
            Self::Grey => "grey / sepia / posterised",
            Self::Text => "lines of text over 6 / 15 / 30 % of the area",
            Self::Logo => "logo over 5 / 10 / 20 % of the area",
            Self::Stickers => "2 / 5 / 10 stickers",
            Self::MemeBand => "caption bands of 12 / 22 / 38 % of the height",
            Self::HalfReplaced => "20 / 35 / 50 % replaced by another image",
            Self::Stripes => "stripes over 12 / 25 / 40 %",
            Self::Pixelate => "64 / 40 / 24 cells along the long side",
            Self::Blend => "another image mixed in at 20 / 33 / 45 %",
            Self::Paste => "covers 50 / 25 / 12 % of another image",
            Self::Screenshot => "covers 60 / 35 / 18 % of a screen",
            Self::Collage => "one of 2 / 4 / 6 in a collage",
            Self::Halftone => "dithered to 8 / 4 / 2 levels",
            Self::Wave => "waves of 1.5 / 3 / 5 % of the side",
            Self::Fisheye => "barrel distortion",
            Self::Moire => "photograph of a screen",
            Self::Cartoon => "few tones and dark edges",
            Self::Watermark => "translucent text all over",
            Self::Weather => "rain or snow, and haze",
            Self::MiddleCut => "10 / 22 / 35 % of the width cut out of the middle",
        }
    }

    /// Whether the network was never trained on such edits, and nothing may be tuned on them: what is measured on
    /// these families is a forecast.
    #[must_use]
    pub const fn is_held_out(self) -> bool {
        matches!(
            self,
            Self::Halftone
                | Self::Wave
                | Self::Fisheye
                | Self::Moire
                | Self::Cartoon
                | Self::Watermark
                | Self::Weather
                | Self::MiddleCut
        )
    }

    /// Whether the training code's evaluation has no such family: what most copies in the world have been through.
    #[must_use]
    pub const fn is_everyday(self) -> bool {
        matches!(
            self,
            Self::Resize | Self::Jpeg | Self::CropSlight | Self::Logo | Self::Border
        )
    }

    /// Whether the edit is what happens to a file on its way: everybody should find all of these.
    #[must_use]
    pub const fn is_mild(self) -> bool {
        matches!(self, Self::Resize | Self::Jpeg)
    }
}
