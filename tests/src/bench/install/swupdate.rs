//! SWUpdate: one archive that it writes into the slot while it downloads, in a root directory of Debian's packages.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use hypriot_imagegen::files;
use hypriot_imagegen::sha256::Sha256;

use super::{LIMIT, NAMES, Place, Took, said};
use crate::exec;
use crate::peers::{self, Whole};

const ARCHIVE: &str = "bench.swu";

/// Debian's build takes nothing that is not signed (CMS). The archive is made as SWUpdate's manual says.
const MAKE: &str = r"set -e
cd /bench
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=bench -days 365 \
    -addext keyUsage=digitalSignature -addext extendedKeyUsage=emailProtection 2>/dev/null
openssl cms -sign -in sw-description -out sw-description.sig -signer cert.pem -inkey key.pem -outform DER -nosmimecap -binary
for file in sw-description sw-description.sig boot.img.zst root.img.zst; do echo $file; done | cpio -o -H crc -L > bench.swu 2>/dev/null
";

/// Streams and installs. The memory is that of the largest of its processes, which are looked at while they live, by what the
/// shell has built in: whatever else would run takes time from what is measured.
const INSTALL: &str = r#"set -e
mkdir -p /run/swupdate /tmp
largest() {
    for pid in $1 $(cat /proc/$1/task/$1/children); do
        while read -r key kib rest; do
            [ "$key" != VmHWM: ] || [ "$kib" -le "$most" ] || most=$kib
        done < /proc/$pid/status
    done
}
watch() {
    most=0
    while largest $1; do echo $most > /run/swupdate/kib; sleep 0.2; done 2>/dev/null
}
begun=$(date +%s.%N)
swupdate -l 1 -k /bench/cert.pem -H bench:1.0 -M -m -d "-u $URL" >/run/swupdate/log 2>&1 &
main=$!
watch $main &
wait $main || { cat /run/swupdate/log; exit 1; }
ended=$(date +%s.%N)
echo "took=$(echo "$ended $begun" | mawk '{ printf "%.2f", $1 - $2 }') kib=$(cat /run/swupdate/kib)"
"#;

/// SWUpdate, and the folder that it sees.
pub(super) struct SwUpdate {
    whole: Whole,
    pub(super) work: PathBuf,
}

impl SwUpdate {
    pub(super) fn get(dir: &Path) -> Result<Self> {
        let whole =
            peers::SWUPDATE.whole_with(&["coreutils", "cpio", "dash", "mawk", "openssl"])?;
        let work = dir.join("swupdate");
        std::fs::create_dir_all(&work)?;
        Ok(Self { whole, work })
    }

    /// The archive of the images in the folder.
    pub(super) fn archive(&self, place: &Place) -> Result<()> {
        let mut images = String::new();
        for ((name, packed), device) in NAMES.iter().zip(&place.packed).zip(place.slot()) {
            let (sha256, _) = Sha256::of_file(packed)?;
            let comma = if images.is_empty() { "" } else { ",\n" };
            write!(
                images,
                "{comma}        {{ filename = \"{name}.zst\"; type = \"raw\"; device = \"{}\"; compressed = \"zstd\"; \
                 installed-directly = true; sha256 = \"{sha256}\"; }}",
                device.display()
            )?;
        }
        let description = format!(
            "software =\n{{\n    version = \"1.0.0\";\n    hardware-compatibility: [ \"1.0\" ];\n    images: (\n{images}\n    );\n}}\n"
        );
        files::replace(&self.work.join("sw-description"), description.as_bytes())?;
        exec::run(self.whole.script(&self.work, MAKE)?, LIMIT)?;
        place.serve(&self.work.join(ARCHIVE))
    }

    pub(super) fn install(&self, place: &Place) -> Result<Took> {
        let mut script = self.whole.script(&self.work, INSTALL)?;
        script.env("URL", place.url(ARCHIVE));
        said(&exec::run(script, LIMIT)?)
    }
}
