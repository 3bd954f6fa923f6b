//! Plans on real files in a temporary folder. The trash is the user's own, so it is not touched here.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Action, ApplyError, Outcome, apply, undo};
use crate::dedup::journal::{self, ActionKind, Journal};
use crate::dedup::plan::{Plan, PlannedFile, PlannedGroup, Removal, VERSION};

struct Album {
    folder: tempfile::TempDir,
}

impl Album {
    fn new() -> Self {
        let album = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        for (name, content) in [("keep", "picture"), ("same", "picture"), ("edited", "pictura")] {
            fs::write(album.path(name), content).expect("written");
        }
        album
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn planned(&self, name: &str) -> PlannedFile {
        let bytes = fs::read(self.path(name)).expect("it is there");
        PlannedFile {
            path: self.path(name).to_str().expect("UTF-8").to_owned(),
            size: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
        }
    }

    fn plan(&self) -> Plan {
        let removal = |name: &str| Removal {
            file: self.planned(name),
            class: "edited".to_owned(),
            probability: 0.99,
        };
        Plan {
            version: VERSION,
            groups: vec![PlannedGroup {
                keep: self.planned("keep"),
                remove: vec![removal("same"), removal("edited")],
            }],
        }
    }

    fn journal(&self) -> PathBuf {
        self.path("journal")
    }

    /// Applies for real; outcomes in the plan's order.
    fn apply(&self, plan: &Plan, kind: ActionKind) -> Vec<Outcome> {
        let action = Action {
            kind,
            to: (kind == ActionKind::Move).then(|| self.path("moved")),
        };
        let mut journal = Journal::create(&self.journal()).expect("a new file");
        let mut outcomes = Vec::new();
        apply(plan, &action, Some(&mut journal), &mut |_, outcome| {
            outcomes.push(outcome.clone())
        })
        .expect("the plan is sound");
        outcomes
    }

    fn undo(&self) -> Vec<Outcome> {
        let lines = journal::read(&self.journal()).expect("a journal");
        let mut journal = Journal::append(&self.journal()).expect("a journal");
        let mut outcomes = Vec::new();
        undo(&lines, &mut journal, &mut |_, outcome| {
            outcomes.push(outcome.clone())
        })
        .expect("writable");
        outcomes
    }
}

fn content(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn moving_keeps_the_survivor_and_is_undone() {
    let album = Album::new();
    fs::create_dir(album.path("moved")).expect("made");
    fs::write(album.path("moved/same"), "taken").expect("written");
    let plan = album.plan();
    assert_eq!(
        album.apply(&plan, ActionKind::Move),
        [Outcome::Done, Outcome::Done]
    );
    assert_eq!(content(&album.path("keep")).as_deref(), Some("picture"));
    assert!(!album.path("same").exists() && !album.path("edited").exists());
    assert_eq!(
        content(&album.path("moved/same")).as_deref(),
        Some("taken"),
        "nothing is overwritten"
    );
    assert_eq!(content(&album.path("moved/same (1)")).as_deref(), Some("picture"));

    assert_eq!(album.undo(), [Outcome::Done, Outcome::Done]);
    assert_eq!(content(&album.path("same")).as_deref(), Some("picture"));
    assert_eq!(content(&album.path("edited")).as_deref(), Some("pictura"));
    assert!(album.undo().is_empty(), "what was undone is settled");
}

#[test]
fn a_dry_run_changes_nothing_and_deleting_is_for_good() {
    let album = Album::new();
    let plan = album.plan();
    let delete = Action {
        kind: ActionKind::Delete,
        to: None,
    };
    let mut outcomes = Vec::new();
    apply(&plan, &delete, None, &mut |_, outcome| {
        outcomes.push(outcome.clone())
    })
    .expect("sound");
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
    assert!(album.path("same").exists());
    album.apply(&plan, ActionKind::Delete);
    assert!(!album.path("same").exists());
    assert!(
        album
            .undo()
            .iter()
            .all(|o| matches!(o, Outcome::Failed(reason) if reason.contains("for good")))
    );
}

#[test]
fn whatever_changed_since_the_scan_stays() {
    let album = Album::new();
    let plan = album.plan();
    fs::write(album.path("same"), "Picture").expect("written");
    fs::remove_file(album.path("edited")).expect("removed");
    let outcomes = album.apply(&plan, ActionKind::Delete);
    assert!(
        matches!(&outcomes[0], Outcome::Left(reason) if reason.contains("changed")),
        "{outcomes:?}"
    );
    assert!(
        matches!(&outcomes[1], Outcome::Left(reason) if reason.contains("gone")),
        "{outcomes:?}"
    );

    let album = Album::new();
    let plan = album.plan();
    fs::write(album.path("keep"), "pixture").expect("written");
    let outcomes = album.apply(&plan, ActionKind::Delete);
    assert!(
        outcomes.iter().all(|o| matches!(o, Outcome::Left(_))),
        "a changed keeper protects its group"
    );
    assert!(album.path("same").exists() && album.path("edited").exists());
}

#[test]
fn links_replace_equal_bytes_only_and_are_undone() {
    for kind in [ActionKind::Hardlink, ActionKind::Symlink, ActionKind::Reflink] {
        let album = Album::new();
        let outcomes = album.apply(&album.plan(), kind);
        assert_eq!(outcomes[0], Outcome::Done, "{kind:?}");
        assert!(
            matches!(&outcomes[1], Outcome::Left(reason) if reason.contains("differ")),
            "{outcomes:?}"
        );
        assert_eq!(content(&album.path("same")).as_deref(), Some("picture"));
        let metadata = fs::symlink_metadata(album.path("same")).expect("it is there");
        assert_eq!(metadata.is_symlink(), kind == ActionKind::Symlink);
        assert_eq!(album.undo(), [Outcome::Done]);
        // A file of its own again: the keeper may change without it.
        fs::write(album.path("keep"), "changed").expect("written");
        assert_eq!(
            content(&album.path("same")).as_deref(),
            Some("picture"),
            "{kind:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn the_survivor_under_another_path_is_not_removed() {
    let album = Album::new();
    let mut plan = album.plan();
    std::os::unix::fs::symlink(album.folder.path(), album.path("alias")).expect("linked");
    plan.groups[0].remove[0].file.path = format!("{}/alias/keep", album.folder.path().display());
    let outcomes = album.apply(&plan, ActionKind::Delete);
    assert!(
        matches!(&outcomes[0], Outcome::Left(reason) if reason.contains("another path")),
        "{outcomes:?}"
    );
    assert!(album.path("keep").exists());
}

#[test]
fn plans_that_would_lose_an_image_are_refused() {
    let album = Album::new();
    let mut plan = album.plan();
    let action = Action {
        kind: ActionKind::Delete,
        to: None,
    };
    let refused =
        |plan: &Plan, action: &Action| apply(plan, action, None, &mut |_, _| ()).expect_err("refused");
    let mut turned = plan.groups[0].clone();
    turned.keep = album.planned("same");
    turned.remove.truncate(1);
    turned.remove[0].file = album.planned("keep");
    plan.groups.push(turned);
    assert!(matches!(
        refused(&plan, &action),
        ApplyError::Contradiction { .. }
    ));
    plan.groups.pop();
    plan.version += 1;
    assert!(matches!(refused(&plan, &action), ApplyError::Version { .. }));
    let to_nowhere = Action {
        kind: ActionKind::Move,
        to: None,
    };
    assert!(matches!(
        refused(&album.plan(), &to_nowhere),
        ApplyError::NoTarget
    ));
}

#[test]
fn a_journal_cut_off_in_its_last_line_is_read() {
    let album = Album::new();
    album.apply(&album.plan(), ActionKind::Move);
    let whole = fs::read(album.journal()).expect("a journal");
    fs::write(album.journal(), &whole[..whole.len() - 9]).expect("written");
    // The last end is missing: undo looks at the file itself.
    assert_eq!(journal::read(&album.journal()).expect("readable").len(), 3);
    assert_eq!(album.undo().len(), 2);
    assert!(album.path("same").exists() && album.path("edited").exists());
    fs::write(album.journal(), b"{\n{\n").expect("written");
    assert!(journal::read(&album.journal()).is_err());
}
