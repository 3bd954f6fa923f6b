//! What is to be done to files: decided by a scan, read and perhaps edited by people, carried out by
//! [`apply`](super::apply). A JSON file.

use serde::{Deserialize, Serialize};

use crate::types::MatchClass;

/// Format version of plans.
pub const VERSION: u32 = 1;

/// A file as it was when it was scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Absolute path.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the bytes, 64 hexadecimal digits.
    pub blake3: String,
}

/// A file to be removed, with the reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Removal {
    /// The file.
    #[serde(flatten)]
    pub file: PlannedFile,
    /// Class of its match with the keeper.
    pub class: String,
    /// Probability of the match.
    pub probability: f32,
}

/// One group: what stays and what goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedGroup {
    /// Stays.
    pub keep: PlannedFile,
    /// Go.
    pub remove: Vec<Removal>,
}

/// A whole plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The groups.
    pub groups: Vec<PlannedGroup>,
}

/// A file of a group, as the planner sees it.
#[derive(Debug, Clone)]
pub struct GroupFile {
    /// The file.
    pub file: PlannedFile,
    /// In a reference folder, or a person said that it stays: never removed.
    pub reference: bool,
    /// The keeper shows all of it, but for a plain border, holds what of the file cannot be seen in one picture, and is not as likely
    /// to be the edited one of the two.
    pub covered: bool,
    /// Class and probability of its match with the keeper.
    pub class: MatchClass,
    /// See `class`.
    pub probability: f32,
}

impl Plan {
    /// A plan that keeps the first of each group and removes the others, except files of reference folders, files
    /// that are merely similar, and files that hold what the kept one does not: a collage, a screenshot around it, an animation.
    /// Where nothing tells which of two was edited, both stay. Groups of which nothing is removed are left out.
    #[must_use]
    pub fn of(groups: impl IntoIterator<Item = (PlannedFile, Vec<GroupFile>)>) -> Self {
        let groups = groups
            .into_iter()
            .map(|(keep, members)| PlannedGroup {
                keep,
                remove: members
                    .into_iter()
                    .filter(|m| !m.reference && m.covered && m.class > MatchClass::Similar)
                    .map(|m| Removal {
                        file: m.file,
                        class: m.class.to_string(),
                        probability: m.probability,
                    })
                    .collect(),
            })
            .filter(|group: &PlannedGroup| !group.remove.is_empty())
            .collect();
        Self {
            version: VERSION,
            groups,
        }
    }
}
