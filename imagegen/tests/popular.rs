//! Server packages that owners install are configured with this machine's programs. Long: `make test-popular`, `ALL=1` for the whole list.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_imagegen::exec;
use hypriot_imagegen::files;
use serde::Deserialize;

#[derive(Deserialize)]
struct Popular {
    few: Vec<String>,
    more: Vec<String>,
}

/// The trees to build: the few in one, the others each in its own, since some exclude others.
fn trees(popular: Popular, which: &str) -> Vec<Vec<String>> {
    let mut trees = vec![popular.few];
    if which == "all" {
        trees.extend(popular.more.into_iter().map(|name| vec![name]));
    }
    trees
}

#[test]
fn servers_that_owners_install_are_configured_without_emulation() {
    let Ok(which) = std::env::var("HYPRIOT_POPULAR") else {
        println!("skipped: make test-popular");
        return;
    };
    let own = std::env::var_os("HYPRIOT_CACHE").map(PathBuf::from);
    let cache = own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache"));
    let popular: Popular = toml::from_str(include_str!("popular.toml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for packages in trees(popular, &which) {
        let path = dir.path().join("popular.toml");
        let recipe = format!(
            "name = 'popular'\nversion = '1.0.0'\npackages = {:?}\n",
            [
                &["apt", "systemd-sysv", "udev"].map(str::to_owned)[..],
                &packages
            ]
            .concat()
        );
        files::replace(&path, recipe.as_bytes()).unwrap();
        let build = exec::tool(env!("CARGO_BIN_EXE_hypriot-imagegen"))
            .args(["root", "--board", "qemu-arm64", "--configure", "native"])
            .arg("--recipe")
            .arg(&path)
            .env("HYPRIOT_CACHE", &cache)
            .timeout(Duration::from_hours(1));
        match build.run() {
            Ok(_) => println!("popular: {} ok", packages.join(" ")),
            Err(e) => {
                println!("popular: {} failed", packages.join(" "));
                failed.push(format!("{}: {e}", packages.join(" ")));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_list_names_each_package_once_and_more_than_forty() {
    let popular: Popular = toml::from_str(include_str!("popular.toml")).unwrap();
    assert_eq!(popular.few.len(), 6);
    let mut all = [popular.few, popular.more].concat();
    let whole = all.len();
    all.sort();
    all.dedup();
    assert!(all.len() == whole && whole > 40, "{whole}");
}
