//! The hook of `docs/src/how-to/swarm/50-swarm`, as the agent runs it, with a power cut at each command that it gives.

#![expect(clippy::disallowed_methods, reason = "a test starts the hook itself")]

use std::path::Path;
use std::process::Command;

/// A Swarm of one node: what it is, and every word that changed it. The power goes at command `$CUT`.
const DOCKER: &str = r#"#!/bin/sh
n=$(($(cat "$DIR/n") + 1))
echo $n > "$DIR/n"
[ "$n" != "$CUT" ] || { kill -KILL "$PPID"; exit 137; }
case "$1 $2" in
  "info --format") echo node1 ;;
  "ps --quiet") ;;
  "node inspect") cat "$DIR/is" ;;
  "node update") echo "$4" > "$DIR/is"; echo "$4" >> "$DIR/said" ;;
  *) exit 2 ;;
esac
"#;

struct Node<'a>(&'a Path);

impl Node<'_> {
    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.0.join(name)).unwrap_or_default();
        text.trim().to_owned()
    }

    /// Whether the hook ended well.
    fn hook(&self, event: &str, cut: u32) -> bool {
        let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/how-to/swarm/50-swarm");
        let path = format!("{}:/usr/bin:/bin", self.0.display());
        self.put("n", "0");
        let done = Command::new("sh")
            .arg(hook)
            .env("PATH", path)
            .env("DIR", self.0)
            .env("CUT", cut.to_string())
            .env("HYPRIOT_EVENT", event)
            .env("HYPRIOT_SWARM_MARK", self.0.join("mark"))
            .status();
        done.expect("sh runs").success()
    }
}

#[test]
fn a_node_is_put_back_to_what_it_was_wherever_the_power_goes() {
    for was in ["active", "pause", "drain"] {
        for cut in 0..8 {
            for (first, then) in [
                ("before-reboot", "after-rollback"),
                ("after-commit", "after-commit"),
            ] {
                let dir = tempfile::tempdir().expect("a folder");
                let node = Node(dir.path());
                node.put("docker", DOCKER);
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(dir.path().join("docker"), mode).expect("executable");
                node.put("is", was);
                let danger = format!("{was}, {first} cut at {cut}");
                if first == "after-commit" {
                    assert!(node.hook("before-reboot", 0), "{danger}");
                    let drained = if was == "active" { "drain" } else { was };
                    assert_eq!(node.read("is"), drained, "{danger}");
                }
                node.hook(first, cut);
                // what is owed is run until it ends well
                assert!(node.hook(then, 0), "{danger}");
                assert_eq!(node.read("is"), was, "{danger}");
                assert!(!dir.path().join("mark").exists(), "{danger}");
                if was != "active" {
                    assert_eq!(node.read("said"), "", "{danger}: never touched");
                }
            }
        }
    }
}

#[test]
fn what_somebody_else_made_of_a_node_meanwhile_holds() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Node(dir.path());
    node.put("docker", DOCKER);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path().join("docker"), mode).expect("executable");
    node.put("is", "active");
    assert!(node.hook("before-reboot", 0));
    // again, as after a restart that was called off: the mark of the first time holds
    assert!(node.hook("before-reboot", 0));
    node.put("is", "pause");
    assert!(node.hook("after-commit", 0));
    assert_eq!(node.read("is"), "pause");
    // nothing is owed: nothing is changed
    node.put("is", "drain");
    assert!(node.hook("after-commit", 0));
    assert_eq!(node.read("is"), "drain");
}
