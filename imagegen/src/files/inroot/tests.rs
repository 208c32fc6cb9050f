//! Trees with links that lead out, as a package or its scripts could leave them.

use std::os::unix::fs::symlink;

use super::*;

/// A tree and, outside of it, a folder of the building machine with a file in it.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        files::replace(&dir.path().join("outside/secret"), b"the builder's").unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn untouched(&self) -> bool {
        let names: Vec<_> = fs::read_dir(self.outside()).unwrap().collect();
        names.len() == 1 && fs::read(self.outside().join("secret")).unwrap() == b"the builder's"
    }

    fn link(&self, at: &str, to: &Path) {
        let at = self.root().join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(to, at).unwrap();
    }
}

#[test]
fn a_link_out_of_the_tree_is_never_followed() {
    let climbs = PathBuf::from("../../../../../../../../..");
    for absolute in [true, false] {
        let m = Machine::new();
        let to = if absolute {
            m.outside()
        } else {
            climbs.join(m.outside().strip_prefix("/").unwrap())
        };
        m.link("etc/way", &to);
        let tree = Hand::new(&m.root()).unwrap();
        let through = Path::new("etc/way/secret");
        assert!(tree.folder(Path::new("etc/way")).unwrap().is_none());
        assert!(tree.spot(through).unwrap().is_none());
        // The same path inside of the tree is where a board would look.
        let inside = m.root().join(m.outside().strip_prefix("/").unwrap());
        fs::create_dir_all(&inside).unwrap();
        let spot = tree.spot(through).unwrap().unwrap();
        assert!(spot.read().unwrap().is_none());
        spot.replace(b"in", 0o600).unwrap();
        assert_eq!(fs::read(inside.join("secret")).unwrap(), b"in");
        spot.remove().unwrap();
        assert!(m.untouched());
    }
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_read() {
    let m = Machine::new();
    m.link("etc/shadow", &m.outside().join("secret"));
    let tree = Hand::new(&m.root()).unwrap();
    let spot = tree.spot(Path::new("etc/shadow")).unwrap().unwrap();
    assert_eq!(spot.read().unwrap(), None);
    spot.replace(b"root:*:1::::::\n", 0o640).unwrap();
    let folder = tree.make(Path::new("etc")).unwrap();
    fs::remove_file(m.root().join("etc/shadow")).unwrap();
    m.link("etc/shadow", &m.outside().join("secret"));
    folder.put("shadow", b"x", 0o640).unwrap();
    assert_eq!(fs::read(m.root().join("etc/shadow")).unwrap(), b"x");
    assert!(m.untouched());
}

#[test]
fn a_pipe_in_the_place_of_a_file_does_not_stop_the_build() {
    let m = Machine::new();
    nix::unistd::mkfifo(&m.root().join("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let tree = Hand::new(&m.root()).unwrap();
    assert_eq!(
        tree.spot(Path::new("pipe"))
            .unwrap()
            .unwrap()
            .read()
            .unwrap(),
        None
    );
}

#[test]
fn normalising_a_hostile_tree_leaves_the_machine_alone() {
    let m = Machine::new();
    for at in [
        "etc/ssl/private",
        "var/log",
        "var/cache/apt",
        "etc/ssh",
        "var/lib",
    ] {
        m.link(at, &m.outside());
    }
    m.link("etc/shadow", &m.outside().join("secret"));
    m.link("etc/machine-id", &m.outside().join("secret"));
    crate::normalise::run(&m.root(), 1_700_000_000).unwrap();
    assert!(m.untouched());
    assert_eq!(fs::read(m.root().join("etc/machine-id")).unwrap(), b"");
    assert!(
        fs::symlink_metadata(m.root().join("etc/shadow"))
            .unwrap()
            .is_symlink()
    );
}
