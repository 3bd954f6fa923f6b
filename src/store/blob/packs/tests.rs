//! Objects in packs: put, read, removed, and what is there after a restart.

use super::*;

fn data(len: usize, seed: usize) -> Bytes {
    (0..len).map(|i| ((i + seed) % 251) as u8).collect()
}

fn name(n: usize) -> String {
    format!("wal/c/0/{:020}/{n:020}", 1)
}

/// The packs of a folder, for its owner.
fn owned(root: &Path) -> Packs {
    let packs = Packs::open(root).expect("opened");
    packs.own_anywhere();
    packs
}

fn files(root: &Path) -> Vec<PathBuf> {
    paths(root).expect("readable")
}

struct Bench {
    dir: tempfile::TempDir,
    syncer: Syncer,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            syncer: Syncer::default(),
        }
    }

    fn put(&self, packs: &Packs, numbers: std::ops::Range<usize>, len: usize) {
        for n in numbers {
            let outcome = packs.create(&name(n), &data(len, n), &self.syncer);
            assert!(matches!(outcome, Outcome::Created), "{n}: {outcome:?}");
        }
    }
}

#[test]
fn large_log_objects_share_files_and_small_ones_have_their_own() {
    let bench = Bench::new();
    let root = bench.dir.path();
    let packs = owned(root);
    assert!(!packs.keeps("seg/c/0/x.seg"));
    let lens = [100, 16 << 10, 20_001, 1 << 20, (1 << 20) + 1];
    for (n, len) in lens.into_iter().enumerate() {
        bench.put(&packs, n..n + 1, len);
        let in_pack = SIZES.contains(&len);
        assert_eq!(
            (packs.contains(&name(n)), root.join(name(n)).exists()),
            (in_pack, !in_pack)
        );
        let found = packs.get(&name(n)).expect("readable");
        assert_eq!(found, in_pack.then(|| data(len, n)));
        // The name is taken, whatever comes.
        for other in [100, 30_000] {
            let again = packs.create(&name(n), &data(other, 9), &bench.syncer);
            assert!(matches!(again, Outcome::Exists), "{n}, {other}: {again:?}");
        }
        assert_eq!(packs.get(&name(n)).expect("readable"), found);
    }
    assert_eq!(files(root).len(), 1);
    let listed = |prefix: &str| -> Vec<(String, u64)> {
        let listed = packs.list(prefix).into_iter();
        listed.map(|object| (object.name, object.size)).collect()
    };
    let expected: Vec<_> = (1..4).map(|n| (name(n), lens[n] as u64)).collect();
    for prefix in ["", "wal", "wal/c/0"] {
        assert_eq!(listed(prefix), expected, "{prefix}");
    }
    assert_eq!(listed("wal/c/00"), []);
    assert_eq!(listed("wa"), [], "not a folder");
}

#[test]
fn of_racers_for_a_name_one_wins_whether_in_a_pack_or_not() {
    let bench = Bench::new();
    let packs = owned(bench.dir.path());
    for round in 0..20 {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let race = |len| {
                let (packs, syncer) = (&packs, &bench.syncer);
                scope.spawn(move || packs.create(&name(round), &data(len, len), syncer))
            };
            let racers = [100, 20_000, 200, 30_000].map(race);
            racers.map(|racer| racer.join().expect("no panic")).into()
        });
        let won = outcomes.iter().filter(|o| matches!(o, Outcome::Created)).count();
        let lost = outcomes.iter().filter(|o| matches!(o, Outcome::Exists)).count();
        assert_eq!((won, lost), (1, 3), "{outcomes:?}");
    }
}

#[test]
fn everything_is_there_after_a_restart_and_a_reader_beside_finds_it_too() {
    let bench = Bench::new();
    let root = bench.dir.path();
    let packs = owned(root);
    bench.put(&packs, 0..250, 77_000);
    assert!(files(root).len() >= 3, "a pack has room for a hundred");
    let check = |packs: &Packs| {
        assert_eq!(packs.list("wal").len(), 250);
        for n in 0..250 {
            assert_eq!(
                packs.get(&name(n)).expect("readable"),
                Some(data(77_000, n)),
                "{n}"
            );
        }
    };
    // As after a kill: nothing is closed.
    let beside = Packs::open(root).expect("opened");
    check(&beside);
    assert!(!beside.keeps(&name(0)), "only the owner puts objects there");
    drop(packs);
    let packs = owned(root);
    check(&packs);
    assert!(matches!(
        packs.create(&name(7), &data(20_000, 1), &bench.syncer),
        Outcome::Exists
    ));
    bench.put(&packs, 250..260, 20_000);
    assert_eq!(packs.list("wal").len(), 260);
}

#[test]
fn what_is_deleted_stays_away_and_what_is_recycled_goes_with_its_pack() {
    let bench = Bench::new();
    let root = bench.dir.path();
    let packs = owned(root);
    bench.put(&packs, 0..10, 20_000);
    assert!(
        !packs
            .remove("wal/none", Removal::Durable)
            .expect("nothing is there")
    );
    for (n, removal) in [(2, Removal::Durable), (9, Removal::Durable), (5, Removal::Lazy)] {
        assert!(packs.remove(&name(n), removal).expect("removed"));
        assert!(!packs.remove(&name(n), removal).expect("nothing is there"));
        assert_eq!(packs.get(&name(n)).expect("readable"), None);
    }
    let kept: Vec<_> = (0..10).filter(|n| ![2, 5, 9].contains(n)).map(name).collect();
    let names = |packs: &Packs| -> Vec<_> { packs.list("wal").into_iter().map(|o| o.name).collect() };
    assert_eq!(names(&packs), kept);
    let restarted = Packs::open(root).expect("opened");
    for n in [0, 1, 3, 4, 6, 7, 8] {
        assert_eq!(
            restarted.get(&name(n)).expect("readable"),
            Some(data(20_000, n)),
            "{n}"
        );
    }
    assert!(![2, 9].iter().any(|&n| restarted.contains(&name(n))));
    // The last objects go, and with them what was recycled; then the pack is written again.
    for name in names(&packs) {
        packs.remove(&name, Removal::Lazy).expect("removed");
    }
    assert!(Packs::open(root).expect("opened").list("wal").is_empty());
    bench.put(&packs, 20..22, 20_000);
    assert_eq!(names(&Packs::open(root).expect("opened")), [name(20), name(21)]);
    assert_eq!(files(root).len(), 1);
}

#[test]
fn packs_are_written_again_a_few_are_kept_and_all_are_given_up() {
    let bench = Bench::new();
    let root = bench.dir.path();
    let packs = owned(root);
    let big = (1 << 20) - 2 * PAGE;
    let per_pack = (PAGES - 1) / frame::pages(big);
    let mut inodes = std::collections::HashSet::new();
    for round in 0..6 {
        let numbers = round * per_pack * 2..(round + 1) * per_pack * 2;
        bench.put(&packs, numbers.clone(), big);
        for file in files(root) {
            inodes.insert(std::os::unix::fs::MetadataExt::ino(
                &file.metadata().expect("there"),
            ));
        }
        for n in numbers {
            packs.remove(&name(n), Removal::Lazy).expect("removed");
        }
    }
    assert!(inodes.len() < 8, "twelve were filled, in {} files", inodes.len());
    // A backup by hard links is never written over.
    bench.put(&packs, 1000..1000 + 2 * per_pack, big);
    let backup = bench.dir.path().join("backup");
    std::fs::create_dir(&backup).expect("made");
    let linked: Vec<_> = files(root)
        .into_iter()
        .map(|file| {
            let link = backup.join(file.file_name().expect("a name"));
            std::fs::hard_link(&file, &link).expect("linked");
            (link.clone(), std::fs::read(link).expect("readable"))
        })
        .collect();
    for n in 1000..1000 + 2 * per_pack {
        packs.remove(&name(n), Removal::Lazy).expect("removed");
    }
    bench.put(&packs, 2000..2000 + 2 * per_pack, big);
    for (link, before) in linked {
        let now = std::fs::read(link).expect("readable");
        let (_, frames) = frame::scan(&before);
        assert!(frames.is_empty() || now == before);
    }
    for n in 2000..2000 + 2 * per_pack {
        packs.remove(&name(n), Removal::Lazy).expect("removed");
    }
    packs.clear_idle(Instant::now());
    let before = files(root).len();
    packs.clear_idle(Instant::now() + IDLE);
    assert!(before > 0 && files(root).is_empty(), "{before} before");
    assert!(!packs.clear(), "nothing is left");
    bench.put(&packs, 3000..3001, 20_000);
    assert!(!packs.clear(), "it has an object");
    assert_eq!(
        packs.get(&name(3000)).expect("readable"),
        Some(data(20_000, 3000))
    );
}

#[test]
fn an_owner_removes_packs_without_objects_and_cuts_its_own_when_it_goes() {
    let bench = Bench::new();
    let root = bench.dir.path();
    let packs = owned(root);
    bench.put(&packs, 0..3, 20_000);
    let [file] = &files(root)[..] else {
        panic!("one pack")
    };
    assert_eq!(file.metadata().expect("there").len(), offset(PAGES));
    drop(packs);
    assert_eq!(
        file.metadata().expect("there").len(),
        offset(1 + 3 * frame::pages(20_000))
    );
    // Cut off while they were made.
    std::fs::write(file.with_file_name("1.pack"), b"").expect("written");
    std::fs::write(file.with_file_name("2.pack"), vec![0; 8 * PAGE]).expect("written");
    Packs::open(root).expect("a reader removes nothing");
    assert_eq!(files(root).len(), 3);
    let packs = owned(root);
    assert_eq!(files(root), std::slice::from_ref(file));
    for n in 0..3 {
        packs.remove(&name(n), Removal::Lazy).expect("removed");
    }
    assert_eq!(files(root), Vec::<PathBuf>::new(), "too short to be used again");
}

#[test]
fn a_write_that_fails_leaves_nothing_and_the_object_becomes_a_file() {
    let bench = Bench::new();
    let root = bench.dir.path();
    let packs = owned(root);
    bench.put(&packs, 0..1, 20_000);
    let shelf = packs.shelf(root.join(name(0)).parent().expect("a folder"));
    {
        let mut held = shelf.lock();
        let current = held.current.as_mut().expect("it was written");
        // A file that cannot be written.
        current.file = File::open(&current.pack.path).expect("readable");
    }
    bench.put(&packs, 1..2, 20_000);
    assert!(root.join(name(1)).exists() && !packs.contains(&name(1)));
    bench.put(&packs, 2..3, 20_000);
    assert!(packs.contains(&name(2)), "in another pack");
    let restarted = Packs::open(root).expect("opened");
    assert_eq!(restarted.list("wal").len(), 2);
    assert_eq!(restarted.get(&name(0)).expect("readable"), Some(data(20_000, 0)));
}

#[test]
fn an_object_that_may_be_there_or_not_is_neither_read_nor_replaced() {
    let bench = Bench::new();
    let root = bench.dir.path();
    let packs = owned(root);
    bench.put(&packs, 0..1, 20_000);
    let folder = root.join(name(0));
    let folder = folder.parent().expect("a folder");
    let shelf = packs.shelf(folder);
    let pack = {
        let mut held = shelf.lock();
        let current = held.current.as_mut().expect("it was written");
        current.file = File::open(&current.pack.path).expect("readable");
        // Nor can it be taken back.
        std::fs::remove_file(&current.pack.path).expect("removed");
        current.pack.path.clone()
    };
    let outcome = packs.create(&name(1), &data(20_000, 1), &bench.syncer);
    assert!(matches!(outcome, Outcome::NotSynced(_)), "{outcome:?}");
    // The disk is back, and nobody looked whether the object is on it.
    std::fs::write(pack, vec![0; 64 * PAGE]).expect("written");
    assert!(packs.get(&name(1)).is_err());
    let again = packs.create(&name(1), &data(20_000, 1), &bench.syncer);
    assert!(matches!(again, Outcome::NotSynced(_)), "{again:?}");
}
