//! An archive of an owner's for a running board: flat, on plain HTTP, with a service in it and a package that wants what the image does
//! not have.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use hypriot_imagegen::debian::deb::write::{File, Package};
use hypriot_imagegen::files;
use hypriot_imagegen::sha256::Sha256;

use crate::serve::Server;

/// The scenario tells it to the board's apt.
const PORT: u16 = 8098;

/// What the service is made of.
const FILES: [(&str, u32, &str); 3] = [
    (
        "usr/bin/greeter-service",
        0o755,
        "#!/bin/sh\ntest -d /var/log/greeter-service && cat /var/lib/greeter-service/state && exec sleep infinity\n",
    ),
    (
        "usr/lib/systemd/system/greeter-service.service",
        0o644,
        "[Service]\nExecStart=/usr/bin/greeter-service\n[Install]\nWantedBy=multi-user.target\n",
    ),
    ("etc/greeter-service.conf", 0o644, "word=default\n"),
];
/// As debhelper writes them: folders of its own, and the unit enabled.
const POSTINST: &str = "#!/bin/sh\nset -e\nmkdir -p /var/lib/greeter-service /var/log/greeter-service\n\
    test -e /var/lib/greeter-service/state || echo first > /var/lib/greeter-service/state\n\
    deb-systemd-helper enable greeter-service.service\n";

/// Makes it in `dir`, and serves it as long as the result lives.
pub fn serve(dir: &Path) -> Result<Server> {
    std::fs::create_dir_all(dir)?;
    let mut index = String::new();
    let file = |(path, mode, text): &(&str, u32, &str)| {
        let bytes = text.as_bytes().to_vec();
        ((*path).to_owned(), File { mode: *mode, bytes })
    };
    let service = Package {
        fields: fields("greeter-service", "1.0", "all", ""),
        files: FILES.iter().map(file).collect(),
        scripts: BTreeMap::from([("postinst".to_owned(), POSTINST.into())]),
        ..Package::default()
    };
    let newer = Package {
        fields: fields("wants-newer", "1.0", "all", "base-files (>= 999)"),
        ..Package::default()
    };
    let base = Package {
        fields: fields("base-files", "999", "arm64", ""),
        ..Package::default()
    };
    for package in [service, newer, base] {
        add(&package, dir, &mut index)?;
    }
    files::replace(&dir.join("Packages"), index.as_bytes())?;
    Server::start_on(Ipv4Addr::LOCALHOST, dir, PORT)
}

fn fields(name: &str, version: &str, arch: &str, depends: &str) -> Vec<(&'static str, String)> {
    let all = [
        ("Package", name),
        ("Version", version),
        ("Architecture", arch),
        ("Maintainer", "An Owner <owner@example.org>"),
        ("Depends", depends),
        ("Description", "greets"),
    ];
    let said = all.into_iter().filter(|(_, value)| !value.is_empty());
    said.map(|(key, value)| (key, value.to_owned())).collect()
}

fn add(package: &Package, dir: &Path, index: &mut String) -> Result<()> {
    let bytes = package.encode()?;
    let name = |wanted: &str| {
        let found = package.fields.iter().find(|(k, _)| *k == wanted);
        found.map_or("", |(_, v)| v.as_str())
    };
    let file = format!(
        "{}_{}_{}.deb",
        name("Package"),
        name("Version"),
        name("Architecture")
    );
    files::replace(&dir.join(&file), &bytes)?;
    for (key, value) in &package.fields {
        index.extend([key, ": ", value.as_str(), "\n"]);
    }
    index.extend([
        format!("Filename: ./{file}\n"),
        format!("Size: {}\nSHA256: {}\n\n", bytes.len(), Sha256::of(&bytes)),
    ]);
    Ok(())
}
