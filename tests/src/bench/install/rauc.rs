//! RAUC: a service and its client on a bus of their own, in a root directory of Debian's packages.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use hypriot_imagegen::files;
use hypriot_updater::slot::Slot;

use super::{LIMIT, NAMES, Place, Took, said};
use crate::exec;
use crate::peers::{self, Whole};

const BUNDLE: &str = "bench.raucb";

/// A key that signs nothing but this bundle, and the bundle: compressed like ours.
const MAKE: &str = r#"set -e
cd /bench
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=bench -days 365 2>/dev/null
rm -f bench.raucb
rauc --cert cert.pem --key key.pem --keyring cert.pem --mksquashfs-args="-comp zstd -Xcompression-level 9 -b 128k" \
    bundle content bench.raucb
"#;

/// Fetches the bundle and installs it. The service is up before the clock runs; the memory is the service's.
const INSTALL: &str = r#"set -e
mkdir -p /run/dbus /run/rauc
dbus-daemon --config-file=/bench/bus.conf --fork --print-address=3 --print-pid=4 3>/run/dbus/address 4>/run/dbus/pid
export DBUS_STARTER_BUS_TYPE=session DBUS_SESSION_BUS_ADDRESS=$(cat /run/dbus/address)
rauc --conf=/bench/system.conf --override-boot-slot=A service >/run/rauc/log 2>&1 &
service=$!
tries=0
until rauc status >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { cat /run/rauc/log; exit 1; }
    sleep 0.1
done
begun=$(date +%s.%N)
curl -sS -f -o /bench/fetched.raucb "$URL"
rauc install /bench/fetched.raucb || { cat /run/rauc/log; exit 1; }
ended=$(date +%s.%N)
echo "took=$(echo "$ended $begun" | mawk '{ printf "%.2f", $1 - $2 }') kib=$(mawk '/VmHWM/ { print $2 }' /proc/$service/status)"
rm /bench/fetched.raucb
"#;

/// What dbus-daemon needs to be nobody's bus but ours.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=/run/dbus/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// RAUC, and the folder that it sees.
pub(super) struct Rauc {
    whole: Whole,
    pub(super) work: PathBuf,
}

impl Rauc {
    pub(super) fn get(dir: &Path) -> Result<Self> {
        let whole = peers::RAUC.whole_with(&[
            "coreutils",
            "curl",
            "dash",
            "dbus-daemon",
            "mawk",
            "mount",
            "openssl",
            "squashfs-tools",
        ])?;
        let work = dir.join("rauc");
        std::fs::create_dir_all(work.join("content"))?;
        Ok(Self { whole, work })
    }

    /// The bundle of the images in the folder.
    pub(super) fn bundle(&self, place: &Place) -> Result<()> {
        let put = |name: &str, text: &str| files::replace(&self.work.join(name), text.as_bytes());
        put("bus.conf", BUS)?;
        put("system.conf", &system(place))?;
        put(
            "content/manifest.raucm",
            &format!(
                "[update]\ncompatible=bench\nversion=1.0.0\n\n[bundle]\nformat=plain\n\n\
                 [image.boot]\nfilename={}\n\n[image.rootfs]\nfilename={}\n",
                NAMES[0], NAMES[1]
            ),
        )?;
        for image in &place.images {
            super::link(image, &self.work.join("content"))?;
        }
        exec::run(self.whole.script(&self.work, MAKE)?, LIMIT)?;
        place.serve(&self.work.join(BUNDLE))
    }

    pub(super) fn install(&self, place: &Place) -> Result<Took> {
        let mut script = self.whole.script(&self.work, INSTALL)?;
        script.env("URL", place.url(BUNDLE));
        said(&exec::run(script, LIMIT)?)
    }
}

/// `system.conf`: the slots are the partitions of our card.
fn system(place: &Place) -> String {
    let mut out = "[system]\ncompatible=bench\nbootloader=noop\nmountprefix=/run/rauc/mount\nstatusfile=/run/rauc/status\n\n\
         [keyring]\npath=/bench/cert.pem\n"
        .to_owned();
    for (number, slot) in Slot::ALL.into_iter().enumerate() {
        let [boot, root] = place.board.devices(slot).map(Path::display);
        let name = if number == 0 { "A" } else { "B" };
        write!(
            out,
            "\n[slot.rootfs.{number}]\ndevice={root}\ntype=raw\nbootname={name}\n\n\
             [slot.boot.{number}]\ndevice={boot}\ntype=raw\nparent=rootfs.{number}\n"
        )
        .expect("a string takes all");
    }
    out
}
