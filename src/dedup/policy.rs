//! Which image of a group is kept.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// What a policy looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Path or name: the last resort, so that a choice never depends on the order of the input.
    pub name: String,
    /// Width times height.
    pub pixels: u64,
    /// Size in bytes.
    pub size: u64,
    /// When the file was last modified (or the image taken in), in seconds since 1970.
    pub modified: i64,
    /// From a reference folder: always preferred as keeper, never removed.
    pub reference: bool,
}

/// One preference between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
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
    pub const ALL: [Self; 7] = [
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
    "{text:?} is not a keep policy: name one or more of largest-resolution, largest-file, smallest-file, oldest, newest, path, shortest-path, separated by commas"
)]
pub struct UnknownPolicy {
    text: String,
}

impl Default for KeepPolicy {
    /// Most pixels, then most bytes, then the oldest.
    fn default() -> Self {
        Self(vec![
            Preference::LargestResolution,
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
            reference: false,
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
    fn a_reference_is_always_kept() {
        let mut small = candidate("z", 1, 1, 1);
        small.reference = true;
        let large = candidate("a", 100, 100, 0);
        assert_eq!(KeepPolicy::default().compare(&small, &large), Ordering::Less);
    }
}
