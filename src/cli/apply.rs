//! `doppel apply` and `doppel undo`: carrying out a plan, and taking it back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;

use super::{Context, Exit, print, shown};
use crate::dedup::apply::{Action, Outcome, apply, check, settle, undo};
use crate::dedup::journal::{ActionKind, Journal};
use crate::dedup::plan::{Plan, PlannedFile};

/// Carry out a plan that `doppel scan --plan` wrote; every file is hashed again right before it is touched
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel apply plan.json --dry-run                what would be done
  doppel apply plan.json                          duplicates to the trash
  doppel apply plan.json --action move --to ~/Duplicates
  doppel apply plan.json --resume                 go on after a crash or a power cut
  doppel undo plan.json.journal                   take it back")]
pub(super) struct Args {
    /// The plan
    plan: PathBuf,
    /// What to do with duplicates
    #[arg(long, value_enum, default_value_t = Kind::Trash)]
    action: Kind,
    /// Folder to move to, with --action move
    #[arg(long, value_name = "DIR", required_if_eq("action", "move"))]
    to: Option<PathBuf>,
    /// Check everything, change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Go on where an earlier run of this plan was cut short
    #[arg(long, conflicts_with = "dry_run")]
    resume: bool,
    /// File that notes what is done, for `doppel undo`; the plan's name with .journal without it
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// Take back what a journal says was done
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel undo plan.json.journal")]
pub(super) struct UndoArgs {
    /// The journal
    journal: PathBuf,
}

/// Actions as people write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// To the system's trash
    Trash,
    /// To another folder
    Move,
    /// For good
    Delete,
    /// A hard link to the kept image in its place; equal bytes only
    Hardlink,
    /// A symbolic link to the kept image in its place; equal bytes only
    Symlink,
    /// A copy that shares the kept image's blocks, where the file system can; equal bytes only
    Reflink,
}

impl From<Kind> for ActionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Trash => Self::Trash,
            Kind::Move => Self::Move,
            Kind::Delete => Self::Delete,
            Kind::Hardlink => Self::Hardlink,
            Kind::Symlink => Self::Symlink,
            Kind::Reflink => Self::Reflink,
        }
    }
}

/// Counts and prints what becomes of files.
#[derive(Default)]
struct Tally {
    done: u64,
    left: u64,
    failed: u64,
    text: String,
}

impl Tally {
    fn take(&mut self, file: &PlannedFile, outcome: &Outcome, done: &str) {
        let path = shown(&file.path);
        let line = match outcome {
            Outcome::Done => {
                self.done += 1;
                format!("{done:<9} {path}\n")
            }
            Outcome::Left(reason) => {
                self.left += 1;
                format!("left      {path}: {}\n", shown(reason))
            }
            Outcome::Failed(reason) => {
                self.failed += 1;
                format!("failed    {path}: {}\n", shown(reason))
            }
        };
        self.text.push_str(&line);
    }

    fn finish(mut self) -> anyhow::Result<Exit> {
        let summary = format!(
            "{} done, {} left alone, {} failed\n",
            self.done, self.left, self.failed
        );
        self.text.push_str(&summary);
        print(&self.text)?;
        Ok(if self.failed > 0 { Exit::Failed } else { Exit::Done })
    }
}

pub(super) fn run(args: Args, _: &Context) -> anyhow::Result<Exit> {
    let text = fs::read(&args.plan).with_context(|| format!("cannot read {}", args.plan.display()))?;
    let plan: Plan = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no plan of doppel scan", args.plan.display()))?;
    let action = Action {
        kind: args.action.into(),
        to: args.to.map(std::path::absolute).transpose()?,
    };
    let mut tally = Tally::default();
    if args.dry_run {
        apply(&plan, &action, None, &mut |file, outcome| {
            tally.take(file, outcome, "would go")
        })?;
        return tally.finish();
    }
    // A plan that is refused leaves no journal in the way of its next try.
    check(&plan, &action)?;
    let path = args.journal.unwrap_or_else(|| beside(&args.plan));
    let mut journal = if args.resume {
        let cannot = || format!("cannot go on with the journal {}", path.display());
        let (mut journal, lines) = Journal::resume(&path).with_context(cannot)?;
        settle(&lines, &mut journal)?;
        journal
    } else {
        Journal::create(&path).with_context(|| {
            format!(
                "cannot start the journal {} (if an earlier run was cut short, go on with --resume)",
                path.display()
            )
        })?
    };
    let result = apply(&plan, &action, Some(&mut journal), &mut |file, outcome| {
        tally.take(file, outcome, "done");
    });
    tally.text.push_str(&format!("Journal: {}\n", path.display()));
    let exit = tally.finish()?;
    result?;
    Ok(exit)
}

pub(super) fn run_undo(args: &UndoArgs, _: &Context) -> anyhow::Result<Exit> {
    let cannot = || format!("cannot read the journal {}", args.journal.display());
    let (mut journal, lines) = Journal::resume(&args.journal).with_context(cannot)?;
    let mut tally = Tally::default();
    let result = undo(&lines, &mut journal, &mut |file, outcome| {
        tally.take(file, outcome, "back")
    });
    let exit = tally.finish()?;
    result?;
    Ok(exit)
}

fn beside(plan: &Path) -> PathBuf {
    let mut name = plan.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}
