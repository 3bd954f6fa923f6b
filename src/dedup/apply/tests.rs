//! Plans on real files in a temporary folder. The trash is the user's own, so it is not touched here.

use std::fs;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use super::links_to_both;
use super::{Action, ApplyError, Outcome, apply, leave, settle, undo};
use crate::dedup::journal::{ActionKind, Journal};
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
        let (mut journal, lines) = Journal::resume(&self.journal()).expect("a journal");
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

#[cfg(unix)]
#[test]
fn a_hard_link_to_the_keeper_is_not_linked_again() {
    let album = Album::new();
    fs::remove_file(album.path("same")).expect("removed");
    fs::hard_link(album.path("keep"), album.path("same")).expect("linked");
    let mut plan = album.plan();
    plan.groups[0].remove.truncate(1);
    let outcomes = album.apply(&plan, ActionKind::Hardlink);
    assert!(
        matches!(&outcomes[..], [Outcome::Left(reason)] if reason.contains("already")),
        "{outcomes:?}"
    );
    let names = fs::read_dir(album.folder.path()).expect("a folder").count();
    assert_eq!(names, 4, "three files and the journal");
}

#[test]
fn a_move_that_cannot_take_the_file_away_leaves_no_copy() {
    let album = Album::new();
    // What is no file cannot be removed as one.
    fs::create_dir(album.path("folder")).expect("made");
    assert!(leave(&album.path("folder"), &album.path("same")).is_err());
    assert!(!album.path("same").exists(), "nothing moved");
    // A file that is gone is where it went to, and nowhere else.
    leave(&album.path("gone"), &album.path("edited")).expect("it is gone");
    assert!(album.path("edited").exists());
}

#[cfg(unix)]
#[test]
fn two_paths_of_one_file_are_told_from_two_files() {
    let album = Album::new();
    let links = |a: &str, b: &str| links_to_both(&album.path(a), &album.path(b));
    assert_eq!((links("keep", "keep"), links("keep", "same")), (Some(1), None));
    fs::hard_link(album.path("keep"), album.path("link")).expect("linked");
    assert_eq!(links("keep", "link"), Some(2));
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
    assert_eq!(Journal::resume(&album.journal()).expect("readable").1.len(), 3);
    assert_eq!(album.undo().len(), 2);
    assert!(album.path("same").exists() && album.path("edited").exists());
    fs::write(album.journal(), b"{\n{\n").expect("written");
    assert!(Journal::resume(&album.journal()).is_err());
}

#[test]
fn a_move_cut_short_is_taken_back_or_finished() {
    // Killed when the copy was half written, when it was whole, and when only the last line was missing.
    for (copied, is_gone) in [("pic", false), ("picture", false), ("picture", true)] {
        let album = Album::new();
        let plan = album.plan();
        let mut journal = Journal::create(&album.journal()).expect("a new file");
        let to = album.path("moved/same");
        let (file, keep) = (album.planned("same"), album.planned("keep"));
        journal
            .begin(ActionKind::Move, &file, &keep, Some(to.display().to_string()))
            .expect("written");
        fs::create_dir(album.path("moved")).expect("made");
        fs::write(&to, copied).expect("written");
        if is_gone {
            fs::remove_file(album.path("same")).expect("removed");
        }
        let (mut journal, lines) = Journal::resume(&album.journal()).expect("a journal");
        settle(&lines, &mut journal).expect("writable");
        assert_eq!(to.exists(), is_gone, "half a move is taken back");
        let action = Action {
            kind: ActionKind::Move,
            to: Some(album.path("moved")),
        };
        apply(&plan, &action, Some(&mut journal), &mut |_, _| ()).expect("sound");
        assert_eq!(content(&to).as_deref(), Some("picture"));
        assert!(!album.path("same").exists() && !album.path("edited").exists());
        assert!(album.undo().iter().all(|outcome| *outcome == Outcome::Done));
        assert_eq!(content(&album.path("same")).as_deref(), Some("picture"));
        assert_eq!(content(&album.path("edited")).as_deref(), Some("pictura"));
        assert_eq!(fs::read_dir(album.path("moved")).expect("a folder").count(), 0);
    }
}

#[test]
fn an_undo_without_resume_leaves_no_half_copy() {
    let album = Album::new();
    let mut journal = Journal::create(&album.journal()).expect("a new file");
    let to = album.path("same (1)");
    journal
        .begin(
            ActionKind::Move,
            &album.planned("same"),
            &album.planned("keep"),
            Some(to.display().to_string()),
        )
        .expect("written");
    fs::write(&to, "pict").expect("written");
    assert_eq!(album.undo(), [Outcome::Done]);
    assert!(!to.exists() && album.path("same").exists());
}

#[test]
fn a_keeper_that_goes_while_the_plan_runs_protects_the_rest() {
    let album = Album::new();
    let plan = album.plan();
    let action = Action {
        kind: ActionKind::Delete,
        to: None,
    };
    let mut journal = Journal::create(&album.journal()).expect("a new file");
    let mut outcomes = Vec::new();
    apply(&plan, &action, Some(&mut journal), &mut |_, outcome| {
        outcomes.push(outcome.clone());
        let _ = fs::remove_file(album.path("keep"));
    })
    .expect("sound");
    assert_eq!(outcomes[0], Outcome::Done);
    assert!(
        matches!(&outcomes[1], Outcome::Left(reason) if reason.contains("gone")),
        "{outcomes:?}"
    );
    assert!(album.path("edited").exists());
}

#[test]
fn a_target_that_cannot_be_written_loses_nothing() {
    let album = Album::new();
    let plan = album.plan();
    fs::write(album.path("moved"), "a file, no folder").expect("written");
    let outcomes = album.apply(&plan, ActionKind::Move);
    assert!(
        outcomes.iter().all(|o| matches!(o, Outcome::Failed(_))),
        "{outcomes:?}"
    );
    assert!(album.path("same").exists() && album.path("edited").exists());
    assert!(album.undo().is_empty(), "what failed is not undone");
}

#[cfg(unix)]
#[test]
fn what_another_group_keeps_stays_whatever_path_names_it() {
    let album = Album::new();
    let mut plan = album.plan();
    std::os::unix::fs::symlink(album.folder.path(), album.path("door")).expect("linked");
    // The second group keeps, through the link, what the first one removes.
    let mut second = plan.groups[0].clone();
    second.keep.path = album.path("door/edited").display().to_string();
    second.keep.size = plan.groups[0].remove[1].file.size;
    second.keep.blake3 = plan.groups[0].remove[1].file.blake3.clone();
    second.remove.truncate(1);
    plan.groups.push(second);
    let outcomes = album.apply(&plan, ActionKind::Delete);
    assert!(
        matches!(&outcomes[1], Outcome::Left(reason) if reason.contains("another group")),
        "{outcomes:?}"
    );
    assert!(album.path("edited").exists() && album.path("keep").exists());
}

#[test]
fn a_replacement_cut_short_leaves_no_stray_file() {
    for kind in [ActionKind::Hardlink, ActionKind::Symlink, ActionKind::Reflink] {
        let album = Album::new();
        let mut journal = Journal::create(&album.journal()).expect("a new file");
        let (file, keep) = (album.planned("same"), album.planned("keep"));
        journal.begin(kind, &file, &keep, None).expect("written");
        fs::write(album.path(".same.doppel-new"), "pic").expect("written");
        assert_eq!(album.undo(), [Outcome::Done], "{kind:?}");
        assert_eq!(content(&album.path("same")).as_deref(), Some("picture"));
        let names = fs::read_dir(album.folder.path()).expect("a folder").count();
        assert_eq!(names, 4, "{kind:?}: three files and the journal");
    }
}
