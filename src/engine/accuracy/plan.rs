//! Who is a reference, who is attacked, who lends pictures: decided from the list of files and a seed alone.

use std::path::PathBuf;

use globset::GlobSet;

use super::{AccuracyError, AccuracyOptions, Kind, LEAST_IMAGES};
use crate::engine::scan::walk;
use crate::vision::attack::{Dice, Edit, Family, Half, Strength, chain};

/// One picture: a file, whole or in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// Position in [`Plan::files`].
    pub(super) file: usize,
    /// The part of it.
    pub(super) part: Option<Half>,
}

/// A picture to look for.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) kind: Kind,
    pub(super) source: Source,
    pub(super) edits: Vec<Edit>,
    /// Position in [`Plan::references`].
    pub(super) truth: Option<usize>,
    /// Seed of the edits.
    pub(super) seed: u64,
}

/// All of it.
pub(super) struct Plan {
    /// Path, and the name as the arguments lead to it.
    pub(super) files: Vec<(PathBuf, String)>,
    pub(super) references: Vec<Source>,
    pub(super) queries: Vec<Query>,
    /// Files whose pictures go into pastes and collages, and nowhere else.
    pub(super) lenders: Vec<usize>,
}

/// Of the images, one in so many lends its picture, is no reference, or is halved.
const LENDERS: usize = 15;
const LEFT_OUT: usize = 12;
const HALVED: usize = 6;
/// Attacked queries of each image that is no reference.
const ATTACKS_LEFT_OUT: usize = 6;
/// Chains for each query of a family and strength: 65 thirds, as in the training code's evaluation.
const CHAINS: (usize, usize) = (65, 3);
/// Lengths of chains, beside the first edit.
const LONGEST_CHAIN: u8 = 3;
/// Queries without a match, in hundredths of those with one, at most.
const WITHOUT_MATCH: usize = 67;

impl Plan {
    pub(super) fn new(options: &AccuracyOptions) -> Result<Self, AccuracyError> {
        let list = |paths: &[PathBuf], salt: u64| -> Result<Vec<(PathBuf, String)>, AccuracyError> {
            if paths.is_empty() {
                return Ok(Vec::new());
            }
            let walk = walk::walk(paths, &[], &GlobSet::empty())?;
            let mut files: Vec<_> = walk.files.into_iter().map(|f| (f.path, f.name)).collect();
            shuffle(&mut files, &mut Dice::new(options.seed ^ salt));
            files.truncate(options.limit);
            Ok(files)
        };
        let own = list(&options.paths, 0x6f)?;
        let unrelated = list(&options.without_match, 0x64)?;
        if own.len() < LEAST_IMAGES {
            return Err(AccuracyError::TooFew { found: own.len() });
        }
        let mut plan = Self {
            references: Vec::new(),
            queries: Vec::new(),
            lenders: Vec::new(),
            files: own,
        };
        let own = plan.files.len();
        plan.files.extend(unrelated);
        let mut dice = Dice::new(options.seed ^ 0x71);
        plan.share_out(own, &mut dice);
        plan.with_match(options, own, &mut dice);
        plan.without_match(own, &mut dice);
        Ok(plan)
    }

    /// Files before `own` are the user's, the others match nothing. Roles are dealt out in the shuffled order.
    fn share_out(&mut self, own: usize, dice: &mut Dice) {
        let (lenders, left_out) = roles(own);
        self.lenders.extend(0..lenders);
        for file in lenders + left_out..own {
            let part = (file % HALVED == 0).then_some(Half::Left);
            self.references.push(Source { file, part });
        }
        let unrelated = self.files.len() - own;
        let (lenders, queries) = (unrelated / LENDERS, unrelated.div_ceil(4));
        self.lenders.extend(own..own + lenders);
        // A quarter asks, the rest is asked: photographs of one thing fall on either side.
        let references = own + lenders + queries..self.files.len();
        self.references
            .extend(references.map(|file| Source { file, part: None }));
        shuffle(&mut self.references, dice);
    }

    fn with_match(&mut self, options: &AccuracyOptions, own: usize, dice: &mut Dice) {
        let whole = |plan: &Self, is_own: bool| -> Vec<usize> {
            (0..plan.references.len())
                .filter(|&r| plan.references[r].part.is_none() && (plan.references[r].file < own) == is_own)
                .collect()
        };
        let (mine, others) = (whole(self, true), whole(self, false));
        let add = |plan: &mut Self, kind: Kind, edits: Vec<Edit>, dice: &mut Dice| {
            // One in four is of the other folder, where there is one.
            let from = if others.is_empty() || dice.below(4) < 3 {
                &mine
            } else {
                &others
            };
            let truth = from[dice.index(from.len())];
            let source = plan.references[truth];
            plan.push(kind, source, edits, Some(truth), dice);
        };
        for family in Family::ALL {
            for strength in Strength::ALL {
                let edit = Edit { family, strength };
                for _ in 0..options.queries {
                    add(self, Kind::Edited(edit), vec![edit], dice);
                }
            }
        }
        let (times, per) = CHAINS;
        for further in 1..=LONGEST_CHAIN {
            for _ in 0..(options.queries * times).div_ceil(per) {
                let edits = chain(usize::from(further) + 1, dice);
                add(self, Kind::Chain(further), edits, dice);
            }
        }
    }

    fn without_match(&mut self, own: usize, dice: &mut Dice) {
        let most = self.queries.len() * WITHOUT_MATCH / 100;
        let mut drafts: Vec<(Kind, Source, bool)> = Vec::new();
        let (lenders, left_out) = roles(own);
        for file in lenders..lenders + left_out {
            let source = Source { file, part: None };
            drafts.extend([(Kind::NoMatch, source, true); ATTACKS_LEFT_OUT]);
        }
        for source in &self.references {
            if source.part.is_some() {
                let other = Source {
                    part: Some(Half::Right),
                    ..*source
                };
                drafts.push((Kind::OtherHalf, other, dice.below(10) < 3));
            }
        }
        let unrelated = self.files.len() - own;
        let first = own + unrelated / LENDERS;
        for file in first..(first + unrelated.div_ceil(4)).min(self.files.len()) {
            let source = Source { file, part: None };
            drafts.extend([(Kind::Unrelated, source, false), (Kind::Unrelated, source, true)]);
        }
        shuffle(&mut drafts, dice);
        drafts.truncate(most);
        let trained: Vec<Family> = Family::ALL.into_iter().filter(|f| !f.is_held_out()).collect();
        for (kind, source, attacked) in drafts {
            let edits = if attacked {
                vec![Edit {
                    family: trained[dice.index(trained.len())],
                    strength: Strength::ALL[dice.index(3)],
                }]
            } else {
                Vec::new()
            };
            self.push(kind, source, edits, None, dice);
        }
    }

    fn push(&mut self, kind: Kind, source: Source, edits: Vec<Edit>, truth: Option<usize>, dice: &mut Dice) {
        let seed = u64::from(dice.below(u32::MAX)) << 32 | u64::from(dice.below(u32::MAX));
        self.queries.push(Query {
            kind,
            source,
            edits,
            truth,
            seed,
        });
    }
}

/// Of the user's images, how many lend pictures and how many are left out of the references.
fn roles(own: usize) -> (usize, usize) {
    (own.div_ceil(LENDERS), own.div_ceil(LEFT_OUT))
}

fn shuffle<T>(items: &mut [T], dice: &mut Dice) {
    for i in (1..items.len()).rev() {
        items.swap(i, dice.index(i + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::DecodeLimits;

    #[test]
    fn roles_do_not_mix() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mine, others) = (folder.path().join("mine"), folder.path().join("others"));
        for (path, count) in [(&mine, 90), (&others, 40)] {
            std::fs::create_dir(path).expect("a folder");
            for i in 0..count {
                std::fs::write(path.join(format!("{i}.jpg")), [0]).expect("a file");
            }
        }
        let options = AccuracyOptions {
            paths: vec![mine.clone()],
            without_match: vec![others],
            queries: 3,
            limit: 1000,
            cascade: None,
            seed: 1,
            limits: DecodeLimits::default(),
        };
        let plan = Plan::new(&options).expect("enough files");
        let referred: Vec<usize> = plan.references.iter().map(|s| s.file).collect();
        assert!(plan.lenders.iter().all(|l| !referred.contains(l)));
        for query in &plan.queries {
            assert!(!plan.lenders.contains(&query.source.file));
            match (query.kind, query.truth) {
                (Kind::Edited(_) | Kind::Chain(_), Some(truth)) => {
                    assert_eq!(plan.references[truth], query.source);
                }
                (Kind::OtherHalf, None) => assert!(referred.contains(&query.source.file)),
                (Kind::NoMatch | Kind::Unrelated, None) => assert!(!referred.contains(&query.source.file)),
                other => panic!("{other:?}"),
            }
        }
        let with = plan.queries.iter().filter(|q| q.truth.is_some()).count();
        assert_eq!(with, Family::ALL.len() * 9 + 3 * 65);
        assert!(plan.queries.len() > with + 50);
        let again = Plan::new(&options).expect("enough files");
        assert!(
            again
                .queries
                .iter()
                .zip(&plan.queries)
                .all(|(a, b)| a.seed == b.seed && a.source == b.source)
        );
        let few = AccuracyOptions { limit: 5, ..options };
        assert!(matches!(Plan::new(&few), Err(AccuracyError::TooFew { found: 5 })));
    }
}
