//! What an image is made of, for machines: the SBOM (SPDX 2.3 JSON) and the build manifest.

use std::collections::BTreeSet;

use anyhow::Result;
use hypriot_keys::time::Timestamp;
use serde_json::{Value, json};

use crate::formats::erofs::uuid_v8;
use crate::sha256::Sha256;

/// A package of the image.
#[derive(Debug, Clone)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Source package.
    pub source: String,
    /// SHA-256 of the package file.
    pub sha256: Sha256,
    /// Bytes of the package file.
    pub size: u64,
}

/// What both papers say.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Board.
    pub board: &'a str,
    /// Version of the image.
    pub version: &'a str,
    /// Suite of the packages.
    pub suite: &'a str,
    /// When the packages were frozen.
    pub created: u64,
    /// Kernel release.
    pub kernel: &'a str,
    /// Packages of the root tree.
    pub packages: &'a [Package],
    /// Packages of which only boot files are used.
    pub boot_packages: &'a [Package],
    /// BLAKE3 of the agent's program.
    pub agent: &'a str,
}

/// The build manifest: `files` are the finished files with their SHA-256.
pub fn manifest(facts: &Facts<'_>, files: &[(String, Sha256, u64)]) -> Result<Vec<u8>> {
    let rows = |packages: &[Package]| -> Vec<Value> {
        let row = |p: &Package| json!({ "name": p.name, "version": p.version, "arch": p.arch, "source": p.source, "sha256": p.sha256, "size": p.size });
        packages.iter().map(row).collect()
    };
    let files: Vec<Value> = files
        .iter()
        .map(|(name, sha256, size)| json!({ "name": name, "sha256": sha256, "size": size }))
        .collect();
    text(&json!({
        "format": "hypriot-manifest/1",
        "board": facts.board,
        "version": facts.version,
        "suite": facts.suite,
        "created": Timestamp(facts.created).to_string(),
        "kernel": facts.kernel,
        "agent": { "blake3": facts.agent },
        "builder": concat!("hypriot-imagegen ", env!("CARGO_PKG_VERSION")),
        "packages": rows(facts.packages),
        "boot-packages": rows(facts.boot_packages),
        "files": files,
    }))
}

/// The SBOM (SPDX 2.3, JSON form).
pub fn sbom(facts: &Facts<'_>) -> Result<Vec<u8>> {
    let name = format!("hypriotos-{}-{}", facts.board, facts.version);
    let image = "SPDXRef-Image";
    let mut taken = BTreeSet::from([image.to_owned(), "SPDXRef-DOCUMENT".to_owned()]);
    let mut packages = vec![json!({
        "SPDXID": image,
        "name": name,
        "versionInfo": facts.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    })];
    let mut relations = vec![
        json!({ "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": image }),
    ];
    for p in facts.packages.iter().chain(facts.boot_packages) {
        let mut id = format!(
            "SPDXRef-{}-{}-{}",
            plain(&p.name),
            p.arch,
            plain(&p.version)
        );
        while !taken.insert(id.clone()) {
            id.push('.');
        }
        packages.push(json!({
            "SPDXID": id,
            "name": p.name,
            "versionInfo": p.version,
            "supplier": "Organization: Debian",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "sourceInfo": format!("built from the source package {}", p.source),
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "checksums": [{ "algorithm": "SHA256", "checksumValue": p.sha256 }],
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": format!("pkg:deb/debian/{}@{}?arch={}&distro={}", escape(&p.name), escape(&p.version), p.arch, facts.suite),
            }],
        }));
        relations.push(json!({ "spdxElementId": image, "relationshipType": "CONTAINS", "relatedSpdxElement": id }));
    }
    let body = json!({ "packages": packages, "relationships": relations });
    // The namespace must be unique to these contents and the same for the same.
    let id = uuid_v8(blake3::hash(body.to_string().as_bytes()).as_bytes());
    let hex = hex::encode(id);
    let mut all = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]),
        "creationInfo": {
            "created": Timestamp(facts.created).to_string(),
            "creators": [concat!("Tool: hypriot-imagegen-", env!("CARGO_PKG_VERSION"))],
        },
    });
    if let (Value::Object(all), Value::Object(body)) = (&mut all, body) {
        all.extend(body);
    }
    text(&all)
}

fn text(value: &Value) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// An SPDX identifier has letters, digits, `.` and `-` only.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect()
}

/// Percent-encoding of a package URL (purl specification, "Character encoding").
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |out, b| match b {
        b if b.is_ascii_alphanumeric() || b"-._~:".contains(&b) => out + &char::from(b).to_string(),
        b => out + &format!("%{b:02X}"),
    })
}
