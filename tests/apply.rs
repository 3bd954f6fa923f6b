//! `doppel apply` and `doppel undo` as people run them: the real trash in a home of its own, a process killed in the
//! middle, and a move to another file system.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

/// Groups of one keeper and three copies, with contents of their own, and a home whose trash is empty.
struct Album {
    folder: tempfile::TempDir,
    contents: BTreeMap<PathBuf, Vec<u8>>,
}

impl Album {
    fn new(groups: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("pictures")).expect("made");
        let mut contents = BTreeMap::new();
        let mut plan = Vec::new();
        for group in 0..groups {
            let mut file = |name: &str| {
                let path = folder.path().join(format!("pictures/{group:04} {name}.jpg"));
                let bytes = format!("{name} of {group} ").repeat(40).into_bytes();
                fs::write(&path, &bytes).expect("written");
                let planned = serde_json::json!({
                    "path": path, "size": bytes.len(), "blake3": blake3::hash(&bytes).to_hex().to_string(),
                });
                contents.insert(path, bytes);
                planned
            };
            let keep = file("keep");
            let remove: Vec<_> = ["a", "b", "c"]
                .map(|name| {
                    let mut removal = file(name);
                    removal["class"] = "edited".into();
                    removal["probability"] = 0.99.into();
                    removal
                })
                .into();
            plan.push(serde_json::json!({ "keep": keep, "remove": remove }));
        }
        let plan = serde_json::json!({ "version": 1, "groups": plan });
        fs::write(folder.path().join("plan.json"), plan.to_string()).expect("written");
        Self { folder, contents }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doppel"));
        command
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("XDG_DATA_HOME", self.path("data"))
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// Runs and expects success; answers what was printed.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text
    }

    fn assert_keepers(&self) {
        for (path, bytes) in self.contents.iter().filter(|(path, _)| is_keeper(path)) {
            assert_eq!(fs::read(path).ok().as_ref(), Some(bytes), "{}", path.display());
        }
    }

    fn assert_all_back(&self) {
        for (path, bytes) in &self.contents {
            assert_eq!(fs::read(path).ok().as_ref(), Some(bytes), "{}", path.display());
        }
        let there = fs::read_dir(self.path("pictures")).expect("a folder").count();
        assert_eq!(there, self.contents.len(), "nothing else was left there");
    }

    fn removed(&self) -> usize {
        let gone = |path: &&PathBuf| !path.exists();
        self.contents.keys().filter(gone).count()
    }
}

fn is_keeper(path: &Path) -> bool {
    path.to_string_lossy().ends_with("keep.jpg")
}

#[test]
fn the_trash_takes_duplicates_and_gives_them_back() {
    let album = Album::new(3);
    let shown = album.succeed(&["apply", "plan.json", "--dry-run"]);
    assert!(shown.contains("9 done") && album.removed() == 0, "{shown}");
    album.succeed(&["apply", "plan.json"]);
    album.assert_keepers();
    assert_eq!(album.removed(), 9);
    let trashed = fs::read_dir(album.path("data/Trash/files"))
        .expect("a trash")
        .count();
    assert_eq!(trashed, 9);
    // The same plan again without --resume: the journal of the first run is not lost.
    assert!(!album.run(&["apply", "plan.json"]).status.success());

    // Another file was thrown away from the same path later: it is not ours, and stays where it is.
    let path = album
        .path("pictures/0001 b.jpg")
        .display()
        .to_string()
        .replace(' ', "%20");
    let note = format!("[Trash Info]\nPath={path}\nDeletionDate=2099-01-01T00:00:00\n");
    fs::write(album.path("data/Trash/info/later.jpg.trashinfo"), note).expect("written");
    fs::write(album.path("data/Trash/files/later.jpg"), "another picture").expect("written");
    album.succeed(&["undo", "plan.json.journal"]);
    album.assert_all_back();
    assert!(album.path("data/Trash/files/later.jpg").exists());
}

#[test]
fn everything_comes_back_from_the_trash() {
    let album = Album::new(4);
    album.succeed(&["apply", "plan.json"]);
    album.succeed(&["undo", "plan.json.journal"]);
    album.assert_all_back();
    assert!(
        album.succeed(&["undo", "plan.json.journal"]).contains("0 done"),
        "undone once"
    );
}

#[test]
fn a_process_killed_in_the_middle_goes_on_and_is_undone() {
    for (action, extra) in [("trash", &[][..]), ("move", &["--to", "moved"][..])] {
        let album = Album::new(60);
        let arguments: Vec<&str> = ["apply", "plan.json", "--action", action]
            .iter()
            .chain(extra)
            .copied()
            .collect();
        let mut child = album
            .command(&arguments)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the binary runs");
        // Until something was done, so that the middle is met however slow the machine.
        while album.removed() < 5 && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        album.assert_keepers();

        let resumed: Vec<&str> = arguments.iter().copied().chain(["--resume"]).collect();
        album.succeed(&resumed);
        album.assert_keepers();
        assert_eq!(album.removed(), 180, "{action}");
        album.succeed(&["undo", "plan.json.journal"]);
        album.assert_all_back();
        if action == "move" {
            assert_eq!(fs::read_dir(album.path("moved")).expect("a folder").count(), 0);
        }
    }
}

#[test]
fn a_killed_process_can_be_undone_at_once() {
    let album = Album::new(60);
    let mut child = album
        .command(&["apply", "plan.json", "--action", "move", "--to", "moved"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    while album.removed() < 3 && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    album.succeed(&["undo", "plan.json.journal"]);
    album.assert_all_back();
}

#[test]
fn a_move_to_another_file_system_keeps_content_and_date() {
    let album = Album::new(2);
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).ok();
    let memory = Path::new("/dev/shm");
    let elsewhere = if device(memory).is_some_and(|d| Some(d) != device(album.folder.path())) {
        tempfile::tempdir_in(memory).expect("a folder")
    } else {
        panic!("this test needs /dev/shm on a file system of its own");
    };
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for path in album.contents.keys() {
        let file = fs::File::options().write(true).open(path).expect("it is there");
        file.set_modified(old).expect("dated");
    }
    let to = elsewhere.path().to_str().expect("UTF-8");
    album.succeed(&["apply", "plan.json", "--action", "move", "--to", to]);
    album.assert_keepers();
    assert_eq!(album.removed(), 6);
    for entry in fs::read_dir(elsewhere.path()).expect("a folder") {
        let metadata = entry.and_then(|e| e.metadata()).expect("readable");
        assert_eq!(metadata.modified().expect("dated"), old);
    }
    album.succeed(&["undo", "plan.json.journal"]);
    album.assert_all_back();
    for path in album.contents.keys() {
        assert_eq!(fs::metadata(path).and_then(|m| m.modified()).expect("dated"), old);
    }
}

#[test]
fn a_plan_that_is_refused_leaves_no_journal_in_the_way() {
    let album = Album::new(1);
    let plan = fs::read_to_string(album.path("plan.json")).expect("a plan");
    let of_tomorrow = plan.replace("\"version\":1", "\"version\":99");
    assert_ne!(plan, of_tomorrow);
    fs::write(album.path("plan.json"), of_tomorrow).expect("written");
    assert_eq!(album.run(&["apply", "plan.json"]).status.code(), Some(1));
    fs::write(album.path("plan.json"), plan).expect("written");
    album.succeed(&["apply", "plan.json"]);
}
