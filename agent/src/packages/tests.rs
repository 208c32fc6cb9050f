//! Layers made by the real apt and dpkg, of packages made here, over this machine's own root: `/` stands for the image. All mounts are
//! in a name space that ends with the test's thread.

mod world;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;

use self::world::{Pack, World, as_root};
use super::boot::{Start, at_start};
use super::build::{Limit, Source};
use super::layer::{self, Record};
use super::stage::Image;
use super::standing::{self, Standing};
use super::wanted::{self, Wanted};
use crate::files;
use crate::init::mount;
use crate::paths::LAYER;
use crate::probe::Root;

/// A service as packages bring one: a unit, settings, a folder of its own, one for logs, a library it needs.
fn service() -> [Pack; 2] {
    let needed = Pack::new("owners-lib", "1:2.0-1").file("usr/share/owners-lib/data", "1");
    let service = Pack::new("owners-service", "1.0")
        .depends("owners-lib (>= 1:1)")
        .file("usr/bin/owners-service", "#!/bin/sh\n")
        .file(
            "usr/lib/systemd/system/owners-service.service",
            "[Service]\nExecStart=/bin/true\n",
        )
        .conffile("etc/owners-service.conf", "word = default\n")
        .script(
            "postinst",
            "mkdir -p /var/lib/owners-service /var/log/owners-service /var/cache/owners-service\n\
             echo first > /var/lib/owners-service/state\n\
             test ! -e /run/hypriot && test ! -d /run/systemd/system\n\
             ! invoke-rc.d owners-service start 2>/dev/null || true\n\
             ldconfig\n",
        );
    [needed, service]
}

#[test]
fn a_layer_has_what_was_installed_and_the_image_and_the_system_that_runs_are_as_before() {
    if as_root(
        "a_layer_has_what_was_installed_and_the_image_and_the_system_that_runs_are_as_before",
    ) {
        return;
    }
    let world = World::new(&service());
    let plan = world.rehearse(&["owners-service"]).unwrap();
    let new: Vec<&str> = plan.new.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(new, ["owners-lib", "owners-service"]);
    assert!(!world.store().building().exists());

    let layer = world.build(&["owners-service"]).unwrap();
    let upper = layer.upper();
    for path in [
        "usr/bin/owners-service",
        "usr/share/owners-lib/data",
        "var/lib/dpkg/info/owners-service.list",
        "etc/ld.so.cache",
    ] {
        assert!(upper.join(path).is_file(), "{path}");
    }
    for litter in [
        "usr/sbin/policy-rc.d",
        "var/log/apt",
        "var/cache/apt",
        "run",
        "dev",
        "etc/passwd",
    ] {
        assert!(
            fs::symlink_metadata(upper.join(litter)).is_err(),
            "{litter}"
        );
    }
    assert_eq!(
        layer::kept(&upper, Path::new("/")),
        ["var/lib/owners-service"]
    );
    assert_eq!(
        layer::logs(&upper, Path::new("/")),
        ["var/log/owners-service"]
    );
    assert!(
        !Path::new("/usr/bin/owners-service").exists(),
        "nothing is installed into the system that runs"
    );
    let conf = world.live().join("etc/owners-service.conf");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "word = default\n");
    assert_eq!(layer.record.packages["owners-lib"], "1:2.0-1");
    assert_eq!(layer.record.debs.len(), 2);
    assert!(!world.store().building().exists());

    // settings are the owner's: what they changed stays, without a question that nobody would answer
    files::replace(&conf, b"word = mine\n", 0o644).unwrap();
    let again = world.build(&["owners-service"]).unwrap();
    assert_eq!(fs::read_to_string(&conf).unwrap(), "word = mine\n");
    assert!(
        again.name.ends_with("-2"),
        "the one in use is not touched: {}",
        again.name
    );
    layer::prune(
        world.store(),
        Some(std::slice::from_ref(&again.record.release)),
        Some(&layer.name),
    )
    .unwrap();
    assert!(layer.dir.exists() && again.dir.exists());
    layer::prune(world.store(), Some(&["f".repeat(32)]), None).unwrap();
    assert!(
        !layer.dir.exists() && !again.dir.exists(),
        "of a release that lies in no slot"
    );
    assert!(super::debs::present(&world.store().debs()).is_empty());
}

#[test]
fn a_layer_for_the_next_release_is_made_without_a_network() {
    if as_root("a_layer_for_the_next_release_is_made_without_a_network") {
        return;
    }
    let mut world = World::new(&service());
    let old = world.build(&["owners-service"]).unwrap();
    world.network_is_gone();

    // the next release: the same root with another os-release
    let (upper, next) = (world.dir().join("next-upper"), world.dir().join("next"));
    let release = upper.join("usr/lib/os-release");
    for dir in [
        release.parent().unwrap(),
        &world.dir().join("next-work"),
        &next,
    ] {
        fs::create_dir_all(dir).unwrap();
    }
    files::replace(&release, b"ID=debian\nHYPRIOT_OS_VERSION=v2\n", 0o644).unwrap();
    let options = format!(
        "lowerdir=/,upperdir={},workdir={}",
        upper.display(),
        world.dir().join("next-work").display()
    );
    mount(
        Path::new("overlay"),
        &next,
        Some("overlay"),
        MsFlags::empty(),
        Some(&options),
    )
    .unwrap();
    world.site.image = Image::Folder(next.clone());
    let id = super::release::id(&next).unwrap();
    assert!(
        layer::newest(world.store(), &id).unwrap().is_none(),
        "a layer of another release never counts"
    );

    assert!(
        world.build(&["owners-service"]).is_err(),
        "the archive is gone"
    );
    let new = world
        .build_of(&["owners-service"], Source::Kept, Duration::from_mins(2))
        .unwrap();
    assert_eq!(new.record.packages, old.record.packages);
    assert_ne!(new.record.release, old.record.release);
    let counts = layer::newest(world.store(), &id)
        .unwrap()
        .map(|layer| layer.name);
    assert_eq!(counts, Some(new.name.clone()));

    // a kept package that the card spoilt is not installed, and neither is one that was put there
    let deb = world.store().debs().join(&new.record.debs[0].file);
    let mut bytes = fs::read(&deb).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    files::replace(&deb, &bytes, 0o644).unwrap();
    let why = world.build_of(&["owners-service"], Source::Kept, Duration::from_mins(2));
    assert!(why.is_err());
    let known = super::debs::known(world.store()).unwrap();
    files::replace(&world.store().debs().join("evil_1_all.deb"), &bytes, 0o644).unwrap();
    assert_eq!(super::debs::known(world.store()).unwrap(), known);
}

#[test]
fn what_would_change_the_image_is_refused_and_leaves_nothing() {
    if as_root("what_would_change_the_image_is_refused_and_leaves_nothing") {
        return;
    }
    let world = World::new(&[
        Pack::new("base-passwd", "99.0").arch(&world::architecture()),
        Pack::new("wants-newer", "1").depends("base-passwd (>= 99)"),
        Pack::new("ends-mount", "1").depends_field("Conflicts", "mount"),
        Pack::new("hides", "1").script(
            "postinst",
            "cp --remove-destination /usr/bin/true /usr/bin/whoami\n",
        ),
        Pack::new("removes", "1").script("postinst", "rm /usr/share/base-files/profile\n"),
        Pack::new("empties", "1").script(
            "postinst",
            "rm -r /usr/share/base-files && mkdir /usr/share/base-files\n",
        ),
        Pack::new("fails", "1").script("postinst", "echo the words of the script >&2; exit 3\n"),
        Pack::new("linux-image-9", "1"),
    ]);
    for (danger, name, says) in [
        (
            "a package of the image would be upgraded",
            "wants-newer",
            "base-passwd (",
        ),
        (
            "a package of the image would go",
            "ends-mount",
            "mount (removed)",
        ),
        ("a script hides a program", "hides", "/usr/bin/whoami"),
        ("a script removes a file", "removes", "profile"),
        ("a script empties a folder", "empties", "profile"),
        ("a script fails", "fails", "the words of the script"),
        ("a kernel", "linux-image-9", "kernel"),
        ("there is none of that name", "gone", "gone"),
    ] {
        let why = format!("{:#}", world.build(&[name]).unwrap_err());
        assert!(why.contains(says), "{danger}: {why}");
        assert!(!world.store().building().exists(), "{danger}");
        assert_eq!(
            fs::read_dir(world.store().layers()).unwrap().count(),
            0,
            "{danger}"
        );
    }
    assert!(
        world.build(&[]).unwrap().record.is_empty(),
        "nothing wanted is a layer with nothing in it"
    );
}

#[test]
fn a_script_that_hangs_ends_with_all_that_it_started() {
    if as_root("a_script_that_hangs_ends_with_all_that_it_started") {
        return;
    }
    let hang = "setsid sleep 7654 </dev/null >/dev/null 2>&1 &\nsleep 7655\n";
    let world = World::new(&[
        Pack::new("hangs", "1").script("postinst", hang),
        Pack::new("leaves", "1").script(
            "postinst",
            "setsid sleep 7656 </dev/null >/dev/null 2>&1 &\n",
        ),
    ]);
    let began = Instant::now();
    let why = world
        .build_of(&["hangs"], Source::Network, Duration::from_secs(20))
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_mins(1), "{why:#}");
    world.build(&["leaves"]).unwrap();
    let running = |arg: &str| {
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter(|p| {
            fs::read(p.path().join("cmdline"))
                .is_ok_and(|line| line == format!("sleep\0{arg}\0").as_bytes())
        })
        .count()
    };
    for arg in ["7654", "7655", "7656"] {
        assert_eq!(running(arg), 0, "sleep {arg}");
    }
}

#[test]
fn a_layer_that_power_was_cut_from_is_made_anew() {
    if as_root("a_layer_that_power_was_cut_from_is_made_anew") {
        return;
    }
    let world = World::new(&service());
    let layer = world.build(&["owners-service"]).unwrap();
    // at every point of a build: in the middle of installing, before the record, between the record and the name
    for record in [
        None,
        Some(&b"{"[..]),
        Some(&fs::read(layer.dir.join("layer.json")).unwrap()),
    ] {
        let left = world.store().building();
        fs::create_dir_all(left.join("upper/usr/bin")).unwrap();
        fs::create_dir_all(left.join("work/work/incompat/volatile")).unwrap();
        files::replace(&left.join("upper/usr/bin/half"), b"", 0o755).unwrap();
        if let Some(bytes) = record {
            files::replace(&left.join("layer.json"), bytes, 0o600).unwrap();
        }
        let id = &layer.record.release;
        let counts = layer::newest(world.store(), id).unwrap().unwrap();
        let again = world.build(&["owners-service"]).unwrap();
        assert_ne!(counts.name, again.name);
        assert!(!again.upper().join("usr/bin/half").exists());
    }
    // between the name and the list: more is there than is wanted, and nothing is missing
    let list = wanted::load(world.store()).unwrap();
    assert!(list.is_empty() && layer.record.covers(&list));
}

#[test]
fn a_start_without_the_layer_makes_it_or_says_why_and_is_not_held_up() {
    if as_root("a_start_without_the_layer_makes_it_or_says_why_and_is_not_held_up") {
        return;
    }
    let world = World::new(&service());
    let (site, root) = (&world.site, Root::new(world.live()));
    let mut list = Wanted::default();
    list.add(&["owners-service".parse().unwrap()]);
    let soon = Duration::from_secs(14);
    assert_eq!(
        at_start(site, soon).unwrap(),
        Start::Goes,
        "nothing is wanted"
    );

    world.build(&["owners-service"]).unwrap();
    wanted::save(world.store(), &list).unwrap();
    let state = standing::look(&root);
    assert!(matches!(state, Standing::NextStart { .. }), "{state:?}");
    // as the initramfs leaves it: this layer is in use, and all is there
    let used = layer::newest(world.store(), &super::release::id(Path::new("/")).unwrap());
    let used = used.unwrap().unwrap();
    standing::note(&root, LAYER, &used.name);
    assert!(standing::look(&root).is_good());
    assert_eq!(at_start(site, soon).unwrap(), Start::Goes);
    assert!(used.dir.exists(), "it is in use");

    // the first start of another release: nothing fits, and the network is not there
    files::remove(&root.path(LAYER)).unwrap();
    fs::remove_dir_all(&used.dir).unwrap();
    let lasting = Record::new(
        &"e".repeat(32),
        &list,
        used.record.packages.clone(),
        used.record.debs,
    );
    let other = world
        .store()
        .layers()
        .join(format!("{}-1", lasting.release));
    fs::create_dir_all(other.join("upper")).unwrap();
    let text = serde_json::to_vec(&lasting).unwrap();
    files::replace(&other.join("layer.json"), &text, 0o600).unwrap();
    world.network_is_gone();
    assert_eq!(
        at_start(site, Duration::from_mins(2)).unwrap(),
        Start::Restart
    );
    let made = standing::look(&root);
    assert!(matches!(made, Standing::NextStart { .. }), "{made:?}");

    // and with nothing kept: said, with the package and apt's words, and the board goes on
    fs::remove_dir_all(world.store().layers()).unwrap();
    let began = Instant::now();
    assert_eq!(at_start(site, soon).unwrap(), Start::Goes);
    assert!(began.elapsed() < Duration::from_mins(1));
    let line = standing::look(&root).line();
    assert!(
        line.contains("owners-service") && line.contains("no packages are kept"),
        "{line}"
    );
}

#[test]
fn a_full_data_partition_is_said_before_it_is_full() {
    if as_root("a_full_data_partition_is_said_before_it_is_full") {
        return;
    }
    let world = World::of_size(&service(), "100m");
    let why = format!("{:#}", world.build(&["owners-service"]).unwrap_err());
    assert!(why.contains("not enough room"), "{why}");
    assert!(!world.store().building().exists());
}

#[test]
fn a_limit_that_is_over_is_over() {
    assert!(Limit::of(Duration::ZERO).left().is_err());
    assert!(Limit::of(Duration::from_mins(1)).left().is_ok());
}
