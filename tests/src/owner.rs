//! An image that is its owner's own: `tests/owner/recipe.toml`, which says everything a recipe can, and the things it names, made with
//! the tools that owners make them with: an archive of their own signed by their own key, a kernel's package, a container.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hypriot_imagegen::debian::deb::write::{File, Package};
use hypriot_imagegen::fetch::store::Store;
use hypriot_imagegen::files;
use hypriot_imagegen::lock;
use hypriot_imagegen::sha256::Sha256;
use serde_json::{Value, json};

use crate::access;
use crate::exec;
use crate::factory::Factory;
use crate::serve::Server;

const RECIPE: &str = include_str!("../owner/recipe.toml");
/// A kernel of Debian's that the board would not get by itself stands for one that an owner has compiled.
const KERNEL: &str = "linux-image-rt-arm64";

/// Where the archive is. An image whose apt asks 127.0.0.1 is refused: that is a mistake of whoever builds on the machine with the
/// archive. All of 127/8 leads to this machine (RFC 1122, 3.2.1.3).
const ARCHIVE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The recipe, laid out with all it names, and the archive, which is served as long as this lives.
#[derive(Debug)]
pub struct Owner {
    dir: PathBuf,
    _archive: Server,
}

impl Owner {
    /// Lays everything out. The factory has the programs and the agent.
    pub fn new(factory: &Factory) -> Result<Self> {
        let dir = factory.dir.join("owner");
        let archive = dir.join("archive");
        std::fs::create_dir_all(&archive)?;
        let server = Server::start_on(ARCHIVE, &archive, 0)?;
        put(
            &dir.join("recipe.toml"),
            &RECIPE.replace("@ARCHIVE@", &server.url()),
        )?;
        put(
            &dir.join("files/etc/systemd/system/kiosk.service"),
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/greeter\n[Install]\nWantedBy=multi-user.target\n",
        )?;
        sign(&archive, &dir)?;
        kernel(factory, &dir)?;
        let agent = factory.agent_path(&factory.board.agent_target);
        container(&agent, &dir.join("tool"))?;
        Ok(Self {
            dir,
            _archive: server,
        })
    }

    /// What `hypriot-imagegen image` is told besides.
    pub fn image_args(&self) -> Vec<String> {
        vec!["--recipe".to_owned(), text(&self.dir.join("recipe.toml"))]
    }

    /// Flashes an image into a file, as an owner does it, and gives the image and the key that opens the board.
    pub fn flash(&self, factory: &Factory, dir: &Path) -> Result<(PathBuf, PathBuf)> {
        let (key, public) = access::key(dir)?;
        let more = [
            "--hostname",
            "pearl",
            "--ssid",
            "home",
            "--password",
            "made up for this",
            "--country",
            "DE",
            "--cmdline",
            "flash.word=1",
        ];
        let to = factory.flash(dir, &access::user_data(&public), &more)?;
        Ok((to, key))
    }
}

/// An archive with one package, flat, as `apt-ftparchive` would leave it; its key lies beside the recipe.
fn sign(archive: &Path, dir: &Path) -> Result<()> {
    let deb = Package {
        fields: [
            ("Package", "greeter"),
            ("Version", "1.0-1"),
            ("Architecture", "all"),
            ("Maintainer", "An Owner <owner@example.org>"),
            ("Description", "greets"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into(),
        files: [(
            "usr/bin/greeter".to_owned(),
            File {
                mode: 0o755,
                bytes: b"#!/bin/sh\necho hello from the archive of the owner\n".to_vec(),
            },
        )]
        .into(),
        ..Package::default()
    };
    let bytes = deb.encode()?;
    files::replace(&archive.join("greeter_1.0-1_all.deb"), &bytes)?;
    let list = format!(
        "Package: greeter\nVersion: 1.0-1\nArchitecture: all\nMaintainer: An Owner <owner@example.org>\nDescription: greets\n\
         Filename: ./greeter_1.0-1_all.deb\nSize: {}\nSHA256: {}\n",
        bytes.len(),
        Sha256::of(&bytes)
    );
    put(&archive.join("Packages"), &list)?;
    let release = format!(
        "Origin: owner\nSuite: ./\nCodename: ./\nDate: Thu, 26 Nov 2026 12:00:00 UTC\nSHA256:\n {} {} Packages\n",
        Sha256::of(list.as_bytes()),
        list.len()
    );
    put(&dir.join("Release"), &release)?;
    let home = dir.join("gnupg");
    if !home.join("pubring.kbx").is_file() {
        std::fs::create_dir_all(&home)?;
        gpg(
            &home,
            &[
                "--passphrase",
                "",
                "--quick-gen-key",
                "owner@example.org",
                "ed25519",
                "sign",
                "never",
            ],
        )?;
    }
    let (key, signed) = (dir.join("archive.gpg"), archive.join("InRelease"));
    gpg(&home, &["--yes", "--output", &text(&key), "--export"])?;
    gpg(
        &home,
        &[
            "--yes",
            "--output",
            &text(&signed),
            "--clearsign",
            &text(&dir.join("Release")),
        ],
    )
}

fn gpg(home: &Path, args: &[&str]) -> Result<()> {
    let mut c = exec::command("gpg");
    c.args([
        "--batch",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--homedir",
    ])
    .arg(home)
    .args(args);
    exec::run(c, Duration::from_mins(2)).map(drop)
}

/// Brings the kernel's package beside the recipe.
fn kernel(factory: &Factory, dir: &Path) -> Result<()> {
    let recipe = dir.join("kernel.toml");
    let text_of = format!(
        "name = \"kernel\"\nbase = \"default\"\npackages = [{KERNEL:?}]\nexclude = [\"linux-image-arm64\"]\n"
    );
    put(&recipe, &text_of)?;
    let (recipe, path) = (text(&recipe), dir.join("kernel.lock"));
    let args = [
        "--board",
        &factory.board.name,
        "--recipe",
        &recipe,
        "--lock",
        &text(&path),
    ];
    factory.imagegen(&[&["lock", "--update"][..], &args].concat())?;
    factory.imagegen(&[&["fetch"][..], &args].concat())?;
    let lock = lock::load(&path)?;
    let is_kernel = |name: &str| name.starts_with("linux-image-") && name != KERNEL;
    let package = lock.packages.iter().find(|p| is_kernel(&p.name));
    let package = package.with_context(|| format!("{KERNEL} brings no kernel"))?;
    let store = Store::open(factory.cache())?;
    let at = store.get(package.sha256, package.size);
    let bytes = std::fs::read(at.context("the kernel was not fetched")?)?;
    Ok(files::replace(&dir.join("kernel.deb"), &bytes)?)
}

/// An OCI image layout (image-spec, "Image Layout") of one program.
fn container(program: &Path, to: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let layer = scratch.path().join("layer.tar");
    let name = program.file_name().context("the agent has a name")?;
    let mut tar = exec::command("tar");
    tar.args(["--create", "--owner=0", "--group=0", "--mtime=@0", "--file"])
        .arg(&layer)
        .arg("--directory")
        .arg(program.parent().context("the agent lies somewhere")?)
        .arg("--transform=s,.*,tool,")
        .arg(name);
    exec::run(tar, Duration::from_mins(2))?;
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let blob = |bytes: &[u8], kind: &str| -> Result<Value> {
        let sha256 = Sha256::of(bytes);
        files::replace(&to.join(format!("blobs/sha256/{sha256}")), bytes)?;
        let kind = format!("application/vnd.oci.image.{kind}");
        Ok(json!({ "mediaType": kind, "digest": format!("sha256:{sha256}"), "size": bytes.len() }))
    };
    let layer = blob(&std::fs::read(layer)?, "layer.v1.tar")?;
    let config = json!({
        "architecture": "arm64", "os": "linux", "config": { "Entrypoint": ["/tool"] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(config.to_string().as_bytes(), "config.v1+json")?;
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let manifest = blob(manifest.to_string().as_bytes(), "manifest.v1+json")?;
    put(&to.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    put(
        &to.join("index.json"),
        &json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string(),
    )
}

fn put(path: &Path, text: &str) -> Result<()> {
    Ok(files::replace(path, text.as_bytes())?)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use hypriot_imagegen::inputs::recipe;

    use super::RECIPE;

    #[test]
    fn the_recipe_that_says_everything_is_one() {
        let text = RECIPE.replace("@ARCHIVE@", "http://127.0.0.1:1");
        // what is beside it is looked at when it is built
        let text = text.replace("base = \"default\"", "version = \"1.0.0\"");
        let recipe = recipe::parse("tests/owner/recipe.toml", &text).unwrap();
        assert_eq!(
            recipe.containers.len() + recipe.runs.len() + recipe.users.len(),
            3
        );
    }
}
