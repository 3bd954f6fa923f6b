//! The real binary: started, fed over HTTP, killed, started again.

#![expect(
    clippy::print_stderr,
    reason = "figures and what a system does not permit are told"
)]

mod cluster;
mod disk_full;
mod load;
mod object_store;
mod search;
mod server;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use server::{Server, client, doppel, ids, picture, upload};

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_image_survives_sigkill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let http = client();
    let mut acknowledged = BTreeSet::new();
    for round in 0..3_u32 {
        let server = Server::start(folder.path());
        assert!(
            acknowledged.is_subset(&ids(&http, &server.base).await),
            "round {round} lost an image"
        );
        let (acks, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let uploads: Vec<_> = (0..4_u32)
            .map(|lane| {
                let (http, base, acks) = (http.clone(), server.base.clone(), acks.clone());
                tokio::spawn(async move {
                    for n in 0.. {
                        match upload(&http, &base, picture(round * 100_000 + lane * 10_000 + n)).await {
                            Some(id) => acks.send(id).expect("the test listens"),
                            None => return,
                        }
                    }
                })
            })
            .collect();
        drop(acks);
        // In the middle of the stream of uploads, whatever each of them is doing.
        for _ in 0..25 {
            acknowledged.insert(seen.recv().await.expect("the server takes uploads"));
        }
        server.kill();
        while let Some(id) = seen.recv().await {
            acknowledged.insert(id);
        }
        for lane in uploads {
            lane.await.expect("a lane ends with the server");
        }
    }
    let server = Server::start(folder.path());
    let served = ids(&http, &server.base).await;
    let lost: Vec<_> = acknowledged.difference(&served).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged images are gone",
        lost.len(),
        acknowledged.len()
    );
    for id in acknowledged.iter().take(20) {
        let url = format!("{}/v1/collections/default/images/{id}/thumbnail", server.base);
        assert!(
            http.get(url)
                .send()
                .await
                .expect("an answer")
                .status()
                .is_success(),
            "no thumbnail of {id}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_metadata_is_made_anew_and_never_written_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let http = client();
    let server = Server::start(folder.path());
    let mut stored = BTreeSet::new();
    for seed in 0..5 {
        let id = upload(&http, &server.base, picture(seed)).await;
        stored.insert(id.expect("acknowledged"));
    }
    let gone = stored.pop_first().expect("one of five");
    let url = format!("{}/v1/collections/default/images/{gone}", server.base);
    let deleted = http.delete(url).send().await.expect("an answer");
    assert!(deleted.status().is_success());
    server.kill();
    std::fs::remove_dir_all(folder.path().join("metadata")).expect("removed");

    let run = |words: &[&str]| {
        let mut command = doppel();
        let output = command.args(words).arg("--data-dir").arg(folder.path()).output();
        let output = output.expect("the binary runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, message) = run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("doppel fsck --rebuild-metadata"), "{message}");
    let (code, report) = run(&["fsck", "--rebuild-metadata"]);
    assert_eq!(code, Some(0), "{report}");
    assert!(
        report.contains("collection default: 1 shards, 0 segments"),
        "{report}"
    );
    let (code, message) = run(&["fsck", "--rebuild-metadata"]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("the metadata is there"), "{message}");
    let server = Server::start(folder.path());
    assert_eq!(ids(&http, &server.base).await, stored);
}

#[test]
fn a_folder_or_port_in_use_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let serve = |data_dir: &Path, listen: &str| {
        let output = doppel()
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(data_dir)
            .output()
            .expect("the binary runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, message) = serve(folder.path(), "127.0.0.1:0");
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("in use by another doppel process"), "{message}");
    let other = tempfile::tempdir().expect("a temporary folder");
    let address = server.base.trim_start_matches("http://");
    let (code, message) = serve(other.path(), address);
    assert_eq!(code, Some(1), "{message}");
    assert!(
        message.contains(address) && message.contains("is taken"),
        "{message}"
    );
}

#[test]
fn import_search_and_embed_work_on_folders() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let photos = folder.path().join("photos");
    std::fs::create_dir_all(photos.join("inner")).expect("writable");
    for n in 0..6 {
        std::fs::write(photos.join(format!("inner/{n}.jpg")), picture(n)).expect("writable");
    }
    std::fs::write(photos.join("notes.txt"), b"no picture").expect("writable");
    std::fs::write(photos.join("cut.jpg"), &picture(9)[..400]).expect("writable");
    let run = |arguments: &[&str]| {
        let output = doppel()
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    {
        let server = Server::start(&folder.path().join("data"));
        let import = [
            "import",
            "photos",
            "--server",
            &server.base,
            "--collection",
            "family",
        ];
        let (code, stdout, stderr) = run(&import);
        assert_eq!(code, Some(1), "a damaged file is a failure: {stderr}");
        assert!(
            stdout.contains("6 created, 0 there already") && stdout.contains("1 skipped, 1 failed"),
            "{stdout}"
        );
        assert!(
            stderr.contains("notes.txt") && stderr.contains("cut.jpg"),
            "{stderr}"
        );
        let (_, stdout, _) = run(&import);
        assert!(stdout.contains("0 created, 6 there already"), "{stdout}");
        let query = [
            "search",
            "photos/inner/3.jpg",
            "--server",
            &server.base,
            "--collection",
            "family",
        ];
        let (code, stdout, _) = run(&query);
        assert_eq!(code, Some(11), "{stdout}");
        assert!(
            stdout.contains("identical") && stdout.contains("3.jpg"),
            "{stdout}"
        );
        let busy = run(&["search", "photos/inner/3.jpg", "--data-dir", "data"]);
        assert_eq!(busy.0, Some(1));
        assert!(busy.2.contains("in use"), "{}", busy.2);
    }
    let local = [
        "search",
        "photos/inner/3.jpg",
        "--data-dir",
        "data",
        "--collection",
        "family",
        "-f",
        "json",
    ];
    let (code, stdout, stderr) = run(&local);
    assert_eq!(code, Some(11), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(answer["matches"][0]["class"], "identical");
    let (code, ..) = run(&[
        "search",
        "photos/inner/3.jpg",
        "--data-dir",
        "data",
        "--collection",
        "family",
        "-W",
    ]);
    assert_eq!(code, Some(0));

    let (code, _, stderr) = run(&["embed", "photos/inner/5.jpg", "photos", "-o", "out.npy"]);
    assert_eq!(code, Some(0), "{stderr}");
    let list = std::fs::read_to_string(folder.path().join("out.txt")).expect("a list");
    let expected: Vec<_> = [5, 0, 1, 2, 3, 4, 5]
        .iter()
        .map(|n| format!("photos/inner/{n}.jpg"))
        .collect();
    assert_eq!(list.lines().collect::<Vec<_>>(), expected);
    let array = std::fs::read(folder.path().join("out.npy")).expect("an array");
    let header = String::from_utf8_lossy(&array[10..128]).into_owned();
    assert!(header.contains("'shape': (7, "), "{header}");
    assert_eq!((array.len() - 128) % (7 * 4), 0);
}

#[test]
fn bad_usage_is_told_by_exit_code_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("doppel.toml"), "[limits]\nmax_pixel = 1\n").expect("writable");
    let run = |arguments: &[&str]| {
        let output = doppel()
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .expect("the binary runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, message) = run(&["config"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("limits.max_pixel"), "{message}");
    assert_eq!(run(&["dance"]).0, Some(2));
    assert_eq!(run(&["scan", ".", "-j", "100000"]).0, Some(2));
    assert_eq!(run(&["--help"]).0, Some(0));
}

#[test]
fn a_data_folder_that_is_not_there_is_not_found_empty() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = folder.path().join("image.png");
    std::fs::write(&image, picture(1)).expect("writable");
    let image = image.to_str().expect("UTF-8");
    for arguments in [&["fsck"][..], &["search", image]] {
        let output = doppel()
            .args(arguments)
            .args(["--data-dir", "mistyped"])
            .current_dir(folder.path())
            .output()
            .expect("the binary runs");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(message.contains("mistyped"), "{message}");
        assert!(
            !folder.path().join("mistyped").exists(),
            "{arguments:?} makes none"
        );
    }
}
