use super::*;

fn load(file: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(FILE_NAME);
    std::fs::write(&path, file).expect("a writable folder");
    Config::load(Some(&path), &Overrides::default())
}

#[test]
fn defaults_round_trip_through_toml() {
    let text = Config::default().to_toml().expect("plain values");
    assert!(text.contains("request_timeout = \"10m\""), "{text}");
    assert_eq!(load(&text), Ok(Config::default()));
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("my.toml");
    std::fs::write(
        &path,
        "listen = '127.0.0.1:1'\ncluster = 'blue'\n[limits]\nmax_k = 7\n",
    )
    .expect("writable");
    let flags = Overrides {
        listen: Some("127.0.0.1:2".parse().expect("an address")),
        ..Overrides::default()
    };
    let config = Config::load(Some(&path), &flags).expect("valid settings");
    assert_eq!(
        (config.listen.port(), config.cluster.as_str(), config.limits.max_k),
        (2, "blue", 7)
    );
    assert_eq!(config.limits.max_files, Limits::default().max_files);
}

#[test]
fn unknown_keys_and_bad_values_are_named() {
    let message = |text: &str| load(text).expect_err("refused").to_string();
    let top = message("lisen = 'x'");
    assert!(
        top.contains("\"lisen\"") && top.contains("listen") && top.contains(FILE_NAME),
        "{top}"
    );
    let nested = message("[limits]\nmax_pixel = 1");
    assert!(nested.contains("\"limits.max_pixel\""), "{nested}");
    let value = message("[limits]\nrequest_timeout = 'soon'");
    assert!(value.contains("\"limits.request_timeout\""), "{value}");
    let zero = message("[ingest]\nbatch_images = 0");
    assert!(zero.contains("\"ingest.batch_images\""), "{zero}");
    let syntax = message("listen = ");
    assert!(syntax.contains(FILE_NAME), "{syntax}");
    let missing = Config::load(Some(Path::new("/nowhere/doppel.toml")), &Overrides::default());
    assert!(matches!(missing, Err(ConfigError::NoFile { .. })));
}

#[test]
fn the_environment_stands_between_file_and_flags() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(FILE_NAME);
    std::fs::write(
        &path,
        "listen = '127.0.0.1:1'\ncluster = 'file'\n[limits]\nmax_files = 3\n",
    )
    .expect("writable");
    let load = |variables: &[(&str, &str)]| {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load_with(
            Some(&path),
            variables,
            &Overrides {
                storage: Some("s3://b".to_owned()),
                ..Overrides::default()
            },
        )
    };
    let config = load(&[
        ("DOPPEL_LISTEN", "127.0.0.1:2"),
        ("DOPPEL_LIMITS__MAX_K", "9"),
        ("DOPPEL_ETCD", "[http://a:1, http://b:2]"),
        ("DOPPEL_STORAGE", "s3://env"),
        ("DOPPEL_ALLOWED_HOSTS", "[*, photos.example]"),
        ("DOPPEL_SIMD", "scalar"),
        ("HOME", "/"),
    ])
    .expect("valid settings");
    assert_eq!(
        (config.listen.port(), config.limits.max_k, config.limits.max_files),
        (2, 9, 3)
    );
    assert_eq!(
        (
            config.cluster.as_str(),
            config.etcd.len(),
            config.storage.as_deref()
        ),
        ("file", 2, Some("s3://b"))
    );
    assert_eq!(config.allowed_hosts, ["*", "photos.example"]);
    let refused = load(&[("DOPPEL_LIMITS__MAX_KK", "9")])
        .expect_err("unknown")
        .to_string();
    assert!(
        refused.contains("limits.max_kk") && refused.contains("environment"),
        "{refused}"
    );
}
