//! Which image of a group is kept.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// What a policy looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Path or name: the last resort, so that a choice never depends on the order of the input.
    pub name: String,
    /// Width times height.
    pub pixels: u64,
    /// Size in bytes.
    pub size: u64,
    /// When the file was last modified (or the image taken in), in seconds since 1970.
    pub modified: i64,
    /// From a reference folder, or a person said that it stays: always preferred as keeper, never removed.
    pub reference: bool,
    /// The file says which camera took the picture, or when: copies often lose that.
    pub camera: bool,
    /// Of a format that loses detail. Where the pixels are equal, such a file is the source of one that does not.
    pub lossy: bool,
    /// Its matches say that it was altered: cropped, bordered, written on. See [`originality`](super::originality).
    pub altered: bool,
    /// Files with its very pixels, itself not counted.
    pub copies: u64,
    /// How well its matches and its copies agree with it, summed up in thousandths: most of the image that the others were
    /// made from.
    pub agreement: u64,
    /// An image that shows the same frame agrees clearly better with the others: this one was turned, toned or mirrored.
    pub turned: bool,
}

/// One preference between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// Not cropped, bordered or written on, as far as its matches tell.
    Unedited,
    /// With the data of a camera, then not turned, toned or mirrored, as far as its matches tell.
    Original,
    /// More pixels.
    LargestResolution,
    /// More bytes.
    LargestFile,
    /// Fewer bytes.
    SmallestFile,
    /// Modified earlier.
    Oldest,
    /// Modified later.
    Newest,
    /// First path in the order of its characters.
    PathOrder,
    /// Path with fewest characters.
    ShortestPath,
}

impl Preference {
    /// All preferences.
    pub const ALL: [Self; 9] = [
        Self::Unedited,
        Self::Original,
        Self::LargestResolution,
        Self::LargestFile,
        Self::SmallestFile,
        Self::Oldest,
        Self::Newest,
        Self::PathOrder,
        Self::ShortestPath,
    ];

    /// The preference as written on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unedited => "unedited",
            Self::Original => "original",
            Self::LargestResolution => "largest-resolution",
            Self::LargestFile => "largest-file",
            Self::SmallestFile => "smallest-file",
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::PathOrder => "path",
            Self::ShortestPath => "shortest-path",
        }
    }

    /// `Less` when `a` is to be kept rather than `b`.
    fn compare(self, a: &Candidate, b: &Candidate) -> Ordering {
        match self {
            Self::Unedited => a.altered.cmp(&b.altered),
            Self::Original => b.camera.cmp(&a.camera).then(a.turned.cmp(&b.turned)),
            Self::LargestResolution => b.pixels.cmp(&a.pixels),
            Self::LargestFile => b.size.cmp(&a.size),
            Self::SmallestFile => a.size.cmp(&b.size),
            Self::Oldest => a.modified.cmp(&b.modified),
            Self::Newest => b.modified.cmp(&a.modified),
            Self::PathOrder => a.name.cmp(&b.name),
            Self::ShortestPath => a.name.chars().count().cmp(&b.name.chars().count()),
        }
    }
}

/// Preferences in order: the first that tells two images apart decides. Images from a reference folder come first
/// in any case, and the path decides at last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepPolicy(Vec<Preference>);

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a keep policy: name one or more of unedited, original, largest-resolution, largest-file, smallest-file, oldest, newest, path, shortest-path, separated by commas"
)]
pub struct UnknownPolicy {
    text: String,
}

impl Default for KeepPolicy {
    /// Unedited, then most pixels, then closest to the original, then most bytes, then the oldest.
    fn default() -> Self {
        Self(vec![
            Preference::Unedited,
            Preference::LargestResolution,
            Preference::Original,
            Preference::LargestFile,
            Preference::Oldest,
        ])
    }
}

impl KeepPolicy {
    /// `Less` when `a` is to be kept rather than `b`; `Equal` only for candidates of one name.
    #[must_use]
    pub fn compare(&self, a: &Candidate, b: &Candidate) -> Ordering {
        let preferred = b.reference.cmp(&a.reference);
        self.0
            .iter()
            .fold(preferred, |order, p| order.then_with(|| p.compare(a, b)))
            .then_with(|| a.name.cmp(&b.name))
    }

    /// Whether it asks which images were edited.
    #[must_use]
    pub fn wants_unedited(&self) -> bool {
        self.0.contains(&Preference::Unedited)
    }

    /// The same for two images of equal pixels: a lossy file comes first, because a lossless one with its pixels can only
    /// have been made from it.
    #[must_use]
    pub fn compare_equal_pixels(&self, a: &Candidate, b: &Candidate) -> Ordering {
        let wants_source = self.wants_unedited();
        let preferred = b.reference.cmp(&a.reference);
        let source = b.camera.cmp(&a.camera).then(b.lossy.cmp(&a.lossy));
        preferred
            .then(if wants_source { source } else { Ordering::Equal })
            .then_with(|| self.compare(a, b))
    }
}

impl FromStr for KeepPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |word: &str| Preference::ALL.into_iter().find(|p| p.as_str() == word.trim());
        let preferences: Option<Vec<Preference>> = text.split(',').map(named).collect();
        preferences.map(Self).ok_or_else(|| UnknownPolicy {
            text: text.chars().take(80).collect(),
        })
    }
}

impl fmt::Display for KeepPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|p| p.as_str()).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, pixels: u64, size: u64, modified: i64) -> Candidate {
        Candidate {
            name: name.to_owned(),
            pixels,
            size,
            modified,
            ..Candidate::default()
        }
    }

    #[test]
    fn the_first_preference_that_tells_apart_decides() {
        let large = candidate("b", 100, 5, 9);
        let heavy = candidate("a", 50, 9, 1);
        let best = |policy: &str| {
            let policy: KeepPolicy = policy.parse().expect("a policy");
            match policy.compare(&large, &heavy) {
                Ordering::Less => "large",
                _ => "heavy",
            }
        };
        assert_eq!(best("largest-resolution"), "large");
        assert_eq!(best("largest-file"), "heavy");
        assert_eq!(best("smallest-file,oldest"), "large");
        assert_eq!(best("oldest"), "heavy");
        assert_eq!(best("newest"), "large");
        assert_eq!(best("shortest-path,path"), "heavy");
        assert!("biggest".parse::<KeepPolicy>().is_err() && "".parse::<KeepPolicy>().is_err());
        assert_eq!(
            KeepPolicy::default().to_string().parse(),
            Ok(KeepPolicy::default())
        );
    }

    #[test]
    fn the_unedited_image_is_kept_though_others_are_larger() {
        let original = candidate("original", 100, 5, 9);
        let written_on = Candidate {
            altered: true,
            ..candidate("edited", 150, 9, 1)
        };
        let turned = Candidate {
            turned: true,
            ..candidate("turned", 100, 9, 1)
        };
        let compressed = candidate("compressed", 100, 3, 1);
        let policy = KeepPolicy::default();
        assert_eq!(policy.compare(&original, &written_on), Ordering::Less);
        assert_eq!(policy.compare(&original, &turned), Ordering::Less);
        assert_eq!(policy.compare(&original, &compressed), Ordering::Less);
        let photograph = Candidate {
            camera: true,
            ..turned
        };
        assert_eq!(policy.compare(&photograph, &original), Ordering::Less);
    }

    #[test]
    fn of_equal_pixels_the_lossy_file_is_the_source() {
        let jpeg = Candidate {
            lossy: true,
            ..candidate("z.jpg", 100, 5, 9)
        };
        let png = candidate("a.png", 100, 50, 1);
        assert_eq!(
            KeepPolicy::default().compare_equal_pixels(&jpeg, &png),
            Ordering::Less
        );
        let largest: KeepPolicy = "largest-file".parse().expect("a policy");
        assert_eq!(largest.compare_equal_pixels(&jpeg, &png), Ordering::Greater);
    }

    #[test]
    fn a_reference_is_always_kept() {
        let mut small = candidate("z", 1, 1, 1);
        small.reference = true;
        let large = candidate("a", 100, 100, 0);
        assert_eq!(KeepPolicy::default().compare(&small, &large), Ordering::Less);
    }
}
