//! A disk that is full, by the kernel's own word: a small tmpfs in a mount namespace of its own where that is permitted,
//! and everywhere a limit on the size of files. What is acknowledged is stored; the rest is told so; and when there is
//! space again, it goes on.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use doppel::vision::{RgbImage, thumbnail};
use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::server::{Server, client, doppel, ids, picture};

/// A picture that does not compress: about 150 kB, thumbnail and all.
fn noise(seed: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(400, 300, |x, y| {
        let mut h =
            (x ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b) ^ y.wrapping_mul(0xc2b2_ae35);
        h = (h ^ (h >> 15)).wrapping_mul(0x27d4_eb2f);
        [(h >> 24) as u8, (h >> 16) as u8, (h >> 8) as u8].into()
    });
    thumbnail::encode(&image).expect("encodes")
}

fn id(file: &[u8]) -> String {
    blake3::hash(file).to_hex()[..32].to_owned()
}

async fn upload(http: &reqwest::Client, base: &str, file: Vec<u8>) -> StatusCode {
    let form = Form::new().part("file", Part::bytes(file).file_name("picture.jpg"));
    let request = http
        .post(format!("{base}/v1/collections/default/images"))
        .multipart(form);
    request.send().await.expect("an answer").status()
}

/// Uploads until it is taken: what was in the way may need a moment to be gone.
async fn upload_in_the_end(http: &reqwest::Client, base: &str, file: Vec<u8>) {
    for _ in 0..100 {
        match upload(http, base, file.clone()).await {
            StatusCode::CREATED | StatusCode::OK => return,
            StatusCode::INSUFFICIENT_STORAGE | StatusCode::SERVICE_UNAVAILABLE => {}
            other => panic!("{other}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("there is space again, and it does not go on");
}

/// Takes thumbnail and all of every image.
async fn serves(http: &reqwest::Client, base: &str, expected: &BTreeSet<String>) {
    assert_eq!(ids(http, base).await, *expected);
    for id in expected {
        let url = format!("{base}/v1/collections/default/images/{id}");
        for part in ["thumbnail", "file"] {
            let status = http
                .get(format!("{url}/{part}"))
                .send()
                .await
                .expect("an answer")
                .status();
            assert_eq!(status, StatusCode::OK, "{part} of {id}");
        }
    }
}

/// A tmpfs that only a process of its own, and what enters its namespace, sees. Gone with that process.
struct SmallDisk {
    holder: Child,
    mount: PathBuf,
    is_root: bool,
}

impl SmallDisk {
    /// `None` with the system's words when it does not permit mounting.
    fn mount(mount: &Path, size: &str) -> Result<Self, String> {
        let is_root =
            std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !is_root {
            command.arg("--map-root-user");
        }
        let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$0\" && echo mounted && cat";
        // `cat` ends with its input, which ends with this process.
        let mut holder = command
            .args(["sh", "-c", script])
            .arg(mount)
            .arg(size)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("unshare: {e}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("readable");
        if line.trim() == "mounted" {
            return Ok(Self {
                holder,
                mount: mount.to_owned(),
                is_root,
            });
        }
        let output = holder.wait_with_output().expect("it has ended");
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The tmpfs as this process reaches it.
    fn inside(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root)
            .join(self.mount.strip_prefix("/").expect("absolute"))
            .join(name)
    }

    /// `doppel` in the namespace that sees the tmpfs.
    fn doppel(&self, arguments: &[&str]) -> Command {
        let template = doppel();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.holder.id().to_string()]);
        if !self.is_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(template.get_program());
        for (name, _) in template.get_envs() {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.mount.join("data"));
        command.env("DOPPEL_COLLECTIONS__KEEP_ORIGINALS", "true");
        command
    }

    /// Takes all space but `left` bytes.
    fn fill(&self, left: u64) {
        let mut filler = File::create(self.inside("filler")).expect("writable");
        let block = vec![7; 64 << 10];
        let mut written = 0;
        while filler.write_all(&block).is_ok() {
            written += block.len() as u64;
        }
        assert!(written > left, "the tmpfs is too small");
        filler.set_len(written - left).expect("cut");
    }

    /// Takes all space, to the last page.
    fn fill_up(&self, name: &str) {
        let mut filler = File::create(self.inside(name)).expect("writable");
        for block in [vec![7; 64 << 10], vec![7; 4096]] {
            while filler.write(&block).is_ok_and(|written| written > 0) {}
        }
    }

    /// `doppel serve` on it.
    fn serve(&self) -> Server {
        Server::run(&mut self.doppel(&["serve", "--listen", "127.0.0.1:0"])).serving(Duration::from_secs(60))
    }

    /// `doppel fsck` finds nothing wrong.
    fn assert_clean(&self) {
        let check = self.doppel(&["fsck"]).output().expect("it runs");
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stdout)
        );
    }
}

/// Uploads so many pictures that are taken; their ids.
async fn filled(http: &reqwest::Client, base: &str, count: u32) -> BTreeSet<String> {
    let mut stored = BTreeSet::new();
    for seed in 0..count {
        assert_eq!(upload(http, base, picture(seed)).await, StatusCode::CREATED);
        stored.insert(id(&picture(seed)));
    }
    stored
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    match SmallDisk::mount(folder.path(), "32m") {
        Ok(disk) => on_a_full_disk(&disk).await,
        // The other test here has the kernel refuse as well, everywhere.
        Err(why) => eprintln!("no tmpfs may be mounted here, so none was filled: {why}"),
    }
}

async fn on_a_full_disk(disk: &SmallDisk) {
    let server = disk.serve();
    let http = client();
    let mut stored = filled(&http, &server.base, 3).await;
    disk.fill(1500 << 10);
    let (mut refused, mut unknown) = (Vec::new(), BTreeSet::new());
    for seed in 0..200_u32 {
        let file = noise(seed);
        match upload(&http, &server.base, file.clone()).await {
            StatusCode::CREATED => drop(stored.insert(id(&file))),
            StatusCode::INSUFFICIENT_STORAGE => refused.push(file),
            StatusCode::SERVICE_UNAVAILABLE => drop(unknown.insert(id(&file))),
            other => panic!("{other}"),
        }
        if refused.len() >= 4 {
            break;
        }
    }
    assert!(
        refused.len() >= 4,
        "the disk did not fill up: {} stored",
        stored.len()
    );
    // It still answers, with what it acknowledged and nothing that it refused.
    let there: BTreeSet<String> = &ids(&http, &server.base).await - &unknown;
    assert_eq!(there, &stored - &unknown);
    assert_eq!(
        upload(&http, &server.base, picture(0)).await,
        StatusCode::OK,
        "it is there already"
    );

    std::fs::remove_file(disk.inside("filler")).expect("removed");
    for file in refused {
        upload_in_the_end(&http, &server.base, file.clone()).await;
        stored.insert(id(&file));
    }
    server.kill();
    let server = disk.serve();
    stored.extend(ids(&http, &server.base).await.intersection(&unknown).cloned());
    serves(&http, &server.base, &stored).await;
    server.kill();
    disk.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_deletions_and_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    match SmallDisk::mount(folder.path(), "32m") {
        Ok(disk) => deletions_on_a_full_disk(&disk).await,
        Err(why) => eprintln!("no tmpfs may be mounted here, so none was filled: {why}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_decisions_and_loses_a_collection_that_is_deleted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    match SmallDisk::mount(folder.path(), "32m") {
        Ok(disk) => decisions_on_a_full_disk(&disk).await,
        Err(why) => eprintln!("no tmpfs may be mounted here, so none was filled: {why}"),
    }
}

async fn decisions_on_a_full_disk(disk: &SmallDisk) {
    let server = disk.serve();
    let http = client();
    // Two files of one picture.
    let (first, second) = (picture(0), [picture(0), vec![7]].concat());
    for file in [&first, &second] {
        assert_eq!(
            upload(&http, &server.base, file.clone()).await,
            StatusCode::CREATED
        );
    }
    let other = format!("{}/v1/collections/other", server.base);
    let made = http.put(&other).send().await.expect("an answer");
    assert!(made.status().is_success(), "{}", made.status());
    for seed in 0..3 {
        let form = Form::new().part("file", Part::bytes(noise(seed)).file_name("noise.jpg"));
        let request = http.post(format!("{other}/images")).multipart(form);
        assert_eq!(
            request.send().await.expect("an answer").status(),
            StatusCode::CREATED
        );
    }
    let keeper = the_group(&http, &server.base).await.expect("one");

    disk.fill_up("filler");
    let url = format!("{}/v1/collections/default/groups/{keeper}/resolve", server.base);
    let rejected = [id(&first), id(&second)].into_iter().find(|id| *id != keeper);
    let decision = serde_json::json!({"keep": [keeper], "not_duplicates": [rejected]});
    let request = http.post(url).header("content-type", "application/json");
    let decided = request
        .body(decision.to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(decided.status(), StatusCode::OK, "{:?}", decided.text().await);
    assert_eq!(the_group(&http, &server.base).await, None);
    disk.fill_up("filler 2");
    let gone = http.delete(&other).send().await.expect("an answer");
    assert_eq!(gone.status(), StatusCode::NO_CONTENT, "{:?}", gone.text().await);

    server.kill();
    disk.fill_up("filler 3");
    let server = disk.serve();
    assert_eq!(the_group(&http, &server.base).await, None, "it was decided");
    let other = format!("{}/v1/collections/other", server.base);
    let asked = http.get(&other).send().await.expect("an answer").status();
    assert_eq!(asked, StatusCode::NOT_FOUND);
    serves(&http, &server.base, &BTreeSet::from([id(&first), id(&second)])).await;
    server.kill();
    disk.assert_clean();
}

/// The keeper of the only group of `default`, once groups are known.
async fn the_group(http: &reqwest::Client, base: &str) -> Option<String> {
    for _ in 0..100 {
        let answer = http
            .get(format!("{base}/v1/collections/default/groups"))
            .send()
            .await;
        let groups: Value = answer.expect("an answer").json().await.expect("JSON");
        if groups["complete"] == true {
            return groups["groups"][0]["id"].as_str().map(str::to_owned);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the groups are never known");
}

async fn deletions_on_a_full_disk(disk: &SmallDisk) {
    let mut server = disk.serve();
    let http = client();
    let mut stored = filled(&http, &server.base, 6).await;
    for round in 0..3 {
        disk.fill_up(&format!("filler {round}"));
        assert_eq!(
            upload(&http, &server.base, noise(round)).await,
            StatusCode::INSUFFICIENT_STORAGE
        );
        for seed in [2 * round, 2 * round + 1] {
            let gone = id(&picture(seed));
            let url = format!("{}/v1/collections/default/images/{gone}", server.base);
            let status = http.delete(url).send().await.expect("an answer").status();
            assert_eq!(status, StatusCode::NO_CONTENT, "image {seed}");
            stored.remove(&gone);
            // What that gave back is taken at once.
            disk.fill_up(&format!("filler {round} {seed}"));
        }
        assert_eq!(ids(&http, &server.base).await, stored);
        server.kill();
        server = disk.serve();
        assert_eq!(ids(&http, &server.base).await, stored, "round {round}");
    }
    for entry in std::fs::read_dir(disk.inside("")).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_file() {
            std::fs::remove_file(path).expect("removed");
        }
    }
    upload_in_the_end(&http, &server.base, noise(9)).await;
    serves(&http, &server.base, &BTreeSet::from([id(&noise(9))])).await;
    server.kill();
    disk.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_kernel_refuses_to_grow_is_not_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let template = doppel();
    let mut command = Command::new("sh");
    for (name, _) in template.get_envs() {
        command.env_remove(name);
    }
    // Limits count half-kilobytes: 8 MiB. Beyond it a write fails, once its signal is ignored.
    command
        .args(["-c", "trap '' XFSZ; ulimit -S -f 16384; exec \"$0\" \"$@\""])
        .arg(template.get_program())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path())
        .env("DOPPEL_COLLECTIONS__KEEP_ORIGINALS", "true");
    let server = Server::run(&mut command).serving(Duration::from_secs(60));
    let http = client();
    // A JPEG is one whatever follows it.
    let mut large = picture(1);
    large.resize(9 << 20, 7);
    assert_eq!(upload(&http, &server.base, picture(2)).await, StatusCode::CREATED);
    assert_eq!(
        upload(&http, &server.base, large.clone()).await,
        StatusCode::INSUFFICIENT_STORAGE
    );
    assert_eq!(upload(&http, &server.base, picture(3)).await, StatusCode::CREATED);
    let small = BTreeSet::from([id(&picture(2)), id(&picture(3))]);
    serves(&http, &server.base, &small).await;

    let pid = server.pid().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    let soft = lifted.expect("prlimit is there");
    assert!(soft.success(), "the limit cannot be lifted");
    upload_in_the_end(&http, &server.base, large.clone()).await;
    let mut all = small;
    all.insert(id(&large));
    serves(&http, &server.base, &all).await;
}
